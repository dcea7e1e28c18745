"""NumPy archives and CSV tables are read in every usual form; errors name the file and the line."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from digitcli.data import arrays
from digitcli.data.arrays import load_csv, load_npz
from digitcli.data.dataset import Dataset, Digits
from digitcli.data.loading import load_dataset
from digitcli.errors import InputError
from tests.support.digits import are_equal

AsCsv = Callable[..., str]


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("layout", arrays.NPZ_LAYOUTS)
def test_npz_with_every_usual_choice_of_names(
    tmp_path: Path, digits: Digits, few_digits: Digits, layout: tuple[str, ...], compressed: bool
) -> None:
    path = tmp_path / "digits.npz"
    values = (digits.images, digits.labels, few_digits.images, few_digits.labels)
    arrays = dict(zip(layout, values, strict=True))
    (np.savez_compressed if compressed else np.savez)(path, **arrays, note=np.array("ignored"))
    dataset = load_npz(path)
    assert dataset.name == "digits.npz"
    assert are_equal(dataset.train, digits) and are_equal(dataset.test, few_digits)


def test_npz_without_a_test_part_and_stored_by_column(tmp_path: Path, digits: Digits) -> None:
    np.savez(tmp_path / "d.npz", images=np.asfortranarray(digits.images), labels=digits.labels)
    dataset = load_npz(tmp_path / "d.npz")
    assert are_equal(dataset.train, digits) and dataset.test is None


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("x", "y"), "x, y, not images and labels"),
        (("images",), "images, not images and labels"),
        (("images", "labels", "test_images"), "only one of test_images and test_labels"),
    ],
)
def test_npz_without_images_and_labels_names_its_arrays(
    tmp_path: Path, names: tuple[str, ...], words: str
) -> None:
    np.savez(tmp_path / "d.npz", **{name: np.zeros(3) for name in names})
    with pytest.raises(InputError, match=words) as caught:
        load_npz(tmp_path / "d.npz")
    assert caught.value.remedy


def test_npz_that_is_damaged_or_holds_objects_is_refused(tmp_path: Path, digits: Digits) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, images=np.array([object()]), labels=digits.labels)
    objects = path.read_bytes()
    np.savez(path, images=digits.images, labels=digits.labels)
    whole = path.read_bytes()
    for content, words in [
        (objects, "Python objects"),
        (b"", r"d\.npz"),
        (b"not a zip", r"d\.npz"),
        (b"PK\x05\x06" + b"\0" * 18, r"d\.npz"),
        (whole[:-100], "cannot be read as a NumPy archive"),
        (whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], "CRC"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            load_npz(path)


def test_npz_that_decompresses_to_too_many_bytes_is_refused(
    tmp_path: Path, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "d.npz", images=digits.images, labels=digits.labels)
    monkeypatch.setattr(arrays, "MAX_BYTES", 10_000)
    with pytest.raises(InputError, match="10000 bytes"):
        load_npz(tmp_path / "d.npz")


def test_npz_whose_header_announces_too_much_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"shape": (2**40, 28, 28), "fortran_order": False, "descr": "|u1"}
    )
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
        archive.writestr("labels.npy", header.getvalue())
    with pytest.raises(InputError, match="cannot be read as a NumPy archive"):
        load_npz(tmp_path / "d.npz")


def test_csv_in_every_usual_form_is_read(tmp_path: Path, digits: Digits, csv_text: AsCsv) -> None:
    for header in (True, False):
        text = csv_text(digits, header=header)
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


def test_csv_with_its_labels_last_is_read(tmp_path: Path, digits: Digits) -> None:
    table = np.column_stack([digits.images.reshape(len(digits), -1), digits.labels])
    names = ",".join([f'"p{index}"' for index in range(784)] + ['"class"'])
    np.savetxt(tmp_path / "d.csv", table, "%d", ",", header=names, comments="")
    assert are_equal(load_csv(tmp_path / "d.csv").train, digits)


def test_csv_of_emnist_is_transposed(tmp_path: Path, digits: Digits, csv_text: AsCsv) -> None:
    stored = Digits(digits.images.transpose(0, 2, 1), digits.labels)
    (tmp_path / "emnist-digits-train.csv").write_text(csv_text(stored, header=False))
    (tmp_path / "emnist-digits-test.csv").write_text(csv_text(stored, header=False))
    dataset = load_csv(tmp_path / "emnist-digits-train.csv")
    assert are_equal(dataset.train, digits) and are_equal(dataset.test, digits)


def test_csv_named_test_beside_one_named_train_is_the_test_part(
    tmp_path: Path, digits: Digits, few_digits: Digits, csv_text: AsCsv
) -> None:
    (tmp_path / "mnist_train.csv").write_text(csv_text(digits))
    (tmp_path / "mnist_test.csv").write_text(csv_text(few_digits, header=False))
    dataset = load_csv(tmp_path / "mnist_train.csv")
    assert are_equal(dataset.train, digits) and are_equal(dataset.test, few_digits)


@pytest.mark.parametrize("header", [True, False])
def test_csv_named_test_without_labels_is_ignored(
    tmp_path: Path, digits: Digits, csv_text: AsCsv, header: bool
) -> None:
    text = csv_text(digits, header=header)
    (tmp_path / "train.csv").write_text(text)
    (tmp_path / "test.csv").write_text("".join(line.partition(",")[2] + "\n" for line in text.splitlines()))
    assert load_csv(tmp_path / "train.csv").test is None
    with pytest.raises(InputError, match="no column of labels"):
        load_csv(tmp_path / "test.csv")


def test_csv_named_test_that_is_damaged_is_an_error(tmp_path: Path, digits: Digits, csv_text: AsCsv) -> None:
    (tmp_path / "train.csv").write_text(csv_text(digits))
    (tmp_path / "test.csv").write_text(csv_text(digits)[:-9])
    with pytest.raises(InputError, match=r"test\.csv, line 41: .* 7\d\d columns"):
        load_csv(tmp_path / "train.csv")


def test_csv_errors_name_the_line(tmp_path: Path, few_digits: Digits, csv_text: AsCsv) -> None:
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
        lines = csv_text(few_digits).splitlines()
        values = lines[3].split(",")
        values[column] = value
        lines[3] = ",".join(values)
        (tmp_path / "d.csv").write_text("\n".join(lines))
        with pytest.raises(InputError, match=words) as caught:
            load_csv(tmp_path / "d.csv")
        assert "784" in caught.value.remedy


def test_csv_that_is_not_a_table_is_refused(tmp_path: Path) -> None:
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
        (tmp_path / "d.csv").write_bytes(content)
        with pytest.raises(InputError, match=words) as caught:
            load_csv(tmp_path / "d.csv")
        assert caught.value.remedy


def test_csv_that_is_compressed_and_truncated_is_refused(
    tmp_path: Path, digits: Digits, csv_text: AsCsv
) -> None:
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(csv_text(digits).encode())[:-20])
    with pytest.raises(InputError, match=r"d\.csv\.gz cannot be read"):
        load_csv(tmp_path / "d.csv.gz")


def test_csv_that_decompresses_to_too_many_bytes_is_refused(
    tmp_path: Path, digits: Digits, csv_text: AsCsv, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(csv_text(digits).encode()))
    monkeypatch.setattr(arrays, "MAX_BYTES", 20_000)
    with pytest.raises(InputError, match="too long at line"):
        load_csv(tmp_path / "d.csv.gz")


def test_the_same_digits_have_the_same_digest_in_every_format(
    tmp_path: Path,
    digits: Digits,
    few_digits: Digits,
    csv_text: AsCsv,
    write_idx: Callable[[Path, str, Digits], None],
) -> None:
    np.savez(
        tmp_path / "keras.npz",
        x_train=digits.images / 255,
        y_train=digits.labels,
        x_test=few_digits.images,
        y_test=few_digits.labels,
    )
    (tmp_path / "train.csv").write_text(csv_text(digits))
    (tmp_path / "test.csv").write_text(csv_text(few_digits))
    write_idx(tmp_path / "idx", "train", digits)
    write_idx(tmp_path / "idx", "t10k", few_digits)
    digests = {load_dataset(str(tmp_path / name)).digest for name in ("keras.npz", "train.csv", "idx")}
    assert digests == {Dataset("x", digits, few_digits).digest}
