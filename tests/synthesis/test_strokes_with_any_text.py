"""The reader of strokes returns writers or raises an InputError, for any bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from digitcli.errors import InputError
from digitcli.synthesis.strokes import read_strokes
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
