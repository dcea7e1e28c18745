"""Draw pictures in a terminal.

This module imports NumPy and OpenCV, so commands import it only when they have a picture to draw.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

SHADES = " ░▒▓█"  # from dark to bright
ASCII_SHADES = " .:-=+*#%@"  # for terminals without block characters


class Picture:
    """A grey picture (H, W), uint8, that is `columns` characters wide.

    Each character shows two pixels, one above the other, in two colours. In a terminal without colours, a
    character shows one pixel by its shade.
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
        is_unicode = options.encoding.startswith("utf")
        if is_unicode and console.color_system and not console.no_color:
            yield from _draw_half_blocks(_resize(self.pixels, columns, 2 * rows))
        else:
            yield from _draw_shades(
                _resize(self.pixels, columns, rows), SHADES if is_unicode else ASCII_SHADES
            )


def _resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    interpolation = cv2.INTER_AREA if width < pixels.shape[1] else cv2.INTER_NEAREST
    return cv2.resize(pixels, (width, height), interpolation=interpolation)


def _draw_half_blocks(pixels: np.ndarray) -> Iterator[Segment]:
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            yield Segment("▀", Style(color=_grey(above), bgcolor=_grey(below)))
        yield Segment.line()


def _grey(level: int) -> Color:
    return Color.from_rgb(level, level, level)


def _draw_shades(pixels: np.ndarray, shades: str) -> Iterator[Segment]:
    for row in np.rint(pixels / 255 * (len(shades) - 1)).astype(int).tolist():
        yield Segment("".join(shades[level] for level in row))
        yield Segment.line()
