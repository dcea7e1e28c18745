"""Tests of MNIST-C as a dataset."""

from pathlib import Path

import numpy as np
import pytest

from digitcli.data import mnist_c
from digitcli.data.dataset import Dataset
from digitcli.data.loading import load_dataset
from digitcli.data.mnist import load_mnist
from digitcli.data.mnist_c import CORRUPTION_NAMES
from digitcli.errors import InputError


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder in the form of the published files, with four digits for each corruption."""
    for number, name in enumerate(CORRUPTION_NAMES):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "test_images.npy", np.full((4, 28, 28, 1), number, np.uint8))
        np.save(tmp_path / name / "test_labels.npy", np.arange(4))
    return tmp_path


def test_made_digits_are_groups_of_the_test_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = load_mnist()
    assert clean.test is not None
    few = Dataset("mnist", clean.train, clean.test.take(np.arange(3)))
    monkeypatch.setattr(mnist_c, "load_mnist", lambda: few)
    dataset = mnist_c.load_mnist_c()
    assert dataset.test is not None
    assert dataset.train is clean.train
    assert dataset.test.labels.tolist() == clean.test.labels[:3].tolist() * 15
    assert dataset.test_groups == tuple(name for name in CORRUPTION_NAMES for _ in range(3))


def test_published_files_are_read(published: Path) -> None:
    dataset = load_dataset(str(published))
    assert dataset.test is not None
    assert dataset.test.images[:, 0, 0].tolist() == [number for number in range(15) for _ in range(4)]
    assert dataset.test.labels.tolist() == [0, 1, 2, 3] * 15
    assert dataset.test_groups[::4] == CORRUPTION_NAMES


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "test_labels.npy").unlink(),
        lambda folder: (folder / "test_images.npy").write_bytes(b"no array"),
        lambda folder: np.save(folder / "test_labels.npy", np.arange(9, 13)),
        lambda folder: np.save(folder / "test_labels.npy", np.arange(5)),
        lambda folder: np.save(folder / "test_images.npy", np.zeros((4, 28, 28))),
        lambda folder: np.save(folder / "test_labels.npy", np.array([{}] * 4), allow_pickle=True),
    ],
)
def test_damaged_files_are_errors_that_name_the_folder(published: Path, damage) -> None:  # type: ignore[no-untyped-def]
    damage(published / "fog")
    with pytest.raises(InputError, match="fog"):
        load_dataset(str(published))
