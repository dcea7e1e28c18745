"""Files of explanations: pictures stand in rows like words, whatever their sizes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digitcli.interpretation.drawing import LEGEND, save_explanations
from digitcli.interpretation.explanation import Attribution
from digitcli.interpretation.line_explanation import LineExplanation
from digitcli.interpretation.pictures import WIDEST_PX, pictures_of, title_of
from tests.support.explanations import line_explanation


def wide(width: int, maps: int) -> LineExplanation:
    values = np.zeros((40, width), np.float32)
    attributions = tuple(Attribution("occlusion", 7, other, 1.0, 0.0, values) for other in range(maps))
    return line_explanation(
        {7: 1.0}, blank=0.0, image=np.full((40, width), 99, np.uint8), attributions=attributions
    )


def test_strips_fill_rows_of_the_page(tmp_path: Path) -> None:
    save_explanations(tmp_path / "lines.svg", [wide(100, 3), wide(600, 1)])
    text = (tmp_path / "lines.svg").read_text()
    places = [
        tuple(map(int, match)) for match in re.findall(r'<image x="(\d+)" y="(\d+)" width="(\d+)"', text)
    ]
    assert [(x, width) for x, _, width in places] == [
        (12, 400), (424, 400), (836, 400), (12, 400), (12, WIDEST_PX), (12, WIDEST_PX),
    ]  # fmt: skip
    rows = [y for _, y, _ in places]
    assert rows[0] == rows[1] == rows[2] < rows[3] < rows[4] < rows[5]
    assert title_of(wide(100, 3)) in text and LEGEND in text


@pytest.mark.parametrize("suffix", [".png", ".html"])
def test_lines_are_drawn_in_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"line{suffix}"
    save_explanations(path, [wide(90, 1)])
    if suffix == ".png":
        with Image.open(path) as picture:
            assert picture.width == 12 + 2 * (360 + 12)
            assert picture.convert("L").getpixel((20, 70)) == 99  # the strip
    else:
        assert path.read_text().count("<img ") == len(pictures_of(wide(90, 1)))


def test_html_names_the_model_the_picture_and_the_answer_and_escapes_them(tmp_path: Path) -> None:
    explanation = replace(wide(90, 2), file="<b>.png", notes=("It is <so>.",))
    save_explanations(tmp_path / "line.html", [explanation])
    text = (tmp_path / "line.html").read_text()
    title = "&lt;b&gt;.png: 407 with 75.00 %; digit 3 of 3: 7 with over 99.99 %, then "
    shown = text.replace("\N{NO-BREAK SPACE}", " ")
    assert f"<title>{title}" in shown and f"<h2>{title}" in shown
    assert "<h1>Explanations of reader@0</h1>" in shown
    for words in ("speaks for 7, not 1 (occlusion)", "It is &lt;so&gt;.", LEGEND):
        assert words in text
    assert "<b>" not in text and "http" not in text


def test_arrays_of_lines_are_written_by_their_names(tmp_path: Path) -> None:
    save_explanations(tmp_path / "line.npz", [wide(90, 2)])
    with np.load(tmp_path / "line.npz") as arrays:
        assert sorted(arrays) == ["0/image", "0/occlusion/7-0", "0/occlusion/7-1"]
        assert arrays["0/image"].shape == (40, 90)
