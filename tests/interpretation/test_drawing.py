"""The pictures of explanations, and their files: what they show, where, and how large."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digitcli.interpretation.drawing import (
    BAR_PX,
    LEGEND,
    STRIP_SCALE,
    WIDEST_PX,
    pictures_of,
    save_explanations,
    title_of,
)
from digitcli.interpretation.explanation import Attribution, Explanation, Layer
from tests.support.explanations import line_explanation


def attribution(against: int | None, values: np.ndarray) -> Attribution:
    return Attribution("occlusion", 7, against, 1.0, 0.0, values.astype(np.float32))


def test_a_line_is_drawn_with_its_attributions_and_a_bar_below_the_digit() -> None:
    values = np.zeros((40, 80))
    values[5, 45], values[6, 46] = 1, -1
    explanation = line_explanation(
        {7: 0.8, 1: 0.2}, blank=0.0, attributions=(attribution(None, values), attribution(1, values))
    )
    strip, *maps = pictures_of(explanation)
    assert strip.caption == "read as 407; the bar marks digit 3"
    assert [picture.caption for picture in maps] == ["7: occlusion", "7, not 1: occlusion"]
    for picture in (strip, *maps):
        assert picture.pixels.shape == (40 + BAR_PX, 80, 3)
        bar = picture.pixels[40:]
        assert (bar[:, 40:60] == 255).all() and not bar[:, :40].any() and not bar[:, 60:].any()
        assert picture.size_px == (80 * STRIP_SCALE, (40 + BAR_PX) * STRIP_SCALE)
    red, _, blue = maps[0].pixels[5, 45].tolist()
    assert red > blue
    red, _, blue = maps[0].pixels[6, 46].tolist()
    assert blue > red


def test_a_long_line_is_as_wide_as_the_page() -> None:
    explanation = line_explanation({7: 1.0}, blank=0.0, image=np.zeros((40, 3000), np.uint8))
    (strip,) = pictures_of(explanation)
    assert strip.size_px[0] == WIDEST_PX and 15 < strip.size_px[1] < 25


def test_layers_of_a_line_keep_their_shape() -> None:
    layers = (Layer("trunk.2", "ReLU", np.ones((4, 10, 20), np.float32)),)
    _, *maps = pictures_of(line_explanation({7: 1.0}, blank=0.0, layers=layers))
    assert [picture.caption for picture in maps] == [f"trunk.2: map {index}" for index in range(4)]
    assert all(picture.size_px == (80, 40) for picture in maps)


def test_a_map_that_hardly_answers_is_dark_beside_the_others_of_its_layer() -> None:
    maps = np.ones((3, 10, 20), np.float32)
    maps[1] = 0.1
    kernels = Layer("trunk.0", "filters", np.ones((2, 3, 3), np.float32))
    layers = (kernels, Layer("trunk.2", "ReLU", maps))
    _, mosaic, strong, weak, _ = pictures_of(line_explanation({7: 1.0}, blank=0.0, layers=layers))
    assert mosaic.caption == "trunk.0: 2 filters of 3x3" and weak.caption == "trunk.2: map 1"
    assert (strong.pixels[:, :, 0] == 255).all() and weak.pixels.max() < 30


def test_titles_name_the_number_the_digit_and_the_runner_up() -> None:
    likely = line_explanation({7: 0.8, 1: 0.15}, blank=0.05, file="a\nb.png")
    assert title_of(likely) == "a?b.png: 407 with 75.00 %; digit 3 of 3: 7 with 80.00 %, then 1 with 15.00 %"
    assert title_of(line_explanation({7: 0.8}, blank=0.2)).endswith("then no digit with 20.00 %")
    empty = Explanation("a.png", "reader@0", np.zeros((40, 80), np.uint8), text="", confidence=0.9)
    assert title_of(empty) == "a.png: no digit is read"
    assert [picture.caption for picture in pictures_of(empty)] == ["no digit is read"]


def wide(width: int, maps: int) -> Explanation:
    values = np.zeros((40, width), np.float32)
    attributions = tuple(Attribution("occlusion", 7, other, 1.0, 0.0, values) for other in range(maps))
    return line_explanation(
        {7: 1.0}, blank=0.0, image=np.full((40, width), 99, np.uint8), attributions=attributions
    )


def test_strips_fill_rows_of_the_page(tmp_path: Path) -> None:
    save_explanations(tmp_path / "lines.png", [wide(100, 3), wide(600, 1)])
    with Image.open(tmp_path / "lines.png") as picture:
        is_strip = np.isin(np.asarray(picture.convert("L")), (29, 99))  # an attribution is dimmed
    assert is_strip.shape[1] == 2 * 12 + WIDEST_PX
    widths = [int(row.sum()) for row in is_strip if row.sum() > 300]
    assert [*dict.fromkeys(widths)] == [1200, 400, WIDEST_PX]


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
