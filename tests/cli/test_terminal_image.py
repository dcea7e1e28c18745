"""Pictures in a terminal are drawn as half blocks in colours, or as shades without colours."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from digitcli.cli.terminal_image import ASCII_SHADES, SHADES, Picture, draws_colours

STEPS = np.array([[0, 255], [255, 0], [51, 204], [204, 51]], np.uint8)


def draw(picture: Picture, *, encoding: str = "utf-8", **options: object) -> list[str]:
    """Return the lines that a console shows."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, **{"width": 40, **options})  # type: ignore[arg-type]
    console.print(picture)
    stream.flush()
    stream.seek(0)
    return stream.read().split("\n")[:-1]


def test_half_blocks_hold_two_pixels_each() -> None:
    lines = draw(Picture(STEPS, 2), force_terminal=True, color_system="truecolor")
    assert len(lines) == 2
    assert all(line.count("▀") == 2 for line in lines)
    assert "38;2;0;0;0;48;2;255;255;255" in lines[0] and "38;2;255;255;255;48;2;0;0;0" in lines[0]
    assert "38;2;51;51;51;48;2;204;204;204" in lines[1]


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "color_system": None}])
def test_without_colours_shades_show_the_brightness(options: dict[str, object]) -> None:
    lines = draw(Picture(np.array([[0, 64, 128, 191, 255]] * 2, np.uint8), 5), **options)
    assert lines == [SHADES]


def test_no_color_gives_shades() -> None:
    lines = draw(Picture(STEPS, 2), force_terminal=True, color_system="truecolor", no_color=True)
    assert not any("\x1b[38" in line or "▀" in line for line in lines)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_block_characters_gets_ascii_shades(encoding: str) -> None:
    ramp = np.array([np.linspace(0, 255, 10).round()] * 2, np.uint8)
    assert draw(Picture(ramp, 10), encoding=encoding) == [ASCII_SHADES]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_without_colours_red_and_blue_have_characters_of_their_own(encoding: str) -> None:
    row = [[0, 0, 0], [255, 64, 51], [80, 20, 15], [15, 30, 80], [64, 140, 255], [255, 255, 255]]
    (line,) = draw(Picture(np.array([row] * 2, np.uint8), 6), encoding=encoding)
    assert line[:5] == " #+-=" and line[5] not in "#+-= "


def test_colours_are_those_of_a_terminal_without_no_color() -> None:
    assert draws_colours(
        Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", no_color=False)
    )
    assert not draws_colours(Console(force_terminal=True, color_system="truecolor", no_color=True))
    assert not draws_colours(Console(force_terminal=True, color_system=None))
    ascii = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert not draws_colours(Console(file=ascii, force_terminal=True, color_system="truecolor"))


def test_a_picture_has_the_requested_width() -> None:
    square = np.zeros((56, 56), np.uint8)
    for columns in (7, 28, 40):
        lines = draw(Picture(square, columns), force_terminal=True, color_system="truecolor")
        assert len(lines) == round(columns / 2)
        assert all(line.count("▀") == columns for line in lines)


def test_a_narrow_terminal_gets_a_narrow_picture() -> None:
    lines = draw(Picture(np.full((20, 20), 255, np.uint8), 30), width=10)
    assert lines == [SHADES[-1] * 10] * 5


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (28, 28)])
def test_pictures_of_any_shape_are_drawn(shape: tuple[int, int]) -> None:
    for options in ({}, {"force_terminal": True, "color_system": "truecolor"}):
        assert draw(Picture(np.full(shape, 128, np.uint8), 8), **options)


def test_the_width_is_measured_without_drawing() -> None:
    console = Console(width=80)
    assert console.measure(Picture(STEPS, 12)) == (12, 12)
