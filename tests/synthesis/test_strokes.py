"""Pen strokes in the UNIPEN format are read; any other bytes are refused."""

from __future__ import annotations

import lzma
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitcli.errors import InputError
from digitcli.synthesis.strokes import load_writers, read_strokes, split_writers
from tests.support.property_based import damaged, few_examples
from tests.support.strokes import unipen

WHOLE = "".join(unipen(digit, 3) for digit in range(10)).encode()
LINES = (
    ".SEGMENT DIGIT",
    ".COMMENT 4 3 224",
    ".COMMENT x",
    ".PEN_DOWN",
    ".PEN_UP",
    "1 2",
    "3 x",
    "",
    "١ ٢",
    "-9 9",
)
points = st.lists(st.tuples(st.integers(-500, 500), st.integers(-500, 500)), min_size=2, max_size=9)


def test_writers_of_all_ten_digits_are_kept(strokes_file: Path) -> None:
    writers = read_strokes(strokes_file)
    assert len(writers) == 2
    assert all(sorted(digits) == list(range(10)) for digits in writers)
    assert [len(samples) for samples in writers[0].values()] == [1] * 10


def test_writers_of_all_files_in_a_folder_are_different_people(tmp_path: Path, strokes_text: str) -> None:
    (tmp_path / "a.tra").write_text(strokes_text)
    (tmp_path / "b.tes").write_text(strokes_text + unipen(1, 3))
    (tmp_path / "readme.txt").write_text("no strokes")
    assert len(read_strokes(tmp_path)) == 4
    (tmp_path / "copy.tra").write_text(strokes_text)
    with pytest.raises(InputError, match="twice"):
        read_strokes(tmp_path)


@pytest.mark.parametrize("name", ["pendigits-orig.tra.Z", "."])
def test_a_file_that_was_compressed_with_compress_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "pendigits-orig.tra.Z").write_bytes(b"\x1f\x9d\x90")
    with pytest.raises(InputError, match="compress"):
        read_strokes(tmp_path / name)


def test_a_digit_is_upright_and_has_the_height_1(strokes_file: Path) -> None:
    [[stroke]] = read_strokes(strokes_file)[1][8]
    assert stroke.dtype == np.float32 and stroke.shape == (8, 2)
    assert stroke.min(axis=0).tolist() == [0, 0]
    assert stroke[-1, 1] == stroke[:, 1].max() == 1  # the last point lies lowest, the second highest
    assert stroke[1, 1] == 0


def test_a_horizontal_stroke_has_a_limited_width(tmp_path: Path, strokes_text: str) -> None:
    path = tmp_path / "a.tra"
    path.write_text(strokes_text + unipen(1, 3, "100 100\n 300 101\n"))
    [flat] = read_strokes(path)[0][1][1]
    assert flat[:, 0].max() == pytest.approx(2) and flat[:, 1].max() < 0.02


def test_a_pen_that_only_touched_the_tablet_writes_nothing(tmp_path: Path, strokes_text: str) -> None:
    path = tmp_path / "a.tra"
    path.write_text(strokes_text + unipen(1, 3, "100 100\n"))
    assert len(read_strokes(path)[0][1]) == 1


def test_compressed_files_are_read(tmp_path: Path, strokes_file: Path) -> None:
    path = tmp_path / "a.tra.xz"
    path.write_bytes(lzma.compress(strokes_file.read_bytes()))
    assert len(read_strokes(path)) == 2


DAMAGED = {
    "empty.tra": b"",
    "picture.tra": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
    "packed.xz": b"no xz at all",
    "cut.xz": lzma.compress(b".SEGMENT\n" * 1000)[:-20],
    "no_label.tra": b'.SEGMENT DIGIT 0 ? "8"\n.PEN_DOWN\n 1 2\n 3 4\n.PEN_UP\n',
    "ten.tra": unipen(10, 3).encode(),
    "words.tra": unipen(1, 3, "one two\n").encode(),
    "far.tra": unipen(1, 3, "9999999 1\n 1 1\n").encode(),
    "one_digit.tra": unipen(1, 3).encode(),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_and_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    with pytest.raises(InputError, match=name) as caught:
        read_strokes(path)
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["none.tra", "."])
def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        read_strokes(tmp_path / name)


def test_one_of_ten_writers_is_held_out() -> None:
    writers = load_writers()
    training, held_out = (split_writers(writers, held_out=is_held_out) for is_held_out in (False, True))
    assert (len(training), len(held_out)) == (147, 16)
    assert not {id(writer) for writer in training} & {id(writer) for writer in held_out}


def test_the_package_contains_the_strokes_of_163_writers() -> None:
    writers = load_writers()
    assert len(writers) == 163
    assert all(sorted(writer) == list(range(10)) for writer in writers)
    samples = [sample for writer in writers for digit in writer.values() for sample in digit]
    assert len(samples) == 33_168
    points = np.concatenate([stroke for sample in samples[::50] for stroke in sample])
    assert points.min() >= 0
    assert points[:, 1].max() <= 1.001


def check_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tra"
        path.write_bytes(content)
        try:
            writers = read_strokes(path)
        except InputError as error:
            assert error.cause and error.remedy
            return
    for writer in writers:
        assert sorted(writer) == list(range(10))
        for samples in writer.values():
            for sample in samples:
                assert all(np.isfinite(stroke).all() and stroke.min() >= 0 for stroke in sample)


@few_examples
@given(st.one_of(st.binary(max_size=80), damaged(WHOLE)))
def test_any_bytes_are_writers_or_an_input_error(content: bytes) -> None:
    check_file(content)


@few_examples
@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_any_lines_are_writers_or_an_input_error(lines: list[str]) -> None:
    check_file(WHOLE + "\n".join(lines).encode())


@few_examples
@given(points)
def test_every_stroke_lies_in_the_upper_right_of_the_origin_and_is_at_most_two_wide(
    written: list[tuple[int, int]],
) -> None:
    text = "".join(f"{x} {y}\n " for x, y in written)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tra"
        path.write_bytes(WHOLE + unipen(1, 3, text).encode())
        [stroke] = read_strokes(path)[0][1][1]
    assert len(stroke) == len(written)
    assert stroke.min() == 0 and stroke[:, 0].max() <= 2 and stroke[:, 1].max() <= 1
