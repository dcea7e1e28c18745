"""Published datasets are read from a cache that the tests fill; no test uses the network."""

from __future__ import annotations

import bz2
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest

from digitcli.data import loading
from digitcli.data.dataset import Digits
from digitcli.data.loading import PUBLISHED_DATASETS, cache_folder, load_dataset
from digitcli.errors import EnvironmentFault, InputError, Interrupted
from tests.support.digits import are_equal

WriteIdx = Callable[[Path, str, Digits], None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""

    def unreachable(*_: Any, **__: Any) -> NoReturn:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_datasets_in_the_format_of_mnist_are_read_and_emnist_is_transposed(
    cache: Path, digits: Digits, few_digits: Digits, write_idx: WriteIdx
) -> None:
    def stored(part: Digits) -> Digits:
        return Digits(part.images.transpose(0, 2, 1), part.labels)

    for folder in ("FashionMNIST", "KMNIST"):
        write_idx(cache / folder / "raw", "train", digits)
        write_idx(cache / folder / "raw", "t10k", few_digits)
    write_idx(cache / "EMNIST" / "raw", "emnist-digits-train", stored(digits))
    write_idx(cache / "EMNIST" / "raw", "emnist-digits-test", stored(few_digits))
    for name in ("fashion-mnist", "kmnist", "emnist-digits"):
        dataset = load_dataset(name)
        assert dataset.name == name and dataset.failures == ()
        assert are_equal(dataset.train, digits) and are_equal(dataset.test, few_digits), name


def test_the_first_of_eight_labels_of_qmnist_is_the_digit(
    cache: Path, digits: Digits, few_digits: Digits, idx_bytes: Callable[[np.ndarray], bytes]
) -> None:
    folder = cache / "QMNIST" / "raw"
    folder.mkdir(parents=True)
    for part, of_part in (("train", digits), ("test", few_digits)):
        (folder / f"qmnist-{part}-images-idx3-ubyte").write_bytes(idx_bytes(of_part.images))
        table = np.full((len(of_part), 8), 3, ">i4")
        table[:, 0] = of_part.labels
        header = bytes([0, 0, 12, 2]) + np.array(table.shape, ">u4").tobytes()
        (folder / f"qmnist-{part}-labels-idx2-int").write_bytes(header + table.tobytes())
    dataset = load_dataset("qmnist")
    assert are_equal(dataset.train, digits) and are_equal(dataset.test, few_digits)


def test_usps_is_preprocessed(cache: Path, few_digits: Digits) -> None:
    (cache / "USPS").mkdir(parents=True)
    small = few_digits.images[:, 4:24, 4:24].astype(np.float64)[:, ::5, ::5].repeat(4, 1).repeat(4, 2)
    lines = [
        f"{label + 1} "
        + " ".join(f"{place}:{value / 127.5 - 1:.4f}" for place, value in enumerate(image.ravel(), 1))
        for image, label in zip(small, few_digits.labels, strict=True)
    ]
    for name in ("usps.bz2", "usps.t.bz2"):
        (cache / "USPS" / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    dataset = load_dataset("usps")
    assert dataset.test is not None
    for part in (dataset.train, dataset.test):
        assert part.labels.tolist() == list(range(10))
        assert np.median(part.images) == 0  # ink on black: the paper was not taken for ink
        assert part.images.any(axis=(1, 2)).all()


def test_svhn_is_preprocessed(monkeypatch: pytest.MonkeyPatch, few_digits: Digits) -> None:
    grey = np.pad(few_digits.images, ((0, 0), (2, 2), (2, 2)))
    colour = np.stack([grey, grey, grey // 2], axis=1)  # N, 3, 32, 32
    splits = []

    def svhn(root: Path, *, download: bool, split: str) -> SimpleNamespace:
        splits.append(split)
        return SimpleNamespace(data=colour, labels=few_digits.labels)

    monkeypatch.setattr("torchvision.datasets.SVHN", svhn)
    dataset = load_dataset("svhn")
    assert splits == ["train", "test"]
    assert dataset.train.labels.tolist() == list(range(10))
    for read, original in zip(dataset.train.images, few_digits.images, strict=True):
        assert np.corrcoef(read.ravel(), original.ravel())[0, 1] > 0.7


def test_without_a_network_the_files_to_download_are_named(
    cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, published in PUBLISHED_DATASETS.items():
        with pytest.raises(InputError, match=f"{name} is not in the cache") as caught:
            load_dataset(name)
        assert "Temporary failure in name resolution" in caught.value.cause
        assert all(text in caught.value.remedy for text in (str(cache), "--data", *published.files)), name
        assert capfd.readouterr() == ("", "")


def test_a_folder_with_damaged_files_is_named(cache: Path, digits: Digits, write_idx: WriteIdx) -> None:
    folder = cache / "KMNIST" / "raw"
    write_idx(folder, "train", digits)
    write_idx(folder, "t10k", digits)
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100])
    (cache / "USPS").mkdir(parents=True)
    (cache / "USPS" / "usps.bz2").write_bytes(bz2.compress(b"1 1:0\n" * 999)[:-9])
    for name, words in (("kmnist", "kmnist in .*KMNIST.raw"), ("usps", "usps in .*USPS")):
        with pytest.raises(InputError, match=f"{words} cannot be read") as caught:
            load_dataset(name)
        assert "Delete that folder" in caught.value.remedy


def test_a_download_prints_nothing_and_has_a_timeout(
    monkeypatch: pytest.MonkeyPatch, digits: Digits, capfd: Any
) -> None:
    timeouts = []

    def chatty(root: Path, *, download: bool, train: bool) -> SimpleNamespace:
        print("Downloading")
        print("100%", file=sys.stderr)
        timeouts.append(socket.getdefaulttimeout())
        return SimpleNamespace(data=digits.images, targets=digits.labels)

    monkeypatch.setattr("torchvision.datasets.KMNIST", chatty)
    load_dataset("kmnist")
    assert capfd.readouterr() == ("", "")
    assert timeouts == [loading.TIMEOUT_S] * 2
    assert socket.getdefaulttimeout() is None


def test_an_interruption_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(root: Path, **_: Any) -> NoReturn:
        raise Interrupted(15, "Stopped.")

    monkeypatch.setattr("torchvision.datasets.KMNIST", interrupted)
    with pytest.raises(Interrupted):
        load_dataset("kmnist")


def test_a_cache_that_cannot_be_written_is_an_environment_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path / "file"))
    with pytest.raises(EnvironmentFault, match="cache folder for usps cannot be used") as caught:
        load_dataset("usps")
    assert "DIGITCLI_CACHE" in caught.value.remedy


def test_missing_torchvision_is_an_environment_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(EnvironmentFault, match="needs torchvision"):
        load_dataset("kmnist")


def test_the_default_cache_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIGITCLI_CACHE")
    assert cache_folder().name == "digitcli"
