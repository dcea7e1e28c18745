"""Pictures in a terminal. Loads NumPy and OpenCV, so commands import it when there is something to draw."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

SHADES, ASCII_SHADES = " ░▒▓█", " .:-=+*#%@"


class Picture:
    """A grey picture (H, W), uint8, `columns` characters wide: two pixels a character, one above the other.

    Where there is no colour, shades of characters stand for what is bright.
    """

    def __init__(self, pixels: np.ndarray, columns: int) -> None:
        self.pixels = pixels
        self.columns = columns

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Its width is fixed."""
        return Measurement(self.columns, self.columns)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Half blocks with two colours, or shades."""
        columns = min(self.columns, options.max_width)
        rows = max(1, round(self.pixels.shape[0] * columns / self.pixels.shape[1] / 2))
        unicode = options.encoding.startswith("utf")
        if unicode and console.color_system and not console.no_color:
            yield from _half_blocks(_scaled(self.pixels, columns, 2 * rows))
        else:
            yield from _shades(_scaled(self.pixels, columns, rows), SHADES if unicode else ASCII_SHADES)


def _scaled(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    shrinks = width < pixels.shape[1]
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)


def _half_blocks(pixels: np.ndarray) -> Iterator[Segment]:
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            yield Segment("▀", Style(color=_grey(above), bgcolor=_grey(below)))
        yield Segment.line()


def _grey(level: int) -> Color:
    return Color.from_rgb(level, level, level)


def _shades(pixels: np.ndarray, shades: str) -> Iterator[Segment]:
    for row in np.rint(pixels / 255 * (len(shades) - 1)).astype(int).tolist():
        yield Segment("".join(shades[level] for level in row))
        yield Segment.line()
