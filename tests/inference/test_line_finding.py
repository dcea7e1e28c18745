"""The page finder's pyramid, and the lines in its maps: their boxes, their choice and their order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from digitcli.imaging.network_inputs import LineBox, TurnedPage, turn
from digitcli.inference import line_finding
from digitcli.inference.line_finding import (
    FINEST_PIXELS,
    LARGEST_SCALE,
    FoundLine,
    decode_maps,
    find_lines,
    scales_of,
    suppress,
)
from tests.support.networks import OTHER_WRITING, FakeFinder, page_of_bars

NOTHING = -8.0


def _line(
    x: float,
    y: float,
    length: float,
    height: float,
    score: float = 0.9,
    level: float = 30,
    angle: float = 0.0,
) -> FoundLine:
    return FoundLine(LineBox(x, y, length, height, angle), score, 0.0, level)


def test_levels_grow_to_the_size_of_the_page_and_no_further_than_the_finest() -> None:
    for height, width in ((1, 1), (28, 28), (100, 300), (3000, 4000), (100, 30_000), (20_000, 15_000)):
        scales = scales_of(height, width)
        pixels = scales[-1] ** 2 * height * width
        assert scales == sorted(set(scales)) and scales[-1] <= LARGEST_SCALE
        assert pixels <= FINEST_PIXELS + 1
        assert scales[-1] == LARGEST_SCALE or pixels >= FINEST_PIXELS - 1
    for height, width in ((1, 60_000), (1, 10_000_000), (64_000_000, 1), (2, 2)):
        scale = scales_of(height, width)[-1]
        assert max(8, height * scale) * max(8, width * scale) <= 4_000_000


def maps_of(core: np.ndarray, height_px: float = 28.0, slope: float = 0.0, offset: float = 0.0) -> np.ndarray:
    """Return maps in which the cells of a core, bool (H, W), have these values."""
    maps = np.zeros((6, *core.shape), np.float32)
    maps[0] = np.where(core, 4.0, NOTHING)
    maps[1] = maps[5] = NOTHING
    maps[2], maps[3], maps[4] = math.log2(height_px / 28), offset, slope
    return maps


def core_at(rows: slice, columns: slice) -> np.ndarray:
    core = np.zeros((20, 40), bool)
    core[rows, columns] = True
    return core


def test_a_core_is_a_line_of_the_predicted_height_around_it() -> None:
    (line,) = decode_maps(maps_of(core_at(slice(9, 11), slice(10, 20)), height_px=30), 2.0, 2.0)
    assert (line.box.x, line.box.y) == pytest.approx((15 * 4 * 2, 10 * 4 * 2))
    assert line.box.height == pytest.approx(2 * 30) and line.level_px == pytest.approx(30)
    assert line.box.length == pytest.approx(2 * (38 + 2 * 0.18 * 30), abs=1)
    assert line.score == pytest.approx(0.982, abs=0.001) and line.other_score < 0.01


def test_the_offset_moves_the_line_away_from_its_core_and_the_slope_turns_it() -> None:
    (line,) = decode_maps(maps_of(core_at(slice(9, 11), slice(10, 20)), 30, offset=0.1), 1.0, 1.0)
    assert line.box.y == pytest.approx(10 * 4 - 3)
    core = np.zeros((20, 40), bool)
    for column in range(10, 30):
        core[5 + column // 4, column] = True
    (line,) = decode_maps(maps_of(core, slope=0.24), 1.0, 1.0)
    assert line.box.angle == pytest.approx(math.asin(0.24))


def test_cores_of_doubtful_cells_alone_are_no_lines() -> None:
    maps = maps_of(core_at(slice(9, 11), slice(10, 20)))
    maps[0] = np.where(maps[0] > 0, -0.4, maps[0])  # a probability of 0.4
    assert decode_maps(maps, 1.0, 1.0) == []
    maps[0, 9, 12] = 0.1
    assert len(decode_maps(maps, 1.0, 1.0)) == 1


def test_the_surer_of_two_overlapping_lines_is_kept() -> None:
    whole, part = _line(100, 50, 120, 30, 0.95), _line(70, 50, 30, 30, 0.8)
    apart = _line(300, 50, 60, 30, 0.6)
    assert suppress([part, apart, whole]) == [whole, apart]
    trusted, small = _line(100, 50, 120, 30, 0.9, level=30), _line(100, 50, 110, 28, 0.95, level=11)
    assert suppress([small, trusted]) == [trusted]
    rows = [_line(100, 50, 120, 30), _line(100, 78, 120, 30)]  # they touch
    assert sorted(suppress(rows), key=lambda line: line.box.y) == rows


def test_of_many_lines_none_overlaps_another() -> None:
    random = np.random.default_rng(0)
    lines = [
        _line(*random.uniform(0, 400, 2), 40, 20, random.random(), angle=random.normal(0, 0.3))
        for _ in range(150)
    ]
    kept = suppress(lines)
    assert 0 < len(kept) < 150
    assert suppress(kept) == kept and suppress([]) == []


def test_boxes_are_in_pixels_of_the_page_whatever_the_level() -> None:
    for scale in (1, 2):
        page = np.kron(page_of_bars((60, 50, 70, 20)), np.ones((scale, scale), np.uint8))
        findings = find_lines(page, FakeFinder().maps)
        (line,) = findings.lines
        assert (line.box.x, line.box.y) == pytest.approx((95 * scale, 60 * scale), abs=5 * scale)
        assert line.box.height == pytest.approx(20 * scale, abs=6 * scale)
        assert findings.other < 0.01
    findings = find_lines(page_of_bars((60, 50, 70, 20), level=OTHER_WRITING), FakeFinder().maps)
    assert findings.lines == () and findings.other > 0.99


def test_inputs_are_padded_to_whole_cells_of_the_deepest_stage() -> None:
    shapes = []

    def run(level: np.ndarray) -> np.ndarray:
        shapes.append(level.shape)
        return np.full((6, level.shape[1] // 4, level.shape[2] // 4), NOTHING, np.float32)

    for shape in ((50, 130), (1, 300), (300, 1), (1, 2)):
        findings = find_lines(page_of_bars(shape=shape), run)
        assert findings.lines == () and findings.other < 0.01
    for channels, height, width in shapes:
        assert channels == 4 and not height % 32 and not width % 32


def sides_searched(page: np.ndarray) -> list[int]:
    """Return the longer side of each input that is searched."""
    sides = []

    def run(level: np.ndarray) -> np.ndarray:
        sides.append(max(level.shape))
        return FakeFinder().maps(level)

    find_lines(page, run)
    return sides


def test_fine_levels_are_searched_around_small_writing_only() -> None:
    blank = sides_searched(page_of_bars(shape=(900, 1200)))
    large = sides_searched(page_of_bars((300, 300, 400, 200), shape=(900, 1200)))
    small = sides_searched(page_of_bars((300, 300, 60, 20), shape=(900, 1200)))
    assert max(large) < 400 and max(small) < 500 and len(small) == len(large) + 2
    assert max(blank) > 800  # nothing is found, so that the whole page is searched finer


def test_of_a_large_page_the_third_finest_level_is_searched_whole() -> None:
    assert max(sides_searched(page_of_bars(shape=(3000, 4000)))) > 4000 * scales_of(3000, 4000)[-3]


def test_a_line_that_a_fine_level_finds_lies_where_it_is_on_the_page() -> None:
    page = page_of_bars((800, 600, 180, 40), (1000, 300, 120, 40), shape=(900, 1200))
    lines = sorted(find_lines(page, FakeFinder().maps).lines, key=lambda line: line.box.y)
    assert [(line.box.x, line.box.y) for line in lines] == [
        pytest.approx((1060, 320), abs=5),
        pytest.approx((890, 620), abs=5),
    ]
    assert all(line.box.height == pytest.approx(40, abs=8) for line in lines)


def test_a_line_that_no_coarse_level_shows_is_found_on_a_large_page() -> None:
    page = page_of_bars((2600, 2000, 90, 24), shape=(3000, 4000))
    (line,) = find_lines(page, FakeFinder().maps).lines
    assert (line.box.x, line.box.y) == pytest.approx((2645, 2012), abs=10)


class TimidFinder(FakeFinder):
    """A page finder that sees half of the slope of a bar."""

    def maps(self, page: np.ndarray) -> np.ndarray:
        """Return the maps (6, H / 4, W / 4) of a page, uint8 (4, H, W)."""
        maps = super().maps(page)
        rows, columns = np.nonzero(maps[0] > 0)
        if len(rows) and np.ptp(columns) > 4:
            maps[2] = np.log2(30 / 28)
            maps[4] = np.polyfit(columns, rows, 1)[0] / 2
        return maps


def test_a_page_whose_lines_slope_is_turned_until_they_are_level() -> None:
    level = page_of_bars((60, 185, 280, 30), shape=(400, 400))
    for degrees in (-30, -12, 20, 30):
        page = turn(level, math.radians(-degrees)).picture
        (line,) = find_lines(page, TimidFinder().maps).lines
        assert math.degrees(line.box.angle) == pytest.approx(degrees, abs=4)
        assert (line.box.x, line.box.y) == pytest.approx(np.array(page.shape[::-1]) / 2, abs=8)
    page = turn(page_of_bars((2000, 1500, 160, 24), shape=(3000, 4000)), math.radians(-20)).picture
    (line,) = find_lines(page, TimidFinder().maps).lines
    assert math.degrees(line.box.angle) == pytest.approx(20, abs=6)


def test_a_turn_that_loses_most_lines_is_taken_back() -> None:
    bars = [(40, y, 120, 30) for y in (40, 120, 200, 280)]
    page = page_of_bars(*bars, shape=(400, 400))

    class NarrowFinder(FakeFinder):
        """A page finder that sees all bars slope, and finds one of them on any other page."""

        def maps(self, level: np.ndarray) -> np.ndarray:
            maps = super().maps(level)
            is_turned = maps.shape[1:] not in shapes
            maps[4] = 0.1 if is_turned else 0.3
            if is_turned:
                maps[0, maps.shape[1] // 3 :] = -8
            return maps

    shapes: set[tuple[int, ...]] = set()

    def look(level: np.ndarray) -> np.ndarray:
        shapes.add((level.shape[1] // 4, level.shape[2] // 4))
        return FakeFinder().maps(level)

    assert len(find_lines(page, look).lines) == len(find_lines(page, NarrowFinder().maps).lines) == 4


def test_single_digits_and_pictures_of_a_line_are_not_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    turned: list[float] = []

    def counted(page: np.ndarray, angle: float) -> TurnedPage:
        turned.append(angle)
        return turn(page, angle)

    monkeypatch.setattr(line_finding, "turn", counted)
    find_lines(page_of_bars((60, 60, 16, 40), shape=(200, 200)), SteepFinder().maps)
    find_lines(page_of_bars((100, 5, 5000, 20), shape=(30, 6000)), SteepFinder().maps)
    assert turned == []
    find_lines(page_of_bars((60, 60, 100, 30), shape=(200, 200)), SteepFinder().maps)
    assert [round(math.degrees(angle)) for angle in turned] == [30]  # 60 degrees would be too far


class SteepFinder(FakeFinder):
    """A page finder that sees every bar slope by 30 degrees."""

    def maps(self, page: np.ndarray) -> np.ndarray:
        """Return the maps (6, H / 4, W / 4) of a page, uint8 (4, H, W)."""
        maps = super().maps(page)
        maps[4] = 0.5
        return maps
