"""`--data` takes the names of datasets, folders and files, and explains mistakes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from digitcli.data import loading
from digitcli.data.dataset import Dataset, Digits
from digitcli.data.loading import DATASETS, find_dataset, load_dataset
from digitcli.errors import InputError, UsageError


def test_mnist_is_built_in() -> None:
    dataset = load_dataset("mnist")
    assert dataset.name == "mnist" and dataset.test is not None
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)


def test_every_dataset_has_a_summary_of_one_line() -> None:
    names = ["mnist", "mnist-c", "fashion-mnist", "kmnist", "qmnist", "emnist-digits", "usps", "svhn"]
    assert list(DATASETS) == names
    assert all(line and "\n" not in line for line in DATASETS.values())


def test_a_name_takes_precedence_over_a_folder(
    tmp_path: Path,
    digits: Digits,
    monkeypatch: pytest.MonkeyPatch,
    write_idx: Callable[[Path, str, Digits], None],
) -> None:
    monkeypatch.setattr(loading, "load_mnist", lambda: Dataset("built in", digits))
    write_idx(tmp_path / "mnist", "train", digits)
    assert load_dataset("mnist").name == "built in"
    assert load_dataset("./mnist").name == "mnist"
    assert load_dataset(str(tmp_path / "mnist")).name == "mnist"


def test_what_is_no_dataset_is_refused_with_a_remedy() -> None:
    for spec, kind, cause, remedy in [
        ("mnits", UsageError, "There is no dataset named mnits", "Did you mean mnist"),
        ("MNIST", UsageError, "There is no dataset named MNIST", "Did you mean mnist"),
        ("emnist-digit", UsageError, "There is no dataset named", "Did you mean emnist-digits"),
        ("zzz", UsageError, "There is no dataset named zzz", "emnist-digits, fashion-mnist"),
        ("", UsageError, "empty", "mnist"),
        (" ", UsageError, "empty", "mnist"),
        *[
            (spec, InputError, "There is no file or folder", "Check")
            for spec in ("missing.csv", "missing.npz", "missing/digits", "./missing", "/missing", "a\0/b")
        ],
        ("x" * 5000, InputError, "cannot be read", "Check"),
        ("~no-such-user-here/digits", InputError, "cannot be read", "Check"),
    ]:
        with pytest.raises(kind, match=cause) as caught:
            load_dataset(spec)
        assert remedy in caught.value.remedy, spec[:40]


def test_other_formats_are_refused(tmp_path: Path) -> None:
    for name in ("digits.pkl", "digits.npy", "digits.tar.gz", "digits", "digits.png"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UsageError, match=name) as caught:
            load_dataset(str(tmp_path / name))
        assert all(form in caught.value.remedy for form in (".npz", ".csv", "mnist")), name
    for name in ("train-images-idx3-ubyte", "train-images.idx3-ubyte.gz"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UsageError, match="one of several IDX files") as caught:
            load_dataset(str(tmp_path / name))
        assert str(tmp_path) in caught.value.remedy


@pytest.mark.parametrize("name", ["DIGITS.CSV", "digits.csv.gz"])
def test_a_suffix_may_be_in_capitals_or_followed_by_that_of_a_compressed_file(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"{name} is empty" if name.isupper() else name):
        load_dataset(str(tmp_path / name))


def test_importing_the_module_loads_no_torch() -> None:
    code = (
        "import sys, digitcli.data.loading; print(*{'torch', 'torchvision', 'cv2', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_finding_a_dataset_reads_nothing(tmp_path: Path) -> None:
    (tmp_path / "damaged.csv").write_bytes(b"")
    assert find_dataset("usps") is None
    assert find_dataset(str(tmp_path / "damaged.csv")) == tmp_path / "damaged.csv"
    assert find_dataset(str(tmp_path)) == tmp_path
