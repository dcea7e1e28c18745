from __future__ import annotations

from xml.etree import ElementTree

import pytest

from digitcli.charts import Panel, Series, draw_chart

SVG = "{http://www.w3.org/2000/svg}"
LINE = Panel("error in %", "epoch", [Series("validation", [(1, 3.0), (2, 2.0), (5, 1.0)])])


def parsed(*panels: Panel, legend: tuple[str, ...] = ()) -> ElementTree.Element:
    return ElementTree.fromstring(draw_chart("what <it> shows", panels, legend))


def texts(chart: ElementTree.Element, kind: str) -> list[str]:
    return [text.text or "" for text in chart.iter(f"{SVG}text") if text.get("class") == kind]


def numbered(*points: tuple[float, float]) -> Panel:
    return Panel("error in %", "parameters", [Series("models", points, numbered=True)], logarithmic=True)


def test_a_chart_describes_its_content_in_words() -> None:
    chart = parsed(LINE)
    assert chart.findtext(f"{SVG}title") == "what <it> shows"
    assert "validation from 3 to 1" in (chart.findtext(f"{SVG}desc") or "")
    assert {"error in %", "epoch"} <= {text.text for text in chart.iter(f"{SVG}text")}


def test_a_line_has_every_point_and_one_point_is_a_dot() -> None:
    (line,) = (path for path in parsed(LINE).iter(f"{SVG}path") if path.get("class") == "line")
    points = [tuple(map(float, pair.split())) for pair in line.get("d", "")[1:].split("L")]
    assert len(points) == 3 and points == sorted(points)
    assert len(list(parsed(Panel("flat", "x", [Series("a", [(1, 0.0)])])).iter(f"{SVG}circle"))) == 1


def test_several_lines_have_their_names_beside_them() -> None:
    panel = Panel("loss", "epoch", [LINE.series[0], Series("training", [(1, 2.0), (5, 0.5)], dashed=True)])
    assert {"validation", "training"} <= set(texts(parsed(panel), "y"))


def test_numbered_dots_are_explained_by_a_legend() -> None:
    chart = parsed(numbered((970, 0.3), (3_274_634, 7.0)), legend=("mlp", "cnn"))
    assert sorted(texts(chart, "number")) == ["1", "2"] and len(list(chart.iter(f"{SVG}circle"))) == 2
    assert {"1 mlp", "2 cnn"} <= set(texts(chart, "name"))
    assert "2 cnn: 7 at 3.275e+06" in (chart.findtext(f"{SVG}desc") or "")


def test_the_choice_and_the_limits_are_marked_within_the_frame() -> None:
    dots = Series("models", [(1.0, 0.2), (8.0, 5.0)], numbered=True, ringed=1)
    panel = Panel("error", "kB", [LINE.series[0], dots], logarithmic=True, x_limit=90.0, y_limit=0.02)
    chart = ElementTree.fromstring(draw_chart("Title", [panel], ("a", "b"), heading=True))
    (title,) = (text for text in chart.iter(f"{SVG}text") if text.get("class") == "title")
    assert title.text == "Title" and float(title.get("y", "")) < 0
    limits = [path.get("d", "") for path in chart.iter(f"{SVG}path") if path.get("class") == "limit"]
    assert len(limits) == 2 and 60 < float(limits[0][1:].split()[0]) < 360
    circles = list(chart.iter(f"{SVG}circle"))
    (ring,) = (circle for circle in circles if circle.get("class") == "ring")
    plotted = [c for c in circles if float(c.get("cy", "")) > 56 - 8]
    assert len(plotted) == 3 and ring in plotted
    for circle in plotted:
        assert 60 + 8 <= float(circle.get("cx", "")) <= 360 - 8
        assert 56 + 8 <= float(circle.get("cy", "")) <= 252 - 8
    (sample,) = (circle for circle in circles if circle not in plotted)
    assert float(sample.get("cx", "")) - 8 > 360 - 36, "the name ends at the left of the marker"


def test_a_long_legend_makes_the_chart_higher() -> None:
    panel, names = numbered(*[(index + 1, 1.0) for index in range(40)]), tuple(f"m{n}" for n in range(40))
    chart = parsed(panel, legend=names)
    height = float(chart.get("viewBox", "").split()[3])
    rows = [float(text.get("y", "")) for text in chart.iter(f"{SVG}text") if " m" in (text.text or "")]
    assert len(set(rows)) == 40 and max(rows) < height


@pytest.mark.parametrize(
    ("panel", "x_labels", "y_labels"),
    [
        (LINE, ["1", "2", "3", "4", "5"], ["0", "0.5", "1", "1.5", "2", "2.5", "3"]),
        (Panel("up", "epoch", [Series("a", [(1, 98), (3, 99)])]), ["1", "2", "3"], []),
        (numbered((970, 0.3), (3_274_634, 7.0)), ["1000", "10k", "1M"], ["0.2", "0.5", "1", "10"]),
        (Panel("up", "x", [Series("a", [(0, 98), (1, 99)])], y_range=(98, 100)), [], ["98", "99", "100"]),
    ],
)  # fmt: skip
def test_axes_have_round_labels(panel: Panel, x_labels: list[str], y_labels: list[str]) -> None:
    chart = parsed(panel, legend=("a", "b") if panel.logarithmic else ())
    assert set(x_labels) <= set(texts(chart, "x")) and set(y_labels) <= set(texts(chart, "y"))


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 9])
def test_counts_have_whole_numbers_at_their_axis(epochs: int) -> None:
    panel = Panel("loss", "epoch", [Series("a", [(count, 1.5 / count) for count in range(1, epochs + 1)])])
    labels = [text for text in texts(parsed(panel), "x") if text != "epoch"]
    assert labels and all(text.isdecimal() for text in labels)


def test_any_name_is_legible() -> None:
    panel = numbered((1, 1), (5, 5), (9, 9))
    names = texts(parsed(panel, legend=("evil\x1b[31m", "odd\udcff", "long" * 60)), "name")
    assert "1 evil\N{REPLACEMENT CHARACTER}[31m" in names and "2 odd\N{REPLACEMENT CHARACTER}" in names
    assert any(name.startswith("3 longlong") and len(name) < 50 for name in names)
