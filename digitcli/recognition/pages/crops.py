"""Cut the lines that a page finder found out of a page, as strips for a line reader.

A strip shows raw pixels of a line with its surroundings (`imaging.strips`). Every line is cut out twice, with
different margins, and a page that a line fills is a third strip. The second and the third strip are read
where those before leave a doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from digitcli.imaging.finder_input import Grey
from digitcli.imaging.strips import LineBox, Strip, cut_strip, cut_whole
from digitcli.recognition.crops import LineCrop
from digitcli.recognition.pages.finding import FoundLine

# Margin above and below the line in its first and in its second strip, in heights of the line. The reader was
# trained on margins from 0.1 to 0.5.
MARGINS = (0.2, 0.35)
# Share of the height of a picture from which a lone line fills it: the height of the line in a strip with the
# greatest margin that the reader was trained on.
LEAST_SHARE = 0.5
# Greatest length of a strip in heights of its line. It bounds the memory that a line reader takes; a longer
# line is refused.
MAX_LENGTH = 100.0


@dataclass(frozen=True)
class RegionCrops:
    """A line on the page and its strips.

    row: the number of its row on the page, from 0 on.
    line: the line that the page finder found.
    relative_height: the height of the line, in heights of the surest line of the page.
    is_alone: whether no other line was found on the page.
    strips: the strips of the line.
    """

    row: int
    line: FoundLine
    relative_height: float
    is_alone: bool
    strips: tuple[LineCrop, ...]


def crop_lines(grey: Grey, rows: Sequence[Sequence[FoundLine]]) -> tuple[RegionCrops, ...]:
    """Cut two strips of each line out of a page, uint8 (H, W); a page that a line fills is a third strip."""
    surest = max((line for lines in rows for line in lines), key=lambda line: line.score, default=None)
    is_alone = sum(map(len, rows)) == 1
    return tuple(
        RegionCrops(
            row,
            line,
            line.box.height / surest.box.height if surest else 1.0,
            is_alone,
            _strips(grey, line.box, is_alone=is_alone),
        )
        for row, lines in enumerate(rows)
        for line in lines
    )


def _strips(grey: Grey, box: LineBox, *, is_alone: bool) -> tuple[LineCrop, ...]:
    strips = tuple(_line_crop(grey, cut_strip(grey, _shortened(box), margin)) for margin in MARGINS)
    height, width = grey.shape
    fills_picture = is_alone and box.height >= LEAST_SHARE * height and width <= MAX_LENGTH * height
    return (*strips, _line_crop(grey, cut_whole(grey))) if fills_picture else strips


def _shortened(box: LineBox) -> LineBox:
    return replace(box, length=min(box.length, MAX_LENGTH * box.height))


def _line_crop(grey: Grey, strip: Strip) -> LineCrop:
    return LineCrop(strip.image, strip.to_picture, (grey.shape[1], grey.shape[0]), strip.is_faint)
