"""Lines to learn from: the crops of labelled pictures that `predict` shows a line network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.adaptation.cut_lines import shows_part_only
from digitcli.adaptation.targets import divide_label, marks_of, target_text
from digitcli.data.labelled_pictures import LabelledPicture
from digitcli.errors import DigitcliError
from digitcli.events import AdaptationStage, OnEvent, StageProgress
from digitcli.imaging.grayscale import rotate
from digitcli.imaging.network_inputs import strip_ink
from digitcli.imaging.opening import open_pages
from digitcli.inference.ctc import best_path, digit_columns
from digitcli.inference.line_finding import find_lines
from digitcli.inference.predictor import LineRecognizer, PageFinder
from digitcli.recognition.line_crops import as_levels, crop_lines, reading_order
from digitcli.strip_format import COLUMN_PX
from digitcli.synthesis.lines import Line, count_ctc_columns

# The width in pixels above which a line is not learned: it has more than 20 digits, and takes long.
LONGEST_PX = 840
NO_BOXES = np.zeros((0, 4), np.float32)


@dataclass(frozen=True)
class PictureLines:
    """The lines to learn from that a labelled picture gives.

    picture: the picture.
    lines: the crops of its regions with their texts; the boxes of the characters are not known.
    """

    picture: LabelledPicture
    lines: tuple[Line, ...]


def find_lines_to_learn(
    pictures: Sequence[LabelledPicture],
    recognizer: LineRecognizer,
    finder: PageFinder,
    on_event: OnEvent = lambda event: None,
    *,
    rotations: Mapping[str, int] | None = None,
    only_agreeing: bool = False,
) -> list[PictureLines]:
    """Return the lines of pictures of one page each, which can be opened.

    They are the ink of the strips of the lines that a page finder finds. A picture whose regions cannot be
    matched with its label has none, and a strip that shows only a part of its number is left out. With
    `only_agreeing`, a picture in which the network does not read the label in every strip has none either.

    rotations: the degrees by which pictures are turned clockwise until they are upright, by their names.

    Raises:
        ModelError: a network answers with values that are not finite.
    """
    examples = []
    for number, picture in enumerate(pictures, start=1):
        grey = open_upright(picture, (rotations or {}).get(picture.file, 0))
        lines = _labelled_lines(_ink_of_strips(grey, finder), picture.text, recognizer, only_agreeing)
        examples.append(PictureLines(picture, tuple(lines)))
        on_event(StageProgress(AdaptationStage.CROP, number, len(pictures)))
    return examples


def open_upright(picture: LabelledPicture, degrees: int) -> np.ndarray:
    """Open a picture of one page, and turn it clockwise: float32 (H, W) in [0, 1].

    Raises:
        PictureError: the picture cannot be read.
    """
    ((_, grey),) = open_pages(picture.path)
    if isinstance(grey, DigitcliError):
        raise grey
    return rotate(grey, degrees)


def _ink_of_strips(grey: np.ndarray, finder: PageFinder) -> list[list[np.ndarray]]:
    """Return the ink of the strips of each line that a page finder finds, uint8 (40, W)."""
    levels = as_levels(grey)
    regions = crop_lines(levels, reading_order(find_lines(levels, finder.maps).lines))
    return [[strip_ink(strip.image) for strip in region.strips] for region in regions]


def _labelled_lines(
    regions: Sequence[Sequence[np.ndarray]], label: str, recognizer: LineRecognizer, only_agreeing: bool
) -> list[Line]:
    """Return the crops of regions with their texts; none if the label cannot be divided between them.

    With `only_agreeing`, there are none either if a crop is read as other digits than those of the label.
    """
    alphabet, temperature = recognizer.header.alphabet, recognizer.header.temperature
    outputs = iter(recognizer.outputs([crop for crops in regions for crop in crops]))
    answers = [[next(outputs) for _ in crops] for crops in regions]
    readings = [[best_path(digit_columns(each.logits, alphabet)) for each in region] for region in answers]
    parts = divide_label(label, [each[0] for each in readings])
    if parts is None:
        return []
    if only_agreeing and any({part} != {*each} for part, each in zip(parts, readings, strict=True)):
        return []
    given = marks_of(label, alphabet) if len(regions) == 1 else None
    lines = [
        Line(crop, given or target_text(answer.logits, alphabet, temperature, digits), NO_BOXES)
        for crops, region, digits in zip(regions, answers, parts, strict=True)
        for crop, answer in zip(crops, region, strict=True)
        if not shows_part_only(crop, answer, digit_columns(answer.logits, alphabet, temperature), digits)
    ]
    return [line for line in lines if _is_trainable(line)]


def _is_trainable(line: Line) -> bool:
    """Tell whether a line is not too wide, and has enough columns for CTC."""
    width = line.image.shape[-1]
    return bool(count_ctc_columns(line.text) * COLUMN_PX <= width <= LONGEST_PX)
