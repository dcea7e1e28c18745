"""Draw explanations in the terminal."""

from __future__ import annotations

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
        drawn = Group(Picture(picture.pixels, columns), Text(picture.caption))
        if isinstance(explanation, LineExplanation):
            large += [drawn, ""]
        else:
            (small if width == PICTURE_COLUMNS else large).append(drawn)
    title = Text(title_of(explanation), "bold")
    grid: list[RenderableType] = [picture_grid(small, console.out.width), ""] if small else []
    return Group(title, "", *grid, *large)
