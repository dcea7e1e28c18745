from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest

from digitcli.charts import Panel, Series, draw_chart

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*panels: Panel) -> ElementTree.Element:
    return ElementTree.fromstring(draw_chart("what <it> shows", panels))


def test_lines_go_through_every_point_from_left_to_right() -> None:
    picture = drawn(Panel("up", "x", [Series("a", [(0, 0), (1, 1), (2, 4)])]))
    [line] = [path.get("d", "") for path in picture.iter(f"{SVG}path") if path.get("style")]
    points = [tuple(map(float, pair.split())) for pair in line[1:].split("L")]
    assert [x for x, _ in points] == pytest.approx([56, 200, 344])
    assert points[0][1] == 264 and points[0][1] - points[2][1] == 4 * (points[0][1] - points[1][1])
    assert picture.findtext(f"{SVG}title") == "what <it> shows"


def test_a_logarithmic_axis_gives_each_power_the_same_room() -> None:
    series = Series("a", [(10, 1), (100, 2), (1000, 3)], labels=["one", "two", "three"])
    picture = drawn(Panel("up", "x", [series], logarithmic_x=True))
    places = [float(dot.get("cx", "")) for dot in picture.iter(f"{SVG}circle")]
    assert places == pytest.approx([56, 200, 344], abs=0.1)


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0])
def test_labels_cover_neither_each_other_nor_a_dot(spread: float) -> None:
    names = [f"name{number}" for number in range(12)]
    points = [(5 + spread * number, 1 + spread * (number * 7 % 5)) for number in range(12)]
    picture = drawn(Panel("up", "x", [Series("a", [*points, (20, 9)], labels=[*names, "far"])]))
    boxes = []
    for text in picture.iter(f"{SVG}text"):
        if text.text in names:
            right, lower, width = float(text.get("x", "")), float(text.get("y", "")), 6 * len(text.text)
            left = right - width if text.get("text-anchor") else right
            boxes.append((left, lower - 9, left + width, lower))
    dots = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in picture.iter(f"{SVG}circle")]
    boxes += [(x, y, x, y) for x, y in set(dots)]
    assert len(boxes) >= 14 and all(0 <= left < right <= 360 for left, _, right, _ in boxes[:12])
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]


def test_a_line_leads_to_a_label_that_stands_apart_and_to_no_other() -> None:
    crowd = Series("a", [(1, 1)] + [(5, 2)] * 20 + [(9, 3)], labels=["near", *["name"] * 20, "far"])
    picture = drawn(Panel("up", "x", [crowd]))
    leaders = [path for path in picture.iter(f"{SVG}path") if path.get("class") == "leader"]
    assert 0 < len(leaders) <= 20
    assert not [path for path in drawn_apart().iter(f"{SVG}path") if path.get("class") == "leader"]


def drawn_apart() -> ElementTree.Element:
    return drawn(Panel("up", "x", [Series("a", [(1, 1), (5, 5), (9, 9)], labels=["one", "two", "three"])]))


def test_panels_stand_side_by_side_and_flat_ones_are_drawn_too() -> None:
    flat = Panel("flat", "x", [Series("a", [(1, 0.0)])])
    picture = drawn(flat, flat)
    assert picture.get("viewBox") == "0 0 720 300"
    assert 'viewBox="0 0 360 600"' in draw_chart("", [flat, flat], stacked=True)


def test_an_axis_can_begin_above_zero() -> None:
    picture = drawn(Panel("up", "x", [Series("a", [(0, 98), (1, 99)])], y_from=98, y_to=100))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert "98" in texts and "100" in texts and "0" not in texts[1:6]


def test_an_upright_logarithmic_axis_shows_round_values() -> None:
    picture = drawn(Panel("error", "x", [Series("a", [(1, 0.3), (2, 7.0)])], logarithmic_y=True))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert [text for text in texts if text in ("0.2", "0.5", "1", "2", "5", "10")]
    assert texts[1:7] == ["0.2", "0.5", "1", "2", "5", "10"]


def level_values(*columns: float, logarithmic: bool) -> list[str]:
    """What stands along the level axis, from the left."""
    series = Series("a", [(x, 1.0) for x in columns], labels=["dot"] * len(columns))
    picture = drawn(Panel("up", "parameters", [series], logarithmic_x=logarithmic))
    named = [text for text in picture.iter(f"{SVG}text") if text.get("y") == "280"]
    assert [float(text.get("x", "")) for text in named] == sorted(float(text.get("x", "")) for text in named)
    return [text.text or "" for text in named]


def test_the_ends_of_an_axis_are_written_out() -> None:
    assert level_values(0.1255, 3_274_634, logarithmic=False) == ["0.1255", "3,274,634"]


def test_a_level_logarithmic_axis_shows_round_values() -> None:
    assert level_values(0.13, 1.2, logarithmic=True) == ["0.1", "0.2", "0.5", "1", "2"]
    powers = ["1,000", "10,000", "100,000", "1,000,000"]
    assert level_values(970, 3_274_634, logarithmic=True) == powers


def test_a_label_with_anything_in_it_stays_in_the_picture() -> None:
    labels = ["evil\x1b[31m", "odd\udcff", "long" * 60]
    picture = drawn(Panel("up", "x", [Series("a", [(1, 1), (5, 5), (9, 9)], labels=labels)]))
    texts = {text.text: text for text in picture.iter(f"{SVG}text")}
    assert "evil\N{REPLACEMENT CHARACTER}[31m" in texts and "odd\N{REPLACEMENT CHARACTER}" in texts
    (long,) = [text for text in texts if text is not None and text.startswith("longlong")]
    assert len(long) < 50 and float(texts[long].get("x", "")) >= 56
