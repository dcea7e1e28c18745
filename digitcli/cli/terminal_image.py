"""Draw pictures in a terminal.

This module imports NumPy and OpenCV, so commands import it only when they have a picture to draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table

SHADES = " ░▒▓█"  # from dark to bright
PICTURE_COLUMNS = 28  # characters, the width of a digit in pixels
GAP_COLUMNS = 2  # characters between two pictures
ASCII_SHADES = " .:-=+*#%@"  # for terminals without block characters
ASCII_SHADES_OF_COLOURS = " .:oO"  # the same beside the characters for red and blue
# Where a pixel is redder than it is blue by this many levels of 255, and the other way round: a character.
REDNESS = {25: ("+", "-"), 100: ("#", "=")}


class Picture:
    """A picture, uint8, grey (H, W) or in colours (H, W, 3), that is `columns` characters wide.

    Each character shows two pixels, one above the other, in two colours. In a terminal without colours, a
    character shows one pixel by its shade, or by + or # where it is red and by - or = where it is blue.
    """

    def __init__(self, pixels: np.ndarray, columns: int) -> None:
        self.pixels = pixels
        self.columns = columns

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the fixed width of the picture."""
        return Measurement(self.columns, self.columns)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the picture as half blocks in two colours, or as shades."""
        columns = min(self.columns, options.max_width)
        rows = max(1, round(self.pixels.shape[0] * columns / self.pixels.shape[1] / 2))
        if draws_colours(console):
            yield from _draw_half_blocks(_resize(self.pixels, columns, 2 * rows))
        else:
            ascii_shades = ASCII_SHADES if self.pixels.ndim == 2 else ASCII_SHADES_OF_COLOURS
            pixels = _resize(self.pixels, columns, rows)
            yield from _draw_shades(pixels, SHADES if _is_unicode(console) else ascii_shades)


def _resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    interpolation = cv2.INTER_AREA if width < pixels.shape[1] else cv2.INTER_NEAREST
    return cv2.resize(pixels, (width, height), interpolation=interpolation)


def _draw_half_blocks(pixels: np.ndarray) -> Iterator[Segment]:
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            yield Segment("▀", Style(color=_colour(above), bgcolor=_colour(below)))
        yield Segment.line()


def _colour(level: int | list[int]) -> Color:
    red, green, blue = (level, level, level) if isinstance(level, int) else level
    return Color.from_rgb(red, green, blue)


def _brightness(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 2 else pixels.max(axis=2)


def _draw_shades(pixels: np.ndarray, shades: str) -> Iterator[Segment]:
    levels = np.rint(_brightness(pixels) / 255 * (len(shades) - 1)).astype(int)
    characters = np.array([*shades])[levels]
    if pixels.ndim == 3:
        redness = pixels[:, :, 0].astype(int) - pixels[:, :, 2]
        for least, (red, blue) in REDNESS.items():
            characters[redness >= least] = red
            characters[redness <= -least] = blue
    for row in characters:
        yield Segment("".join(row))
        yield Segment.line()


def draws_colours(console: Console) -> bool:
    """Tell whether pictures have colours: they do in a terminal with block characters, without NO_COLOR."""
    return _is_unicode(console) and console.color_system is not None and not console.no_color


def _is_unicode(console: Console) -> bool:
    return console.encoding.startswith("utf")


def picture_grid(captioned: Iterable[RenderableType], width: int) -> Table:
    """Draw captioned pictures, each `PICTURE_COLUMNS` wide, side by side in as many rows as they need."""
    per_row = max(1, (width + GAP_COLUMNS) // (PICTURE_COLUMNS + GAP_COLUMNS))
    grid = Table.grid(padding=(0, GAP_COLUMNS, 0, 0))
    pictures = list(captioned)
    for start in range(0, len(pictures), per_row):
        if start:
            grid.add_row()
        grid.add_row(*pictures[start : start + per_row])
    return grid
