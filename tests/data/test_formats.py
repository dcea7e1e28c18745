"""Arrays, NumPy archives, CSV tables and IDX files: every usual form is read, any other bytes are refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from digitcli.data import arrays
from digitcli.data.arrays import digits_from_arrays, load_csv, load_npz
from digitcli.data.dataset import Dataset, Digits
from digitcli.data.loading import load_dataset
from digitcli.data.mnist import parse_idx, read_idx
from digitcli.errors import InputError
from digitcli.inference.predictor import load_classifier
from tests.support.digits import are_equal, as_csv, as_idx, write_idx
from tests.support.property_based import damaged, few_examples

COMPRESSORS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
ONE = Digits(np.arange(784, dtype=np.uint8).reshape(1, 28, 28) % 120, np.array([7]))


def as_npz(digits: Digits, save: Callable[..., None] = np.savez_compressed) -> bytes:
    stream = io.BytesIO()
    save(stream, images=digits.images, labels=digits.labels)
    return stream.getvalue()


def refused(load: Callable[[Path], Any], path: Path, content: bytes | None, words: str) -> InputError:
    """Check that a file is refused with these words and a remedy."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        load(path)
    assert caught.value.remedy, words
    return caught.value


def test_mnist_like_arrays_are_taken_as_they_are(digits: Digits) -> None:
    for shape in ((-1, 28, 28), (-1, 784), (-1, 1, 28, 28), (-1, 28, 28, 1)):
        images = digits.images.reshape(shape)
        for variant in (images, images.astype(np.int64), np.float32(images), images / 255, 255 - images):
            read, failures = digits_from_arrays(variant, digits.labels[:, None].astype(float), "x")
            assert are_equal(read, digits) and failures == (), (shape, variant.dtype)
            assert read.images.dtype == np.uint8 and read.labels.dtype == np.int64
    binary, _ = digits_from_arrays(digits.images > 127, digits.labels, "x")
    assert np.array_equal(binary.images, np.where(digits.images > 127, 255, 0))


def test_other_arrays_are_preprocessed(few_digits: Digits) -> None:
    padded = np.pad(few_digits.images, ((0, 0), (6, 6), (6, 6)))
    for form, images in {
        "padded": padded,
        "colour": np.stack([padded] * 3, axis=-1),
        "channels first": np.stack([padded] * 3, axis=1),
        "flat": padded.reshape(10, -1),
        "faint": padded // 16,
        "unit": padded / 127.5 - 1,
        "black on white": 255 - padded,
    }.items():
        read, failures = digits_from_arrays(images, few_digits.labels, "x")
        assert read.images.shape == (10, 28, 28) and failures == (), form
        for image, original in zip(read.images, few_digits.images, strict=True):
            assert np.corrcoef(image.ravel(), original.ravel())[0, 1] > 0.7, form
    padded[3] = 0
    read, failures = digits_from_arrays(padded, few_digits.labels, "x")
    assert read.labels.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [(failure.file, failure.reason) for failure in failures] == [("x[3]", "blank")]


def test_digits_that_fill_their_pictures_are_found(few_digits: Digits) -> None:
    """In USPS, each digit fills its image, so that most of the border is ink."""
    tight = []
    for image in few_digits.images:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        ink = Image.fromarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        tight.append(np.asarray(ink.resize((16, 16))))
    for paper in (0, 255):
        images = np.abs(paper - np.minimum(255, 1.5 * np.stack(tight))).astype(np.uint8)
        read, failures = digits_from_arrays(images, few_digits.labels, "x")
        assert not failures and len(read) == len(few_digits)
        answers = load_classifier("cnn").logits(read.images).argmax(axis=-1)
        assert np.mean(answers == read.labels) > 0.9


TEN = np.zeros((10, 28, 28))
WRONG_ARRAYS: list[tuple[np.ndarray, np.ndarray, str]] = [
    (TEN, np.arange(9), "10 images but 9 labels"),
    (TEN, np.arange(1, 11), "that are not digits: 1 of 10, the first being 10 of image 9"),
    (TEN, np.arange(10) - 1, "-1 of image 0"),
    (TEN, np.arange(10) + 0.5, "0.5 of image 0"),
    (TEN, np.full(10, np.nan), "nan of image 0"),
    (TEN, np.eye(10), r"shape \(10, 10\)"),
    (TEN, np.array(list("0123456789")), "<U1"),
    (TEN.astype("<U1"), np.arange(10), "not a number"),
    (TEN.astype(complex), np.arange(10), "not a number"),
    (np.zeros((10, 785)), np.arange(10), r"shape \(10, 785\)"),
    (np.zeros(10), np.arange(10), r"shape \(10,\)"),
    (np.zeros((10, 28, 0)), np.arange(10), "no pixels"),
    (np.zeros((10, 2, 28, 28)), np.arange(10), r"shape \(10, 2, 28, 28\)"),
    (TEN * np.nan, np.arange(10), "not finite"),
    (TEN.astype(int) + 256, np.arange(10), "from 256 to 256"),
    (TEN - 1, np.arange(10), "from -1.0 to -1.0"),
    (np.zeros((3, 16, 16)), np.zeros(3), "blank"),
    (np.zeros((0, 28, 28)), np.zeros(0), "no images"),
    (np.zeros((0, 784)), np.zeros(0), "no images"),
]


def test_arrays_that_are_not_one_digit_for_each_image_are_refused() -> None:
    for images, labels, words in WRONG_ARRAYS:
        with pytest.raises(InputError, match=words) as caught:
            digits_from_arrays(images, labels, "x")
        assert caught.value.remedy, words


def test_npz_in_every_usual_form_is_read(tmp_path: Path, digits: Digits, few_digits: Digits) -> None:
    path, parts = tmp_path / "d.npz", (digits.images, digits.labels, few_digits.images, few_digits.labels)
    for layout in arrays.NPZ_LAYOUTS:
        for save in (np.savez, np.savez_compressed):
            save(path, **dict(zip(layout, parts, strict=True)), note=np.array("ignored"))
            dataset = load_npz(path)
            assert dataset.name == "d.npz", layout
            assert are_equal(dataset.train, digits) and are_equal(dataset.test, few_digits), layout
    np.savez(path, images=np.asfortranarray(digits.images), labels=digits.labels)
    dataset = load_npz(path)
    assert are_equal(dataset.train, digits) and dataset.test is None


def as_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_npz_that_is_damaged_or_holds_something_else_is_refused(
    tmp_path: Path, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole, huge = tmp_path / "d.npz", as_npz(digits, np.savez), io.BytesIO()
    for content, words in [
        (as_npz(Digits(np.array([object()]), digits.labels)), "Object arrays"),
        (b"", r"d\.npz"),
        (b"not a zip", r"d\.npz"),
        (b"PK\x05\x06" + b"\0" * 18, r"d\.npz"),
        (whole[:-100], "cannot be read as a NumPy archive"),
        (whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], "CRC"),
    ]:
        refused(load_npz, path, content, words)
    for names, words in [
        (("x", "y"), "x, y, not images and labels"),
        (("images",), "images, not images and labels"),
        (("images", "labels", "test_images"), "only one of test_images and test_labels"),
    ]:
        np.savez(path, **{name: np.zeros(3) for name in names})
        refused(load_npz, path, None, words)
    shape = {"shape": (2**40, 28, 28), "fortran_order": False, "descr": "|u1"}
    np.lib.format.write_array_header_1_0(huge, shape)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", huge.getvalue())
        archive.writestr("labels.npy", huge.getvalue())
    refused(load_npz, path, None, "cannot be read as a NumPy archive")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", as_npy(digits.images) + b"more")
        archive.writestr("labels.npy", as_npy(digits.labels))
    refused(load_npz, path, None, "images.npy has more bytes than its shape")
    monkeypatch.setattr(arrays, "MAX_BYTES", 10_000)
    refused(load_npz, path, as_npz(digits), "10000 bytes")


def test_csv_in_every_usual_form_is_read(tmp_path: Path, digits: Digits) -> None:
    for header in (True, False):
        text = as_csv(digits, header=header)
        for form, content in {
            "plain.csv": text.encode(),
            "compressed.csv.gz": gzip.compress(text.encode()),
            "crlf.csv": text.replace("\n", "\r\n").encode(),
            "bom.csv": text.encode("utf-8-sig"),
            "blank lines.csv": ("\n" + text.replace("\n", "\n\n")).encode(),
            "spaces.csv": text.replace(",", ", ").encode(),
        }.items():
            (tmp_path / form).write_bytes(content)
            dataset = load_csv(tmp_path / form)
            assert are_equal(dataset.train, digits) and dataset.test is None, form
    table = np.column_stack([digits.images.reshape(len(digits), -1), digits.labels])
    names = ",".join([f'"p{index}"' for index in range(784)] + ['"class"'])
    np.savetxt(tmp_path / "labels last.csv", table, "%d", ",", header=names, comments="")
    assert are_equal(load_csv(tmp_path / "labels last.csv").train, digits)


def test_csv_named_test_with_labels_is_the_test_part(
    tmp_path: Path, digits: Digits, few_digits: Digits
) -> None:
    train, test = tmp_path / "mnist_train.csv", tmp_path / "mnist_test.csv"
    train.write_text(as_csv(digits))
    test.write_text(as_csv(few_digits, header=False))
    dataset = load_csv(train)
    assert are_equal(dataset.train, digits) and are_equal(dataset.test, few_digits)
    for header in (True, False):
        text = as_csv(digits, header=header)
        test.write_text("".join(line.partition(",")[2] + "\n" for line in text.splitlines()))
        assert load_csv(train).test is None
        refused(load_csv, test, None, "no column of labels")
    test.write_text(as_csv(digits)[:-9])
    refused(load_csv, train, None, r"test\.csv, line 41: .* 7\d\d columns")
    stored = Digits(digits.images.transpose(0, 2, 1), digits.labels)
    for part in ("train", "test"):
        (tmp_path / f"emnist-digits-{part}.csv").write_text(as_csv(stored, header=False))
    dataset = load_csv(tmp_path / "emnist-digits-train.csv")
    assert are_equal(dataset.train, digits) and are_equal(dataset.test, digits)


def test_csv_errors_name_the_line(
    tmp_path: Path, few_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.csv"
    for column, value, words in [
        (1, "256", "line 4: column 2 holds 256, which is not from 0 to 255"),
        (784, "-1", "line 4: column 785 holds -1, which"),
        (1, "x", "line 4: column 2 holds 'x', which is not an integer"),
        (1, "", "line 4: column 2 holds '', which"),
        (1, "0.5", "line 4: column 2 holds '0.5', which is not an integer"),
        (0, "10", "line 4: the label 10 is not a digit"),
        (0, "-1", "line 4: the label -1 is not a digit"),
        (0, "seven", "line 4: column 1 holds 'seven'"),
        (3, "0,0", "line 4: .* 786 columns instead of 785"),
    ]:
        lines = as_csv(few_digits).splitlines()
        values = lines[3].split(",")
        values[column] = value
        lines[3] = ",".join(values)
        assert "784" in refused(load_csv, path, "\n".join(lines).encode(), words).remedy
    for content, words in [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"label,pixel0\n", "has a header but no rows"),
        (b"a,b\n1,2\n", "no column of labels"),
        (b"1,2\n\xff\xfe\x00,3\n", "not UTF-8 text at line 2"),
        (b"1," * 40_000, "too long at line 1"),
        (b"1,\x002\n", "line 1: .* 2 columns"),
        (b"1,2,3\n4,5,6\n", "line 1: .* 3 columns instead of 785"),
    ]:
        refused(load_csv, path, content, words)
    compressed = gzip.compress(as_csv(few_digits).encode())
    refused(load_csv, tmp_path / "d.csv.gz", compressed[:-20], r"d\.csv\.gz cannot be read")
    monkeypatch.setattr(arrays, "MAX_BYTES", 10_000)
    refused(load_csv, tmp_path / "d.csv.gz", compressed, "too long at line")


def test_idx_is_read_plain_or_compressed_and_damaged_files_are_refused(
    tmp_path: Path, few_digits: Digits
) -> None:
    whole = as_idx(few_digits.images)
    for suffix, compress in COMPRESSORS.items():
        content, path = compress(whole), tmp_path / f"images{suffix}"
        path.write_bytes(content)
        assert np.array_equal(read_idx(path), few_digits.images), suffix
        wrong = [content[:-9], compress(whole + b"more"), b"", b"<html>no</html>"]
        if suffix:
            middle = len(content) // 2
            wrong.append(content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :])
        for each in wrong:
            refused(read_idx, path, each, "images")
    for header in (
        b"\0\0\x08\x03\0\0",  # cut within the header
        b"\0\0\x08\0\0",  # no dimensions
        b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"\0",  # more dimensions than NumPy has
        b"\0\0\x08\x03" + b"\xff" * 12,  # 2 ** 96 bytes
        b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0",  # floats
    ):
        refused(read_idx, tmp_path / "images", header, "images")
        with pytest.raises(InputError, match="images"):
            parse_idx(header, "images")
    refused(read_idx, tmp_path / "absent", None, "absent cannot be read")


def test_the_same_digits_have_the_same_digest_in_every_format(
    tmp_path: Path, digits: Digits, few_digits: Digits
) -> None:
    parts = {"x_train": digits.images / 255, "y_train": digits.labels}
    np.savez(tmp_path / "keras.npz", **parts, x_test=few_digits.images, y_test=few_digits.labels)
    (tmp_path / "train.csv").write_text(as_csv(digits))
    (tmp_path / "test.csv").write_text(as_csv(few_digits))
    write_idx(tmp_path / "idx", "train", digits)
    write_idx(tmp_path / "idx", "t10k", few_digits)
    digests = {load_dataset(str(tmp_path / name)).digest for name in ("keras.npz", "train.csv", "idx")}
    assert digests == {Dataset("x", digits, few_digits).digest}


def read_file(load: Callable[[Path], Any], name: str, content: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return load(path)


ANY_BYTES: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "digits.npz": (load_npz, as_npz(ONE)),
    "stored.npz": (load_npz, as_npz(ONE, np.savez)),
    "digits.csv": (load_csv, as_csv(ONE).encode()),
    "digits.csv.gz": (load_csv, gzip.compress(as_csv(ONE, header=False).encode())),
    "images": (read_idx, as_idx(ONE.images)),
}


@pytest.mark.parametrize("name", ANY_BYTES)
def test_any_bytes_of_a_data_file_are_digits_or_an_input_error(name: str) -> None:
    load, whole = ANY_BYTES[name]

    @few_examples
    @given(st.one_of(st.binary(max_size=60), st.text('01,.-"\n\rlabe\0').map(str.encode), damaged(whole)))
    def check(content: bytes) -> None:
        try:
            read = read_file(load, name, content)
        except InputError as error:
            assert error.cause and error.remedy
        else:
            assert 1 <= read.ndim <= 4 if isinstance(read, np.ndarray) else len(read.train)

    check()
