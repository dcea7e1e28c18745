"""The page in Chromium: silent, self-contained, legible; and the escaping of its texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from digitcli.charts import Panel, Series, draw_chart
from digitcli.reporting.page import chart_figure
from digitcli.reporting.report import write_report
from tests.reporting.conftest import HOSTILE, reading
from tests.support.browser import CHROMIUM, PALE_TEXTS, browser

FACTS = """({
  language: document.documentElement.lang,
  headings: [...document.querySelectorAll("h1, h2, h3, h4")].map(heading => Number(heading.tagName[1])),
  undescribed: [...document.images].filter(image => !image.alt).length,
  broken: [...document.images].filter(image => !image.naturalWidth).length,
  scrolling: [...document.querySelectorAll(".scroll, .chart")].map(
    element => [element.tabIndex, element.getAttribute("role"), element.ariaLabel]),
  scripts: document.scripts.length,
  width: document.documentElement.scrollWidth,
})"""

A4_WIDTH_PX = 718  # without Chromium's default margins
# Return the texts of what does not fit into its place, and of what the border of two sheets may cut in half.
CUT_OFF = """[document.documentElement, ...document.querySelectorAll(".scroll, .chart")]
  .filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"""
TORN_APART = """[...document.querySelectorAll("li, tr, figure, .matrix")]
  .filter(e => getComputedStyle(e).breakInside != "avoid").map(e => e.textContent)"""
WHOLE_SECTIONS = """[...document.querySelectorAll("section")]
  .some(e => getComputedStyle(e).breakInside == "avoid")"""
STRONG_COLOUR = 40  # levels between the largest and the smallest of red, green and blue; black text has none


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_every_kind_of_page_is_silent_self_contained_and_legible(
    tmp_path: Path, run_folder: Path, evaluation: Path, comparison: Path, readings: Path, adaptation: Path
) -> None:
    with browser(tmp_path / "profile") as tab:
        for source in (run_folder, evaluation, comparison, readings, adaptation):
            path = tmp_path / f"{source.stem}.html"
            write_report(str(source), path)
            tab.look(400, "light")
            tab.open(path.as_uri())
            facts = tab.evaluate(FACTS)
            assert (facts["language"], facts["scripts"]) == ("en", 0)
            assert (facts["undescribed"], facts["broken"]) == (0, 0)
            assert {tuple(place[:2]) for place in facts["scrolling"]} == {(0, "region")}
            labels = [place[2] for place in facts["scrolling"]]
            assert all(labels) and len(set(labels)) == len(labels)
            assert facts["width"] <= 400, "the page scrolls sideways on a phone"
            headings = facts["headings"]
            assert headings.count(1) == 1 and headings[0] == 1
            assert all(after <= before + 1 for before, after in zip(headings, headings[1:], strict=False))
            light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert tab.evaluate(PALE_TEXTS) == []
            tab.look(1200, "dark")
            assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != light
            assert tab.evaluate(PALE_TEXTS) == []
            assert tab.complaints == []
            assert tab.requests == [path.as_uri()]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_printed_page_loses_nothing(
    tmp_path: Path, run_folder: Path, evaluation: Path, comparison: Path, readings: Path
) -> None:
    pdfium = pytest.importorskip("pypdfium2")
    with browser(tmp_path / "profile") as tab:
        tab.look(A4_WIDTH_PX, "light")
        tab.call("Emulation.setEmulatedMedia", media="print")
        for source in (run_folder, evaluation, comparison, readings):
            path = tmp_path / "report.html"
            write_report(str(source), path, with_findings=False)
            tab.open(path.as_uri())
            assert tab.evaluate(CUT_OFF) == []
            assert tab.evaluate(TORN_APART) == []
            assert not tab.evaluate(WHOLE_SECTIONS), "a section that does not fit leaves a sheet almost empty"
            if source in (evaluation, comparison):  # the shades of the matrix, and the intervals
                tab.evaluate("[...document.images].map(image => image.remove()).length")
                sheets = [sheet.render(scale=0.5).to_numpy() for sheet in pdfium.PdfDocument(tab.print())]
                assert max(int(np.ptp(colours[..., :3], axis=-1).max()) for colours in sheets) > STRONG_COLOUR


def test_hostile_texts_are_escaped_and_unprintable_characters_replaced(tmp_path: Path) -> None:
    names = [
        HOSTILE,
        "</style><script>alert(2)</script>",
        "a\0b\x1b[31m\u202egnp.exe",
        "half \udcff",
        "日本 a\u202fb",
    ]
    Path("readings.json").write_text(json.dumps([reading(name, "error", reason="corrupt") for name in names]))
    write_report("readings.json", tmp_path / "report.html", title="<script>alert(3)</script>")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html and "<img src=x" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert not {"\0", "\x1b", "\u202e"} & set(html)
    assert "日本 a\u202fb" in html and "half \N{REPLACEMENT CHARACTER}" in html


def test_a_chart_is_a_picture_that_describes_itself() -> None:
    chart = draw_chart("Losses", [Panel("loss", "epoch", [Series("training", [(1, 3.0), (2, 1.0)])])])
    figure = chart_figure(chart)
    assert figure.url.startswith("data:image/svg+xml;base64,")
    assert figure.alt == "Losses. loss by epoch: training from 3 to 1."
