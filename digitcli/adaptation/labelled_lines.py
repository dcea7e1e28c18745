"""The lines that a network learns from labelled pictures, and their texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from digitcli.adaptation.calibrate import Answer, numbers_of
from digitcli.errors import DigitcliError
from digitcli.evaluation.metrics import edit_distance
from digitcli.events import OnEvent, ThingsDone
from digitcli.imaging.grayscale import rotate
from digitcli.imaging.opening import open_pages
from digitcli.inference.ctc import (
    Columns,
    align,
    best_path,
    best_path_of,
    digit_columns,
    log_probability,
    log_softmax,
)
from digitcli.inference.line_finding import find_lines
from digitcli.inference.predictor import LineRecognizer, PageFinder
from digitcli.inference.runtime import LineOutput
from digitcli.recognition.line_reading import as_levels, reading_order, strips_of
from digitcli.strip_format import BOX_SCALE_PX, COLUMN_PX, STRIP_PAPER, count_ctc_columns
from digitcli.synthesis.strips import LabelledStrip

# The probability of the label's digits below which a network misreads the line, or sees only a part of them,
# and what it takes for marks is not trusted. Chosen by hand.
LEAST_PROBABILITY = 0.01
# The distance from the paper, of 127, and the rows of it that make a column of a strip part of a stroke.
LEAST_INK, LEAST_ROWS = 50, 2
# The least columns of ink of a digit that is not read, as a share of the mean width of those that are. It is
# less than the width of a 1. Chosen, like the two values above, on 500 synthetic strips, half of them cut
# off: 169 of these and no whole one were found.
LEAST_SHARE_OF_WIDTH = 0.3

# The probability of a mark in a column from which it may be a part of the text: less is no more than a doubt.
LEAST_MARK_PROBABILITY = 0.1
# The largest share of the digits by which the readings of several regions may differ from the label that is
# divided between them. Chosen by hand.
LARGEST_DIFFERENCE = 1 / 3
# Digits by which the part of a label may be longer or shorter than what is read in its region.
LENGTH_DIFFERENCE = 2

# The width in pixels above which a line is not learned: it has more than 20 digits, and takes long.
LONGEST_PX = 840


def shows_part_only(image: npt.NDArray[np.uint8], answer: LineOutput, columns: Columns, digits: str) -> bool:
    """Tell whether a strip, uint8 (3, 40, W), shows a part of a label's digits, and no ink beside it.

    This is so if the network reads a part of the digits, takes all of them for unlikely, and beside what it
    reads is less ink than the others need. A number that the network misreads in another way, or whose other
    digits have left ink, is probably whole.

    answer, columns: what the network answers to the crop, and the log-probabilities of its digits (T, 11).
    """
    reading = best_path(columns)
    if not reading or len(reading) >= len(digits) or reading not in digits or answer.distances is None:
        return False
    if log_probability(columns, digits) >= math.log(LEAST_PROBABILITY):
        return False
    places = align(columns, reading)
    to_sides = answer.distances * BOX_SCALE_PX  # T, 4
    left = (places[0] + 0.5) * COLUMN_PX - float(to_sides[places[0], 0])
    right = (places[-1] + 0.5) * COLUMN_PX + float(to_sides[places[-1], 1])
    ink = np.abs(image[0].astype(np.int16) - STRIP_PAPER)
    has_stroke = (ink >= LEAST_INK).sum(axis=0) >= LEAST_ROWS  # W
    before, after = has_stroke[: max(0, int(left) - 1)].sum(), has_stroke[math.ceil(right) + 1 :].sum()
    needed = LEAST_SHARE_OF_WIDTH * (right - left) / len(reading)
    starts = [start for start in range(len(digits)) if digits.startswith(reading, start)]
    return not any(
        before >= needed * start and after >= needed * (len(digits) - start - len(reading))
        for start in starts
    )


def divide_label(label: str, readings: Sequence[str]) -> tuple[str, ...] | None:
    """Return the digits of a label that stand in each region of a picture; None if that cannot be told.

    A single region has all digits. As many regions as the label has numbers have one number each. Otherwise
    the division counts that is closest to what is read in the regions, by edit distance, if it is the only
    one.

    readings: the digits that are read in each region, in reading order.
    """
    numbers = numbers_of(label).split()
    digits = "".join(numbers)
    if len(readings) == 1 or not digits:
        return (digits,) * len(readings)
    if len(numbers) == len(readings):
        parts, distance = tuple(numbers), sum(map(edit_distance, readings, numbers))
    else:
        divided = _closest_division(digits, readings)
        if divided is None:
            return None
        parts, distance = divided
    return parts if distance <= LARGEST_DIFFERENCE * len(digits) else None


def _closest_division(digits: str, readings: Sequence[str]) -> tuple[tuple[str, ...], int] | None:
    """Return the only division with the least edit distance, and this distance; None if there are several."""
    best: dict[int, tuple[int, int, tuple[str, ...]]] = {0: (0, 1, ())}  # end -> distance, ways, parts
    for reading in readings:
        longer: dict[int, tuple[int, int, tuple[str, ...]]] = {}
        for start, (distance, ways, parts) in best.items():
            shortest = max(0, len(reading) - LENGTH_DIFFERENCE)
            last = min(len(digits), start + len(reading) + LENGTH_DIFFERENCE)
            for end in range(start + shortest, last + 1):
                part = digits[start:end]
                total = distance + edit_distance(reading, part)
                known = longer.get(end)
                if known is None or total < known[0]:
                    longer[end] = total, ways, (*parts, part)
                elif total == known[0]:
                    longer[end] = total, ways + known[1], known[2]
        best = longer
    distance, ways, parts = best.get(len(digits), (0, 0, ()))
    return (parts, distance) if ways == 1 else None


def target_text(logits: npt.NDArray[np.float32], alphabet: str, temperature: float, digits: str) -> str:
    """Return the text to learn for a line: its digits with the marks that a network reads beside them.

    A label often has digits only, although points or a dash are written. Learning the digits alone would
    teach a network to overlook marks. If the network gives the digits less than `LEAST_PROBABILITY`, what it
    takes for marks may be digits, and the digits alone are learned.

    logits: (T, A + 1), the answer of the network to the line.
    """
    columns = digit_columns(logits, alphabet, temperature)
    if not digits or log_probability(columns, digits) < math.log(LEAST_PROBABILITY):
        return digits
    return best_path_of(log_softmax(logits, temperature), digits, alphabet, LEAST_MARK_PROBABILITY)


def marks_of(label: str, alphabet: str) -> str | None:
    """Return a label as a network writes it, if it has marks of the alphabet; None if it has digits only."""
    known = "".join(character for character in label if character in alphabet).strip()
    return None if known.isdecimal() or not known else known


def find_lines_to_learn(
    answers: Sequence[Answer],
    recognizer: LineRecognizer,
    finder: PageFinder,
    on_event: OnEvent = lambda event: None,
) -> list[list[LabelledStrip]]:
    """Return the lines of pictures of one page each, which were read: crops with texts, without boxes.

    They are the strips of the lines that a page finder finds. A picture whose regions cannot be
    matched with its label has none, and a strip that shows only a part of its number is left out.

    Raises:
        PictureError: a picture cannot be read.
        ModelError: a network answers with values that are not finite.
    """
    examples = []
    for number, answer in enumerate(answers, start=1):
        ((_, grey),) = open_pages(answer.picture.path)
        if isinstance(grey, DigitcliError):
            raise grey
        levels = as_levels(rotate(grey, answer.rotation))
        found = strips_of(levels, reading_order(find_lines(levels, finder.maps).lines))
        strips = [[strip.image for strip in line] for line in found]
        examples.append(_labelled_lines(strips, answer.picture.text, recognizer))
        on_event(ThingsDone(number, len(answers), "pictures cropped"))
    return examples


def _labelled_lines(
    regions: Sequence[Sequence[np.ndarray]], label: str, recognizer: LineRecognizer
) -> list[LabelledStrip]:
    """Return the crops of regions with their texts; none if the label cannot be divided between them.

    A line that is too wide, or has not enough columns for CTC, is left out.
    """
    alphabet, temperature = recognizer.header.alphabet, recognizer.header.temperature
    outputs = iter(recognizer.outputs([crop for crops in regions for crop in crops]))
    answers = [[next(outputs) for _ in crops] for crops in regions]
    readings = [best_path(digit_columns(region[0].logits, alphabet)) for region in answers]
    parts = divide_label(label, readings)
    if parts is None:
        return []
    given = marks_of(label, alphabet) if len(regions) == 1 else None
    lines = [
        LabelledStrip.without_boxes(crop, given or target_text(answer.logits, alphabet, temperature, digits))
        for crops, region, digits in zip(regions, answers, parts, strict=True)
        for crop, answer in zip(crops, region, strict=True)
        if not shows_part_only(crop, answer, digit_columns(answer.logits, alphabet, temperature), digits)
    ]
    return [
        line
        for line in lines
        if count_ctc_columns(line.text) * COLUMN_PX <= line.image.shape[-1] <= LONGEST_PX
    ]
