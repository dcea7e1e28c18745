"""Draw explanations in the terminal."""

from __future__ import annotations

import textwrap

from rich.console import Group, RenderableType
from rich.text import Text

from digitcli import console
from digitcli.cli.views.terminal_image import PICTURE_COLUMNS, Picture, picture_grid
from digitcli.interpretation.line_explanation import AnyExplanation, LineExplanation
from digitcli.interpretation.pictures import pictures_of, title_of


def draw_explanation(explanation: AnyExplanation) -> Group:
    """Draw a digit, its attributions and its neighbours side by side, as wide as the terminal allows.

    Lines, and the maps of a layer, which are many, take as much width as there is.
    """
    small: list[RenderableType] = []
    large: list[RenderableType] = []
    for picture in pictures_of(explanation):
        width = picture.pixels.shape[1]
        columns = min(width, console.out.width)
        is_small = width == PICTURE_COLUMNS and not isinstance(explanation, LineExplanation)
        words = textwrap.fill(picture.description, PICTURE_COLUMNS if is_small else console.out.width)
        drawn = Group(Picture(picture.pixels, columns), Text(words))
        if isinstance(explanation, LineExplanation):
            large += [drawn, ""]
        else:
            (small if is_small else large).append(drawn)
    title = Text(title_of(explanation), "bold")
    grid: list[RenderableType] = [picture_grid(small, console.out.width), ""] if small else []
    return Group(title, "", *grid, *large)
