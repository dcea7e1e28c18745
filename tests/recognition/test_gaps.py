"""What the network that groups digits sees of the gaps of a page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from digitcli.gap_format import COLUMNS, PATCH_PX, PLACE_STEPS, VALUES
from digitcli.imaging.network_inputs import LineBox
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.confidence import LARGEST_LOG_ODDS, log_odds
from digitcli.recognition.gaps import digits_of, gaps_between, network_input
from digitcli.recognition.line_reading import Line
from tests.support.lines import GREY, HEIGHT_PX, STEP_PX, WIDTH_PX, line_of, shown, spelt, strip_at


def rows_of(lines: Sequence[Line], grey: np.ndarray = GREY) -> np.ndarray:
    """Return what the network sees of the gaps of a page."""
    digits = digits_of(lines)
    return network_input(grey, digits, gaps_between(digits, lines), lines)[0]


def values_of(row: np.ndarray) -> dict[str, float]:
    """Return the values of a gap."""
    return {
        name: low + (high - low) * float(byte) / 255
        for (name, (low, high)), byte in zip(VALUES.items(), row[: len(VALUES)], strict=True)
    }


def patch_of(row: np.ndarray) -> np.ndarray:
    return row[len(VALUES) + 4 :].reshape(2, *PATCH_PX)


def test_the_gaps_of_a_page_are_those_of_its_rows() -> None:
    lines = [
        shown([{"1": 1.0}, {" ": 0.6, "+": 0.3}, {"2": 1.0}], 20),
        shown("34", 160),
        shown("5", 20, row=1),
    ]
    digits = digits_of(lines)
    assert "".join(digit.text for digit in digits) == "12345"
    assert [digit.line for digit in digits] == [0, 0, 1, 1, 2]
    *gaps, last = gaps_between(digits, lines)
    assert last is None
    known = [(gap.separator, gap.operator, gap.length) for gap in gaps if gap is not None]
    between = (160 - 20 - 2 * STEP_PX - WIDTH_PX) / HEIGHT_PX
    assert np.array(known) == pytest.approx(
        np.array([(0.9, 0.3, 1.5), (1.0, 0.0, between), (0.0, 0.0, 0.375)]), abs=0.1
    )
    seen = rows_of(lines)
    assert seen.shape == (3, COLUMNS)
    places = (
        256 * seen[:, len(VALUES) : len(VALUES) + 4 : 2].astype(int) + seen[:, len(VALUES) + 1 :][:, :4:2]
    )
    assert places[:, 1] / PLACE_STEPS == pytest.approx([2.5] * 3, abs=0.1)
    for nothing in ("", "7"):
        assert rows_of([shown(nothing, 20)]).shape == (0, COLUMNS)


def test_the_values_of_a_gap_are_lengths_marks_and_log_odds() -> None:
    first, second = shown("1", 20), shown("2", 60)
    lower, far = shown("2", 60, y=60), shown("2", 400)
    found = FoundLine(first.found.box, 0.8, 0.25, 20)
    most = VALUES["gap"][1], VALUES["distance"][1]
    marks = ("point", "dash", "sign", "other", "space")
    for lines, start in (
        ([first, second], (1.25, 2.0, 0.0, 0.0)),
        ([first, lower], (1.25, 2.0, 0.5, 0.0)),
        ([first, far], (*most, 0.0, 0.0)),
    ):
        (row,) = rows_of(lines)
        values = values_of(row)
        assert [values[name] for name in ("gap", "distance", "drop", "ratio")] == pytest.approx(
            start, abs=0.1
        )
        assert values["before"] == values["behind"] == pytest.approx(0.75, abs=0.1)
        unknown = [values[name] for name in ("size", "separator", "operator", "inside", *marks)]
        assert unknown == pytest.approx([0.0] * 9, abs=0.1)
    (row,) = rows_of([replace(first, found=found), second])
    known = [math.log(4), log_odds(0.99), -math.log(3), -LARGEST_LOG_ODDS, math.log(0.75), math.log(0.75)]
    assert list(values_of(row).values())[15:] == pytest.approx(known, abs=0.06)
    for between, expected in (
        (" ", (0, 0, 0, 0, 1)), (".", (1, 0, 0, 0, 0)), ("-", (0, 1, 0, 0, 0)), ("+", (0, 0, 1, 0, 0)),
        ("□", (0, 0, 1, 1, 0)),
    ):  # fmt: skip
        values = values_of(rows_of([shown(f"1{between}2", 20)])[0])
        assert (values["inside"], *(values[name] for name in marks)) == (1, *expected)
        assert (values["separator"] > 4) == (between in " +□") and (values["operator"] > 4) == (
            between in "+□"
        )


def test_digits_without_boxes_are_as_wide_as_their_columns_and_as_high_as_their_line() -> None:
    digits, box = shown("12", 60), LineBox(80, 50, 40, 40, 0.0)
    high = line_of(replace(digits.reference, distances=None), box=box)
    _, _, second, third = map(values_of, rows_of([shown("34", 0), shown("5", 40), high]))
    assert [third[name] for name in ("gap", "distance", "before", "behind")] == pytest.approx(
        [0.5, 0.5625, 0.0625, 0.0625], abs=0.03
    )
    assert (second["ratio"], second["size"], third["size"]) == pytest.approx(
        (math.log(2), math.log(1.5), math.log(2)), abs=0.1
    )


def test_a_patch_shows_the_darkest_and_the_lightest_pixels_around_a_gap() -> None:
    for angle, (level, layer) in itertools.product((0.0, 0.3), ((40, 0), (160, 1))):
        page, along = np.full((120, 900), 100, np.uint8), np.array([math.cos(angle), math.sin(angle)])
        lines = []
        for x, y in (np.array([300, 40]) + step * along for step in (0, 40)):
            box = LineBox(x, y, 15, 20, angle)
            lines.append(line_of(spelt("1", strip=strip_at(x, y, angle)), box=box))
        column, row = np.round(np.array([300, 40]) + 27.5 * along).astype(int)
        page[row - 1 : row + 2, column - 1 : column + 2] = level
        patch = patch_of(rows_of(lines, page)[0])
        assert (patch[:, :, :16] == 128).all()
        ys, xs = np.nonzero(np.abs(patch[layer].astype(int) - 128) > 60)
        assert (ys.mean() + 0.5, xs.mean() + 0.5) == pytest.approx((12, 24), abs=1.5) and len(ys) < 12
    faint = GREY.copy()
    faint[45:55, 35:47] = 197  # less contrast than is made full
    assert patch_of(rows_of([shown("12", 20)], faint)[0]).min() == pytest.approx(128 - 3 * 127 / 12, abs=2)
