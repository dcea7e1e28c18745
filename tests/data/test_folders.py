"""Folders of IDX files and of pictures are read in every layout, and ambiguous layouts are refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digitcli.data.dataset import Digits
from digitcli.data.folders import load_folder
from digitcli.errors import InputError
from tests.support.digits import are_equal

WriteIdx = Callable[[Path, str, Digits], None]


def write_pictures(folder: Path, digits: Digits, suffix: str = "png") -> None:
    """Write black digits on white paper into folders named by their labels."""
    for index, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.pad(image, 10)).save(folder / str(label) / f"scan {index}.{suffix}")


def write_picture(path: Path, digits: Digits) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(255 - np.pad(digits.images[0], 10)).save(path)


@pytest.mark.parametrize("test_stem", ["t10k", "test"])
@pytest.mark.parametrize("prefix", ["", "mine-"])
def test_an_idx_folder_is_read(
    tmp_path: Path, digits: Digits, few_digits: Digits, write_idx: WriteIdx, prefix: str, test_stem: str
) -> None:
    write_idx(tmp_path, f"{prefix}train", digits)
    write_idx(tmp_path, f"{prefix}{test_stem}", few_digits)
    dataset = load_folder(tmp_path)
    assert dataset.name == tmp_path.name
    assert are_equal(dataset.train, digits) and are_equal(dataset.test, few_digits)


def test_idx_files_are_recognized_by_their_names(
    tmp_path: Path, digits: Digits, idx_bytes: Callable[[np.ndarray], bytes]
) -> None:
    names = ("train-{}", "train-{}.idx{}-ubyte", "train-{}-idx{}-ubyte.gz", "Train-{}.gz")
    for number, name in enumerate(names):
        (tmp_path / str(number)).mkdir()
        for kind, array in (("images", digits.images), ("labels", digits.labels)):
            content = idx_bytes(array)
            path = tmp_path / str(number) / name.format(kind, array.ndim)
            path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        assert are_equal(load_folder(tmp_path / str(number)).train, digits), name


def test_idx_of_emnist_is_transposed(tmp_path: Path, digits: Digits, write_idx: WriteIdx) -> None:
    write_idx(tmp_path, "emnist-digits-train", Digits(digits.images.transpose(0, 2, 1), digits.labels))
    assert are_equal(load_folder(tmp_path).train, digits)


def test_an_uncompressed_idx_file_replaces_its_compressed_copy(
    tmp_path: Path, digits: Digits, write_idx: WriteIdx
) -> None:
    write_idx(tmp_path, "train", digits)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"not looked at")
    (tmp_path / "README.txt").write_text("ignored")
    (tmp_path / "preview.png").write_bytes(b"ignored")
    assert are_equal(load_folder(tmp_path).train, digits)


def test_idx_images_of_other_sizes_are_preprocessed(
    tmp_path: Path, few_digits: Digits, write_idx: WriteIdx
) -> None:
    padded = np.pad(few_digits.images, ((0, 0), (4, 4), (4, 4)))
    write_idx(tmp_path, "train", Digits(padded, few_digits.labels))
    assert load_folder(tmp_path).train.images.shape == (10, 28, 28)


def test_idx_labels_that_are_not_one_digit_for_each_image_are_refused(
    tmp_path: Path, digits: Digits, write_idx: WriteIdx
) -> None:
    for labels, words in (
        (digits.labels[:-1], "40 images but 39 labels"),
        (digits.labels + 1, "that are not digits: 4 of 40, the first being 10"),
    ):
        write_idx(tmp_path, "train", Digits(digits.images, labels))
        with pytest.raises(InputError, match=words):
            load_folder(tmp_path)


def test_a_missing_idx_file_is_named(tmp_path: Path, digits: Digits, write_idx: WriteIdx) -> None:
    for missing, words in [
        ("train-images-idx3-ubyte", "no file of train images"),
        ("train-labels-idx1-ubyte", "no file of train labels"),
        ("t10k-labels-idx1-ubyte", "no file of test labels"),
    ]:
        write_idx(tmp_path, "train", digits)
        write_idx(tmp_path, "t10k", digits)
        (tmp_path / missing).unlink()
        with pytest.raises(InputError, match=words) as caught:
            load_folder(tmp_path)
        assert missing in caught.value.remedy


def test_idx_files_of_several_datasets_are_refused(
    tmp_path: Path, digits: Digits, write_idx: WriteIdx
) -> None:
    write_idx(tmp_path, "emnist-digits-train", digits)
    write_idx(tmp_path, "emnist-letters-train", digits)
    with pytest.raises(InputError, match="several datasets, .*'emnist-digits-', 'emnist-letters-'"):
        load_folder(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "TIFF"])
def test_pictures_in_folders_of_digits_are_read(tmp_path: Path, few_digits: Digits, suffix: str) -> None:
    write_pictures(tmp_path, few_digits, suffix)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "notes.txt").write_text("ignored")
    dataset = load_folder(tmp_path)
    assert dataset.failures == () and dataset.test is None
    assert dataset.train.labels.tolist() == list(range(10))
    for read, original in zip(dataset.train.images, few_digits.images, strict=True):
        assert np.corrcoef(read.ravel(), original.ravel())[0, 1] > 0.7


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "testing")])
def test_pictures_in_train_and_test_are_read(
    tmp_path: Path, digits: Digits, few_digits: Digits, train: str, test: str
) -> None:
    write_pictures(tmp_path / train, few_digits)
    write_pictures(tmp_path / "val", few_digits.take(np.arange(2)))
    write_pictures(tmp_path / test, digits)
    dataset = load_folder(tmp_path)
    assert len(dataset.train) == 12
    assert dataset.test is not None and len(dataset.test) == 40


def test_pictures_are_read_in_natural_order_also_from_sub_folders(
    tmp_path: Path, few_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["1/b/1.png", "1/10.png", "1/9.png", "0/scan 2.png", "0/scan 10.png"]
    for name in names:
        write_picture(tmp_path / name, few_digits)
    write_picture(tmp_path / "0/.hidden/3.png", few_digits)
    paths = []
    monkeypatch.setattr("digitcli.data.arrays.THREADS", 1)
    monkeypatch.setattr(
        "digitcli.imaging.digits.digit_from_picture", lambda path: paths.append(path) or few_digits.images[0]
    )
    load_folder(tmp_path)
    read = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert read == ["0/scan 2.png", "0/scan 10.png", "1/9.png", "1/10.png", "1/b/1.png"]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("2/up", ".."),
        ("2/again", "../1"),
        ("2/sub", "../1/b"),
        ("2/1.png", "../1/b/1.png"),
        ("2/b", "../../test/1"),
    ],
)
def test_no_link_gives_pictures_another_label(
    tmp_path: Path, few_digits: Digits, link: str, target: str
) -> None:
    names = ("1/b/1.png", "2/2.png")
    for name in names:
        write_picture(tmp_path / "train" / name, few_digits)
    write_picture(tmp_path / "test/1/1.png", few_digits)
    (tmp_path / "train" / link).symlink_to(target)
    dataset = load_folder(tmp_path)
    assert dataset.train.labels.tolist() == [1, 2]
    assert {failure.reason for failure in dataset.failures} == {"other_label"}
    assert "folder of the digit 1" in dataset.failures[0].cause


def test_a_folder_of_links_to_another_digit_has_no_pictures(tmp_path: Path, few_digits: Digits) -> None:
    write_picture(tmp_path / "1/1.png", few_digits)
    (tmp_path / "2").mkdir()
    (tmp_path / "2/1.png").symlink_to("../1/1.png")
    assert len(load_folder(tmp_path).failures) == 1


def test_links_to_folders_of_the_same_digit_are_followed(tmp_path: Path, few_digits: Digits) -> None:
    for name in ("train/1/1.png", "train/2/2.png", "test/2/3.png"):
        write_picture(tmp_path / name, few_digits)
    (tmp_path / "test/1").symlink_to("../train/1")
    dataset = load_folder(tmp_path)
    assert dataset.test is not None
    assert (dataset.train.labels.tolist(), dataset.test.labels.tolist()) == ([1, 2], [1, 2])
    (tmp_path / "train/7").symlink_to("1")
    with pytest.raises(InputError, match="also the folder of the digit 1"):
        load_folder(tmp_path)


def test_a_bad_picture_is_a_failure_and_the_others_are_read(tmp_path: Path, few_digits: Digits) -> None:
    write_pictures(tmp_path, few_digits)
    whole = (tmp_path / "5" / "scan 5.png").read_bytes()
    (tmp_path / "1" / "empty.png").write_bytes(b"")
    (tmp_path / "2" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "3" / "text.jpg").write_bytes(b"not a picture")
    (tmp_path / "4" / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "4" / "loop.png").symlink_to("loop.png")
    Image.new("L", (60, 60), 255).save(tmp_path / "6" / "blank.png")
    dataset = load_folder(tmp_path)
    assert dataset.train.labels.tolist() == list(range(10))
    reasons = {Path(failure.file).name: failure.reason for failure in dataset.failures}
    assert reasons == {
        "empty.png": "empty_file",
        "cut.png": "truncated",
        "text.jpg": "not_an_image",
        "gone.png": "not_found",
        "loop.png": "not_found",
        "blank.png": "blank",
    }
    assert all(failure.cause and failure.file.startswith(str(tmp_path)) for failure in dataset.failures)


def test_a_folder_of_bad_pictures_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "7" / name).write_bytes(b"")
    with pytest.raises(InputError, match="Of 2 pictures in .*, none can be used; the first: .*a.png"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "no digits"),
        (["notes.txt"], "no digits"),
        (["0/"], "no pictures"),
        (["train/", "test/0/a.png"], "no training pictures"),
        (["train/0/a.png", "test/"], "no test pictures"),
        (["a.png"], "which digits"),
        (["0/a.png", "10/a.png", "letters/a.png"], "sub-folders that are not digits: 10, letters"),
        (["a/x.png"], "sub-folders that are not digits: a"),
        (["train/0/a.png", "train/x/a.png"], "train has sub-folders that are not digits: x"),
        (["train/0/a.png", "train/a.png"], "train has pictures outside"),
        (["0/a.png", "b.png"], "mixes loose pictures and folders of digits"),
        (["0/a.png", "train/0/a.png"], "mixes folders of digits and folders named train"),
        (["0/a.png", "train-images-idx3-ubyte"], "mixes IDX files and folders of digits"),
        (["test/0/a.png", "train-images-idx3-ubyte"], "mixes IDX files and folders named train"),
    ],
)
def test_unknown_and_ambiguous_layouts_are_refused(
    tmp_path: Path, few_digits: Digits, entries: list[str], words: str
) -> None:
    for entry in entries:
        if entry.endswith("/"):
            (tmp_path / entry).mkdir(parents=True)
        elif entry.endswith(".png"):
            write_picture(tmp_path / entry, few_digits)
        else:
            (tmp_path / entry).write_bytes(b"")
    with pytest.raises(InputError, match=words) as caught:
        load_folder(tmp_path)
    assert "sub-folder named by its digit" in caught.value.remedy
