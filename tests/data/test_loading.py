"""`--data` takes names, folders and files; published datasets come from a cache, here without a network."""

from __future__ import annotations

import bz2
import socket
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest

from digitcli.data import loading
from digitcli.data.dataset import Dataset, Digits
from digitcli.data.loading import PUBLISHED_DATASETS, cache_folder, find_dataset, load_dataset
from digitcli.errors import EnvironmentFault, InputError, Interrupted, UsageError
from tests.support.digits import are_equal, as_idx, write_idx
from tests.support.processes import modules_loaded_by


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""

    def unreachable(*_: Any, **__: Any) -> NoReturn:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_mnist_is_built_in_and_a_name_takes_precedence_over_a_folder(
    tmp_path: Path, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset("mnist")
    assert dataset.name == "mnist" and dataset.test is not None
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    monkeypatch.setattr(loading, "load_mnist", lambda: Dataset("built in", digits))
    monkeypatch.chdir(tmp_path)
    write_idx(tmp_path / "mnist", "train", digits)
    assert load_dataset("mnist").name == "built in"
    assert load_dataset("./mnist").name == load_dataset(str(tmp_path / "mnist")).name == "mnist"


def test_what_is_no_dataset_is_refused_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = ("digits.pkl", "digits.npy", "digits.tar.gz", "digits", "digits.png", "DIGITS.CSV", "a.csv.gz")
    idx = ("train-images-idx3-ubyte", "train-images.idx3-ubyte.gz")
    for name in (*files, *idx):
        (tmp_path / name).write_bytes(b"")
    missing = ("missing.csv", "missing.npz", "missing/digits", "./missing", "/missing", "a\0/b")
    for spec, kind, cause, remedy in [
        ("mnits", UsageError, "There is no dataset named mnits", "Did you mean mnist"),
        ("MNIST", UsageError, "There is no dataset named MNIST", "Did you mean mnist"),
        ("emnist-digit", UsageError, "There is no dataset named", "Did you mean emnist-digits"),
        ("zzz", UsageError, "There is no dataset named zzz", "emnist-digits, fashion-mnist"),
        ("", UsageError, "empty", "mnist"),
        (" ", UsageError, "empty", "mnist"),
        *[(spec, InputError, "There is no file or folder", "Check") for spec in missing],
        ("x" * 5000, InputError, "cannot be read", "Check"),
        ("~no-such-user-here/digits", InputError, "cannot be read", "Check"),
        *[(f"./{name}", UsageError, f"{name} is not in a format", ".npz or a .csv") for name in files[:5]],
        ("DIGITS.CSV", InputError, "DIGITS.CSV is empty", "784 pixels"),
        ("a.csv.gz", InputError, "a.csv.gz", ""),
        *[(name, UsageError, "one of several IDX files", "Give the folder") for name in idx],
    ]:
        with pytest.raises(kind, match=cause) as caught:
            load_dataset(spec)
        assert remedy in caught.value.remedy, spec[:40]


def test_finding_a_dataset_reads_nothing_and_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "damaged.csv").write_bytes(b"")
    assert find_dataset("usps") is None
    assert find_dataset(str(tmp_path / "damaged.csv")) == tmp_path / "damaged.csv"
    assert find_dataset(str(tmp_path)) == tmp_path
    loaded = modules_loaded_by("import digitcli.data.loading")
    assert not {"torch", "torchvision", "cv2", "PIL"} & loaded


def test_datasets_in_the_format_of_mnist_are_read_and_emnist_is_transposed(
    cache: Path, digits: Digits, few_digits: Digits
) -> None:
    for folder in ("FashionMNIST", "KMNIST"):
        write_idx(cache / folder / "raw", "train", digits)
        write_idx(cache / folder / "raw", "t10k", few_digits)
    for part, of_part in (("train", digits), ("test", few_digits)):
        stored = Digits(of_part.images.transpose(0, 2, 1), of_part.labels)
        write_idx(cache / "EMNIST" / "raw", f"emnist-digits-{part}", stored)
        qmnist = cache / "QMNIST" / "raw"
        qmnist.mkdir(parents=True, exist_ok=True)
        (qmnist / f"qmnist-{part}-images-idx3-ubyte").write_bytes(as_idx(of_part.images))
        table = np.full((len(of_part), 8), 3, ">i4")  # the first of eight labels is the digit
        table[:, 0] = of_part.labels
        header = bytes([0, 0, 12, 2]) + np.array(table.shape, ">u4").tobytes()
        (qmnist / f"qmnist-{part}-labels-idx2-int").write_bytes(header + table.tobytes())
    for name in ("fashion-mnist", "kmnist", "emnist-digits", "qmnist"):
        dataset = load_dataset(name)
        assert dataset.name == name and dataset.failures == ()
        assert are_equal(dataset.train, digits) and are_equal(dataset.test, few_digits), name


def test_usps_and_svhn_are_preprocessed(
    cache: Path, monkeypatch: pytest.MonkeyPatch, few_digits: Digits
) -> None:
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
        assert part.labels.tolist() == list(range(10)) and part.images.any(axis=(1, 2)).all()
        assert np.median(part.images) == 0  # ink on black: the paper was not taken for ink
    grey, splits = np.pad(few_digits.images, ((0, 0), (2, 2), (2, 2))), []

    def svhn(root: Path, *, download: bool, split: str) -> SimpleNamespace:
        splits.append(split)
        return SimpleNamespace(data=np.stack([grey, grey, grey // 2], axis=1), labels=few_digits.labels)

    monkeypatch.setattr("torchvision.datasets.SVHN", svhn)
    dataset = load_dataset("svhn")
    assert splits == ["train", "test"] and dataset.train.labels.tolist() == list(range(10))
    for read, original in zip(dataset.train.images, few_digits.images, strict=True):
        assert np.corrcoef(read.ravel(), original.ravel())[0, 1] > 0.7


def test_without_a_network_or_with_damaged_files_the_remedy_names_them(
    cache: Path, digits: Digits, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, published in PUBLISHED_DATASETS.items():
        with pytest.raises(InputError, match=f"{name} is not in the cache") as caught:
            load_dataset(name)
        assert "Temporary failure in name resolution" in caught.value.cause
        assert all(text in caught.value.remedy for text in (str(cache), "--data", *published.files)), name
        assert capfd.readouterr() == ("", "")
    for stem in ("train", "t10k"):
        write_idx(cache / "KMNIST" / "raw", stem, digits)
    images = cache / "KMNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100])
    (cache / "USPS" / "usps.bz2").write_bytes(bz2.compress(b"1 1:0\n" * 999)[:-9])
    for name, words in (("kmnist", "kmnist in .*KMNIST.raw"), ("usps", "usps in .*USPS")):
        with pytest.raises(InputError, match=f"{words} cannot be read") as caught:
            load_dataset(name)
        assert "Delete that folder" in caught.value.remedy


def test_a_download_prints_nothing_has_a_timeout_and_can_be_interrupted(
    cache: Path, monkeypatch: pytest.MonkeyPatch, digits: Digits, capfd: Any
) -> None:
    timeouts = []

    def chatty(root: Path, *, download: bool, train: bool) -> SimpleNamespace:
        print("Downloading")
        print("100%", file=sys.stderr)
        timeouts.append(socket.getdefaulttimeout())
        return SimpleNamespace(data=digits.images, targets=digits.labels)

    def interrupted(root: Path, **_: Any) -> NoReturn:
        raise Interrupted(15, "Stopped.")

    monkeypatch.setattr("torchvision.datasets.KMNIST", chatty)
    load_dataset("kmnist")
    assert capfd.readouterr() == ("", "") and timeouts == [loading.TIMEOUT_S] * 2
    monkeypatch.setattr("torchvision.datasets.KMNIST", interrupted)
    with pytest.raises(Interrupted):
        load_dataset("kmnist")
    assert socket.getdefaulttimeout() is None


def test_a_cache_or_a_package_that_cannot_be_used_is_an_environment_fault(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path / "file"))
    with pytest.raises(EnvironmentFault, match="cache folder for usps cannot be used") as caught:
        load_dataset("usps")
    assert "DIGITCLI_CACHE" in caught.value.remedy
    monkeypatch.delenv("DIGITCLI_CACHE")
    assert cache_folder().name == "digitcli"  # the user's
    monkeypatch.setenv("DIGITCLI_CACHE", str(cache))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(EnvironmentFault, match="needs torchvision"):
        load_dataset("kmnist")
