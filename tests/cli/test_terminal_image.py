"""Pictures in a terminal are drawn as half blocks in colours, or as shades without colours."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from digitcli.cli.terminal_image import ASCII_SHADES, SHADES, Picture, draws_colours

COLOURS: dict[str, object] = {"force_terminal": True, "color_system": "truecolor"}
STEPS = np.array([[0, 255], [255, 0], [51, 204], [204, 51]], np.uint8)


def draw(picture: Picture, *, encoding: str = "utf-8", **options: object) -> list[str]:
    """Return the lines that a console shows."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, **{"width": 40, **options})  # type: ignore[arg-type]
    console.print(picture)
    stream.flush()
    stream.seek(0)
    return stream.read().split("\n")[:-1]


def test_half_blocks_hold_two_pixels_each_in_the_requested_width() -> None:
    lines = draw(Picture(STEPS, 2), **COLOURS)
    assert len(lines) == 2 and all(line.count("▀") == 2 for line in lines)
    assert "38;2;0;0;0;48;2;255;255;255" in lines[0] and "38;2;255;255;255;48;2;0;0;0" in lines[0]
    assert "38;2;51;51;51;48;2;204;204;204" in lines[1]
    for columns in (7, 28, 40):
        lines = draw(Picture(np.zeros((56, 56), np.uint8), columns), **COLOURS)
        assert len(lines) == round(columns / 2) and all(line.count("▀") == columns for line in lines)
    assert Console(width=80).measure(Picture(STEPS, 12)) == (12, 12)


def test_without_colours_shades_show_the_brightness() -> None:
    grey = Picture(np.array([[0, 64, 128, 191, 255]] * 2, np.uint8), 5)
    for options in ({}, {"force_terminal": True, "color_system": None}, {**COLOURS, "no_color": True}):
        assert draw(grey, **options) == [SHADES]
    ramp = Picture(np.array([np.linspace(0, 255, 10).round()] * 2, np.uint8), 10)
    for encoding in ("ascii", "latin-1"):  # without block characters
        assert draw(ramp, encoding=encoding) == [ASCII_SHADES]
    row = [[0, 0, 0], [255, 64, 51], [80, 20, 15], [15, 30, 80], [64, 140, 255], [255, 255, 255]]
    for encoding in ("utf-8", "ascii"):  # red and blue have characters of their own
        (line,) = draw(Picture(np.array([row] * 2, np.uint8), 6), encoding=encoding)
        assert line[:5] == " #+-=" and line[5] not in "#+-= "


def test_colours_are_those_of_a_terminal_with_blocks_and_without_no_color() -> None:
    ascii = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    for options, has_colours in (
        ({"file": io.StringIO(), "no_color": False}, True),
        ({"no_color": True}, False),
        ({"color_system": None}, False),
        ({"file": ascii}, False),
    ):
        assert draws_colours(Console(**{**COLOURS, **options})) == has_colours  # type: ignore[arg-type]


def test_pictures_of_any_shape_are_drawn_as_narrow_as_the_terminal() -> None:
    assert draw(Picture(np.full((20, 20), 255, np.uint8), 30), width=10) == [SHADES[-1] * 10] * 5
    for shape in ((1, 1), (1, 300), (300, 1), (28, 28)):
        for options in ({}, COLOURS):
            assert draw(Picture(np.full(shape, 128, np.uint8), 8), **options)
