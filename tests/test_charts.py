"""Charts: what they show, and that they are always the same."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from digitcli.charts import Panel, Series, draw_chart, draw_lines
from tests.support.processes import modules_loaded_by

SVG = "{http://www.w3.org/2000/svg}"
LINE = Panel("error in %", "epoch", [Series("validation", [(1, 3.0), (2, 2.0), (5, 1.0)])])
BOTH = Panel("loss", "epoch", [LINE.series[0], Series("training", [(1, 2.0), (5, 0.5)], dashed=True)])


def texts(drawn: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(drawn).iter(f"{SVG}text")]


def numbered(*points: tuple[float, float]) -> Panel:
    dots = Series("models", points, numbered=True)
    return Panel("error in %", "parameters", [dots], logarithmic=True)


def test_lines_have_every_point_their_names_and_the_ends_of_the_axes() -> None:
    drawn = draw_lines("what <it> shows", [LINE, BOTH])
    chart = ElementTree.fromstring(drawn)
    assert chart.findtext(f"{SVG}title") == "what <it> shows"
    line, *_ = chart.iter(f"{SVG}polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]
    assert points == [(60, 50), (135, pytest.approx(116.7, abs=0.1)), (360, 183.3), (360, 183.3)]
    assert {"error in %", "epoch", "loss", "validation", "training", "1", "5", "0", "1.5", "3"} == {
        *texts(drawn)
    }
    assert len([each for each in chart.iter(f"{SVG}polyline") if each.get("stroke-dasharray")]) == 1
    perfect = draw_lines("perfect", [Panel("error", "epoch", [Series("a", [(1, 0.0)])])])
    assert 'points="60.0,250.0 60.0,250.0"' in perfect


def test_lines_need_no_matplotlib() -> None:
    code = "from digitcli.charts import *; draw_lines('a', [Panel('b', 'c', [Series('d', [(1, 2.0)])])])"
    assert "matplotlib" not in modules_loaded_by(code)


def test_a_chart_is_always_the_same_and_names_everything() -> None:
    drawn = draw_chart("what <it> shows", [BOTH])
    assert drawn == draw_chart("what <it> shows", [BOTH]) and "<dc:date>" not in drawn
    assert {"what <it> shows", "loss", "epoch", "validation", "training"} <= {*texts(drawn)}


def test_numbered_dots_are_explained_by_a_legend_of_any_names() -> None:
    panel = numbered((970, 0.3), (3_274_634, 7.0), (9000, 1.0))
    names = ("evil\x1b[31m $x$", "odd\udcff", "long" * 60)
    drawn = draw_chart("Title", [panel], names, (460, 420))
    shown = texts(drawn)
    assert {"1", "2", "3", "2 odd\N{REPLACEMENT CHARACTER}"} <= {*shown}
    assert "1 evil\N{REPLACEMENT CHARACTER}[31m $x$" in shown
    assert any(name.startswith("3 longlong") and len(name) < 50 for name in shown)
