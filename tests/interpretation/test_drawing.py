"""What an explanation of a line says of itself, and its pictures: what they show, where, and how large."""

from __future__ import annotations

import json
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
from digitcli.strip_format import STRIP_PAPER
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
    assert [picture.caption for picture in maps] == [
        "speaks for 7 (occlusion)",
        "speaks for 7, not 1 (occlusion)",
    ]
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


def test_the_layers_of_a_line_are_mosaics_in_which_a_weak_map_is_dark() -> None:
    maps = np.ones((4, 10, 20), np.float32)
    maps[1] = -0.1
    layers = (Layer("trunk.0", "filters", np.ones((2, 3, 3), np.float32)), Layer("trunk.2", "ReLU", maps))
    _, kernels, mosaic = pictures_of(line_explanation({7: 1.0}, blank=0.0, layers=layers))
    assert (kernels.caption, mosaic.caption) == (
        "layer trunk.0: 2 filters of 3x3",
        "layer trunk.2 (ReLU): 4 maps of 10x20",
    )
    assert mosaic.pixels.shape == (21, 41, 3) and mosaic.size_px == (41 * STRIP_SCALE, 21 * STRIP_SCALE)
    assert (mosaic.pixels[:10, :20, 0] == 255).all()
    weak = mosaic.pixels[:10, 21:]
    assert 0 < weak.max() < 30 and (weak[..., 2] > weak[..., 0]).all()  # against: blue


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
    assert text.count("<img ") == len(pictures_of(explanation))


def test_the_runner_up_is_the_likeliest_other_digit_or_a_blank() -> None:
    explanation = line_explanation({7: 0.8, 1: 0.15}, blank=0.05)
    assert (explanation.digit, explanation.other_digit, explanation.runner_up) == (7, 1, 1)
    explanation = line_explanation({7: 0.8, 1: 0.05}, blank=0.15)
    assert (explanation.digit, explanation.other_digit, explanation.runner_up) == (7, 1, None)
    assert (explanation.probability(7), explanation.probability(None)) == (0.8, 0.15)
    certain = line_explanation({7: 0.9}, blank=0.1)
    assert certain.other_digit not in (None, 7)
    unlikely = line_explanation({7: 0.4, 1: 0.6}, blank=0.0)  # the digit is that of the text
    assert unlikely.digit == 7 and unlikely.runner_up == 1
    empty = Explanation("a.png", "reader@0", np.zeros((40, 80), np.uint8), text="", confidence=0.9)
    assert (empty.digit, empty.other_digit, empty.runner_up) == (None, None, None)
    record = empty.record()
    assert (record["position"], record["digit"], record["probabilities"]) == (None, None, [])


def test_ink_is_what_differs_from_the_paper() -> None:
    strip = np.full((3, 40, 8), STRIP_PAPER, np.uint8)
    strip[0, 0, :3] = 1, 255, STRIP_PAPER + 10
    explanation = line_explanation({7: 1.0}, blank=0.0, image=strip)
    assert explanation.picture is not strip and explanation.picture.shape == (40, 8)
    assert explanation.ink[0].tolist() == [254, 254, 20, 0, 0, 0, 0, 0]
    ink = np.arange(320, dtype=np.uint16).reshape(40, 8).astype(np.uint8)
    assert line_explanation({7: 1.0}, blank=0.0, image=ink).ink is ink


def test_records_and_arrays_have_every_value() -> None:
    values = np.full((40, 80), 0.5, np.float32)
    explanation = line_explanation(
        {7: 0.8, 1: 0.15},
        blank=0.05,
        attributions=(Attribution("occlusion", 7, 1, 2.0, -1.0, values),),
        layers=(Layer("trunk.0", "ReLU", values[None]),),
    )
    record = json.loads(json.dumps(explanation.record()))
    assert (record["text"], record["position"], record["digit"], record["runner_up"]) == ("407", 3, 7, 1)
    assert record["span"] == [40, 60] and sum(record["probabilities"]) == pytest.approx(1)
    (attribution,) = record["attributions"]
    assert np.shape(attribution["values"]) == (40, 80) and attribution["against"] == 1
    assert record["layers"] == [{"name": "trunk.0", "kind": "ReLU", "shape": [1, 40, 80]}]
    assert list(explanation.arrays()) == ["image", "occlusion/7-1", "feature-maps/trunk.0"]
