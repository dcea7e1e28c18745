"""Folders are walked in natural order; those of IDX files and of pictures are read in every clear layout."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digitcli.data.dataset import Digits
from digitcli.data.files import is_picture, natural_order, walk_pictures
from digitcli.data.folders import load_folder
from digitcli.errors import InputError
from tests.support.digits import are_equal, as_idx, write_idx


def create_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def list_pictures(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in walk_pictures(folder) if isinstance(path, Path)]


def test_pictures_come_in_natural_order_and_other_files_are_skipped(tmp_path: Path) -> None:
    create_files(tmp_path, "10.png", "9.png", "page 2/1.png", "page 10/1.png", "Z.png", "a.png")
    create_files(tmp_path, "a.PNG", "b.Jpeg", ".hidden.png", ".git/c.png", "png", "d.png.txt", "e.svg")
    create_files(tmp_path, "scan.png/1.png")  # a folder
    names = ["9.png", "10.png", "Z.png", "a.PNG", "a.png", "b.Jpeg"]
    assert list_pictures(tmp_path) == [*names, "page 2/1.png", "page 10/1.png", "scan.png/1.png"]
    for name in ("x.bmp", "x.GIF", "x.jpeg", "x.jpg", "x.pgm", "x.ppm", "x.tif", "x.webp"):
        assert is_picture(name) and not is_picture(f"{name}.gz") and not is_picture(Path(name).suffix), name
    ordered = sorted(["scan10.png", "scan2.png", "2", "10", "scan2a", "①", "scan٣"], key=natural_order)
    assert ordered.index("2") < ordered.index("10")
    assert ordered.index("scan2.png") < ordered.index("scan٣") < ordered.index("scan10.png")
    assert natural_order("1") != natural_order("01")


def test_links_are_followed_but_no_folder_is_entered_twice(tmp_path: Path) -> None:
    create_files(tmp_path, "real/1.png", "walked/2.png", "walked/b/3.png")
    for name, target in {
        "there": tmp_path / "real",
        "one.png": tmp_path / "real/1.png",
        "z up": tmp_path / "walked",
        "z again": tmp_path / "walked/b",
        "loop.png": Path("loop.png"),  # a broken link is listed, so that it is reported
        "gone.png": Path("nothing"),
    }.items():
        (tmp_path / "walked" / name).symlink_to(target)
    expected = ["2.png", "b/3.png", "gone.png", "loop.png", "one.png", "there/1.png"]
    assert list_pictures(tmp_path / "walked") == expected


def test_folders_are_listed_one_at_a_time_and_errors_are_yielded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_files(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    scandir, listed = os.scandir, []

    def refuse(path: Path) -> object:
        listed.append(Path(path).name)
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    pictures = walk_pictures(tmp_path)
    assert next(pictures) == tmp_path / "a/1.png" and listed == [tmp_path.name, "a"]
    error, last = pictures
    assert isinstance(error, PermissionError) and error.filename == str(tmp_path / "b")
    assert last == tmp_path / "c/3.png"
    (missing,) = walk_pictures(tmp_path / "none")
    assert isinstance(missing, FileNotFoundError)


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write a black digit on white paper."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(255 - np.pad(image, 10)).save(path)


def write_pictures(folder: Path, digits: Digits, suffix: str = "png") -> None:
    """Write pictures into folders named by their labels."""
    for index, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        write_picture(folder / str(label) / f"scan {index}.{suffix}", image)


def test_idx_folders_are_read(tmp_path: Path, digits: Digits, few_digits: Digits) -> None:
    for prefix, test_stem in (("", "t10k"), ("mine-", "test")):
        folder = tmp_path / test_stem
        write_idx(folder, f"{prefix}train", digits)
        write_idx(folder, f"{prefix}{test_stem}", few_digits)
        (folder / "README.txt").write_text("ignored")
        (folder / "preview.png").write_bytes(b"ignored")
        (folder / f"{prefix}train-images-idx3-ubyte.gz").write_bytes(b"a copy that is not looked at")
        dataset = load_folder(folder)
        assert dataset.name == test_stem
        assert are_equal(dataset.train, digits) and are_equal(dataset.test, few_digits)
    for number, name in enumerate(
        ("train-{}", "train-{}.idx{}-ubyte", "train-{}-idx{}-ubyte.gz", "Train-{}.gz")
    ):
        (tmp_path / str(number)).mkdir()
        for kind, array in (("images", digits.images), ("labels", digits.labels)):
            path = tmp_path / str(number) / name.format(kind, array.ndim)
            path.write_bytes(gzip.compress(as_idx(array)) if path.suffix == ".gz" else as_idx(array))
        assert are_equal(load_folder(tmp_path / str(number)).train, digits), name
    stored = Digits(digits.images.transpose(0, 2, 1), digits.labels)
    write_idx(tmp_path / "emnist", "emnist-digits-train", stored)
    assert are_equal(load_folder(tmp_path / "emnist").train, digits)
    padded = np.pad(few_digits.images, ((0, 0), (4, 4), (4, 4)))
    write_idx(tmp_path / "larger", "train", Digits(padded, few_digits.labels))
    assert load_folder(tmp_path / "larger").train.images.shape == (10, 28, 28)
    write_idx(tmp_path / "emnist", "emnist-letters-train", digits)
    with pytest.raises(InputError, match="several datasets, .*'emnist-digits-', 'emnist-letters-'"):
        load_folder(tmp_path / "emnist")


def test_idx_files_that_are_missing_or_do_not_match_are_named(tmp_path: Path, digits: Digits) -> None:
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
    for labels, words in (
        (digits.labels[:-1], "40 images but 39 labels"),
        (digits.labels + 1, "that are not digits: 4 of 40, the first being 10"),
    ):
        write_idx(tmp_path / "other", "train", Digits(digits.images, labels))
        with pytest.raises(InputError, match=words):
            load_folder(tmp_path / "other")


def test_pictures_in_folders_of_digits_are_read(tmp_path: Path, digits: Digits, few_digits: Digits) -> None:
    for suffix in ("png", "jpg", "bmp", "TIFF"):
        folder = tmp_path / suffix
        write_pictures(folder, few_digits, suffix)
        (folder / ".cache").mkdir()
        (folder / "notes.txt").write_text("ignored")
        dataset = load_folder(folder)
        assert dataset.failures == () and dataset.test is None
        assert dataset.train.labels.tolist() == list(range(10))
        for read, original in zip(dataset.train.images, few_digits.images, strict=True):
            assert np.corrcoef(read.ravel(), original.ravel())[0, 1] > 0.7
    for train, test in (("train", "test"), ("Training", "testing")):
        write_pictures(tmp_path / test / train, few_digits)
        write_pictures(tmp_path / test / "val", few_digits.take(np.arange(2)))
        write_pictures(tmp_path / test / test, digits)
        dataset = load_folder(tmp_path / test)
        assert len(dataset.train) == 12 and dataset.test is not None and len(dataset.test) == 40


def test_pictures_are_read_in_natural_order_also_from_sub_folders(tmp_path: Path, few_digits: Digits) -> None:
    names = ["0/scan 2.png", "0/scan 10.png", "1/9.png", "1/10.png", "1/b/1.png"]
    for name in (*reversed(names), "0/.hidden/3.png"):
        write_picture(tmp_path / name, few_digits.images[0])
    assert load_folder(tmp_path).train_files == tuple(str(tmp_path / name) for name in names)


def test_no_link_gives_pictures_another_label(tmp_path: Path, few_digits: Digits) -> None:
    links = {
        "2/up": "..",
        "2/again": "../1",
        "2/sub": "../1/b",
        "2/1.png": "../1/b/1.png",
        "2/b": "../../test/1",
    }
    for number, (link, target) in enumerate(links.items()):
        folder = tmp_path / str(number)
        for name in ("train/1/b/1.png", "train/2/2.png", "test/1/1.png"):
            write_picture(folder / name, few_digits.images[0])
        (folder / "train" / link).symlink_to(target)
        dataset = load_folder(folder)
        assert dataset.train.labels.tolist() == [1, 2], link
        assert {failure.reason for failure in dataset.failures} == {"other_label"}, link
        assert "folder of the digit 1" in dataset.failures[0].cause, link
    (folder / "test/2").symlink_to("../train/2")  # the same digit
    dataset = load_folder(folder)
    assert dataset.test is not None
    assert (dataset.train.labels.tolist(), dataset.test.labels.tolist()) == ([1, 2], [1, 2])
    (folder / "train/7").symlink_to("1")
    with pytest.raises(InputError, match="also the folder of the digit 1"):
        load_folder(folder)


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
    create_files(tmp_path / "bad", "7/a.png", "7/b.png")
    with pytest.raises(InputError, match="Of 2 pictures in .*, none can be used; the first: .*a.png"):
        load_folder(tmp_path / "bad")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ("", "no digits"),
        ("notes.txt", "no digits"),
        ("0/", "no pictures"),
        ("train/ test/0/a.png", "no training pictures"),
        ("train/0/a.png test/", "no test pictures"),
        ("a.png", "which digits"),
        ("0/a.png 10/a.png letters/a.png", "sub-folders that are not digits: 10, letters"),
        ("train/0/a.png train/x/a.png", "train has sub-folders that are not digits: x"),
        ("train/0/a.png train/a.png", "train has pictures outside"),
        ("0/a.png b.png", "mixes loose pictures and folders of digits"),
        ("0/a.png train/0/a.png", "mixes folders of digits and folders named train"),
        ("0/a.png train-images-idx3-ubyte", "mixes IDX files and folders of digits"),
        ("test/0/a.png train-images-idx3-ubyte", "mixes IDX files and folders named train"),
    ],
)
def test_unknown_and_ambiguous_layouts_are_refused(
    tmp_path: Path, few_digits: Digits, entries: str, words: str
) -> None:
    for entry in entries.split():
        if entry.endswith("/"):
            (tmp_path / entry).mkdir(parents=True)
        elif entry.endswith(".png"):
            write_picture(tmp_path / entry, few_digits.images[0])
        else:
            (tmp_path / entry).write_bytes(b"")
    with pytest.raises(InputError, match=words) as caught:
        load_folder(tmp_path)
    assert "sub-folder named by its digit" in caught.value.remedy
