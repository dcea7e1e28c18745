"""MNIST-C: its corruptions, for which scikit-image is the oracle as it was for the authors, and its files."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.filters import gaussian

from digitcli.data import mnist_c
from digitcli.data.dataset import Dataset
from digitcli.data.loading import load_dataset
from digitcli.data.mnist import load_mnist, load_mnist_test
from digitcli.data.mnist_c import CORRUPTIONS, Images, corrupt
from digitcli.errors import InputError

DIGITS = load_mnist_test().images[:40]
IMAGES: Images = DIGITS / 255


def test_every_corruption_changes_digits_and_is_the_same_in_every_call() -> None:
    images = DIGITS.copy()
    for name in CORRUPTIONS:
        corrupted = corrupt(name, images)
        assert corrupted.shape == DIGITS.shape and corrupted.dtype == np.uint8
        assert (corrupted != DIGITS).any(axis=(1, 2)).all(), name
        assert np.array_equal(corrupt(name, images), corrupted)
        assert np.array_equal(images, DIGITS), name  # the input is not changed


def test_moves_go_both_ways_about_the_centre() -> None:
    bar = np.zeros((200, 28, 28))
    bar[:, 4:24, 13:15] = 1
    random = np.random.default_rng(0)
    for name in ("shear", "rotate"):
        top = CORRUPTIONS[name](bar, random)[:, 4:9].argmax(axis=2).mean(axis=1)
        assert 60 < (top < 13).sum() < 140, name
        assert CORRUPTIONS[name](bar, random)[:, 13:15, 13:15].min() > 0.8, name  # the centre stays
    rotated = CORRUPTIONS["rotate"](bar, random)[0]
    rows, columns = np.nonzero(rotated > 0.5)
    slope = np.polyfit(rows, columns, 1)[0]
    assert abs(np.arctan(slope)) == pytest.approx(0.4, abs=0.03)
    inked = np.flatnonzero(CORRUPTIONS["scale"](bar, random)[0].sum(axis=1))
    assert inked.max() - inked.min() + 1 == pytest.approx(20 * 0.7, abs=1)
    moved = CORRUPTIONS["translate"](IMAGES, random)
    for image, before in zip(moved, IMAGES, strict=True):
        ways = [np.roll(before, way, axis=(0, 1)) for way in itertools.product((-3, 3), repeat=2)]
        assert any(np.array_equal(image[3:-3, 3:-3], way[3:-3, 3:-3]) for way in ways)


def test_blur_is_that_of_the_generator() -> None:
    both = [gaussian(image, 1.5, mode="nearest") for image in IMAGES]
    down = [gaussian(image, (0.7, 0), mode="nearest") for image in IMAGES]
    assert mnist_c._blur(IMAGES, 1.5) == pytest.approx(np.stack(both), abs=1e-9)
    assert mnist_c._blur(IMAGES, 0.7, across=False) == pytest.approx(np.stack(down), abs=1e-9)


def test_noise_and_smears_have_the_strength_of_the_generator() -> None:
    grey = np.full((200, 28, 28), 0.5)
    noisy = mnist_c.shot_noise(grey, np.random.default_rng(0))  # of three photons
    assert noisy.mean() == pytest.approx(0.5, abs=0.01) and noisy.var() == pytest.approx(0.5 / 3, abs=0.01)
    hit = mnist_c.impulse_noise(grey, np.random.default_rng(0)) != grey
    assert hit.mean() == pytest.approx(0.17, abs=0.01)
    point = np.zeros((50, 28, 28))
    point[:, 14, 20] = 1
    smeared = mnist_c.motion_blur(point[:1], np.random.default_rng(0))
    assert smeared.sum() == pytest.approx(1, abs=0.05) and 5 <= (smeared > 0).sum() <= 21
    assert np.flatnonzero(smeared.sum(axis=(0, 1))).max() <= 20  # to one side only
    glass = mnist_c.glass_blur(point, np.random.default_rng(0))
    assert len(np.unique(np.argwhere(glass > 0)[:, 2])) > 1  # shuffled sideways, too
    assert glass.sum(axis=(1, 2)) == pytest.approx(np.ones(50), abs=0.05)
    foggy = mnist_c.fog(IMAGES, np.random.default_rng(0))
    assert (foggy > 0.02).mean() > 0.99 and foggy.max() <= IMAGES.max() + 1e-9


def test_lines_have_the_form_of_the_generator() -> None:
    lines = mnist_c.dotted_line(np.zeros((30, 28, 28)), np.random.default_rng(0))
    inked = lines.max(axis=(0, 1)) > 0
    assert inked.tolist() == [column // 2 % 2 == 1 and column < 27 for column in range(28)]
    line = mnist_c._zigzag_line(14, 0)
    columns = np.flatnonzero(line.max(axis=0) > 0)
    assert (columns.min(), columns.max()) == (2, 24)
    assert line[:, [4, 12, 20]].argmax(axis=0).tolist() == [16, 16, 16]
    assert line[:, [8, 16]].argmax(axis=0).tolist() == [12, 12]


def test_made_digits_are_groups_of_the_test_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = load_mnist()
    assert clean.test is not None
    few = Dataset("mnist", clean.train, clean.test.take(np.arange(3)))
    monkeypatch.setattr(mnist_c, "load_mnist", lambda: few)
    dataset = load_dataset("mnist-c")
    assert dataset.test is not None and dataset.train is clean.train
    assert dataset.test.labels.tolist() == clean.test.labels[:3].tolist() * 15
    assert dataset.test_groups == tuple(name for name in CORRUPTIONS for _ in range(3))


def test_published_files_are_read_and_damaged_ones_are_errors_that_name_the_folder(tmp_path: Path) -> None:
    for number, name in enumerate(CORRUPTIONS):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "test_images.npy", np.full((4, 28, 28, 1), number, np.uint8))
        np.save(tmp_path / name / "test_labels.npy", np.arange(4))
    dataset = load_dataset(str(tmp_path))
    assert dataset.test is not None and dataset.test_groups[::4] == tuple(CORRUPTIONS)
    assert dataset.test.images[:, 0, 0].tolist() == [number for number in range(15) for _ in range(4)]
    assert dataset.test.labels.tolist() == [0, 1, 2, 3] * 15
    images, labels = tmp_path / "fog" / "test_images.npy", tmp_path / "fog" / "test_labels.npy"
    good = {path: path.read_bytes() for path in (images, labels)}
    damages: list[Callable[[], Any]] = [
        labels.unlink,
        lambda: images.write_bytes(b"no array"),
        lambda: np.save(labels, np.arange(9, 13)),
        lambda: np.save(labels, np.arange(5)),
        lambda: np.save(images, np.zeros((4, 28, 28))),
        lambda: np.save(labels, np.array([{}] * 4), allow_pickle=True),
    ]
    for damage in damages:
        damage()
        with pytest.raises(InputError, match="fog"):
            load_dataset(str(tmp_path))
        for path, content in good.items():
            path.write_bytes(content)
