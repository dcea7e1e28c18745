"""Cut the lines that a page finder found into strips, and read the strips by line networks.

A strip shows raw pixels of a line with its surroundings (`imaging.network_inputs`). The networks read a line
one after the other, and where a doubt is left, they also read a strip of it with more surroundings.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from digitcli.errors import PictureError
from digitcli.imaging.grayscale import Grey
from digitcli.imaging.network_inputs import END_SPACE, LineBox, Strip, cut_strip, cut_whole
from digitcli.inference.ctc import (
    Grammar,
    beam_search,
    best_path_places,
    log_softmax,
    without_marks,
)
from digitcli.inference.line_finding import FoundLine, find_lines
from digitcli.inference.predictor import LineRecognizer, load_page_finder
from digitcli.inference.runtime import LineOutput
from digitcli.recognition.layout import group_lines
from digitcli.strip_format import COLUMN_PX, OPERATORS, OTHER, SEPARATORS, STRIP_HEIGHT_PX

FINDER, GLANCE = "finder", "glance"  # the shipped model that finds lines; the architecture of whole pictures
# Margins above and below the line in its first and in its second strip, in heights of the line. The readers
# were trained on margins from 0.1 to 0.5.
MARGINS = (0.2, 0.35)
# Greatest length of a strip in heights of its line. It bounds the memory that a line network takes; a longer
# line is refused.
MAX_LENGTH = 100.0
LEAST_LENGTH = 0.1  # of a part of a line, in heights of the line
# Probability of a text, and of the numbers of a line, from which no further network or strip is asked. Of
# 2,477 numbers by held-out generators 0.98 and 0.995 answer as many correctly; with 1 % wrong, 80 % of those
# on pages can be answered, and 75 % with 0.95. With 0.98 a fifth fewer strips are read than with 0.995.
CERTAIN_TEXT = 0.98
# Probability from which the beam search tries a digit in a strip where every text is allowed; under
# constraints, which may need an unlikely digit, it is that of `ctc.beam_search`. With 1e-3, the search takes
# half of the time of 1e-4; no text of 120 synthetic strips changed, and probabilities by 0.0003 in the mean.
MIN_PROBABILITY_STRIP = 1e-3
LEAST_PROBABILITY = 1e-12  # counts as none, so that it has a logarithm

Hypotheses = dict[str, float]  # texts of digits with their probabilities; the empty one: nothing is written
CutLines = Callable[[np.ndarray], list[np.ndarray]]


class SeenGap(NamedTuple):
    """What stands between two digits of a strip, by a network.

    separator, operator: the probability of a character that separates two numbers, given that no digit stands
        there; with spaces and without.
    no_digit: the probability that no digit stands where the separator does.
    characters: the likeliest characters.
    cut: the column behind the likeliest separator.
    """

    separator: float
    operator: float
    no_digit: float
    characters: str
    cut: int


@dataclass(frozen=True)
class Answer:
    """The answer of a line network to a strip, or to a part of it.

    columns: log-probabilities (T, 11) of the ten digits and of the blank, which takes in all marks.
    with_marks: log-probabilities (T, A + 1) of the alphabet and the blank.
    distances: the distances from each column to the sides of its character, (T, 4); None if the network does
        not predict them.
    prints: the probability that the character at each column (T,) is printed; None likewise.
    first_column: the column of the strip at which the part begins.
    """

    strip: Strip
    columns: np.ndarray
    with_marks: np.ndarray
    alphabet: str
    distances: np.ndarray | None
    prints: np.ndarray | None = None
    first_column: int = 0

    @classmethod
    def of(cls, strip: Strip, output: LineOutput, alphabet: str, temperature: float) -> Answer:
        """Calibrate a network's output for a strip by its temperature."""
        with_marks = log_softmax(output.logits, temperature)
        columns = without_marks(with_marks, alphabet)
        prints = None if output.prints is None else np.exp(-np.logaddexp(0, -output.prints[:, 0]))
        return cls(strip, columns, with_marks, alphabet, output.distances, prints)

    @functools.cached_property
    def likely_texts(self) -> Hypotheses:
        """The likely texts with their probabilities, see `ctc.beam_search`."""
        return _probabilities(beam_search(self.columns, min_probability=MIN_PROBABILITY_STRIP))

    @functools.cached_property
    def places(self) -> list[tuple[str, int, int]]:
        """The likeliest characters with their columns, see `ctc.best_path_places`."""
        return best_path_places(self.with_marks, self.alphabet)

    @property
    def raw(self) -> str:
        """The likeliest characters, marks and others included."""
        return "".join(character for character, _, _ in self.places)

    @functools.cached_property
    def digits(self) -> list[tuple[str, int, int]]:
        """The likeliest digits with their columns."""
        return [place for place in self.places if place[0].isdecimal()]

    @functools.cached_property
    def gaps(self) -> list[SeenGap]:
        """What stands between each two of the likeliest digits."""
        found = [index for index, (character, _, _) in enumerate(self.places) if character.isdecimal()]
        return [self._gap(self.places[left : right + 1]) for left, right in itertools.pairwise(found)]

    def _gap(self, places: Sequence[tuple[str, int, int]]) -> SeenGap:
        (_, _, start), *between, (_, end, _) = places
        cuts = [end_of for character, _, end_of in between if character in SEPARATORS]
        no_digit = np.maximum(np.exp(self.columns[start:end, -1]), LEAST_PROBABILITY)
        separators, operators = (self._shares_of(each, start, end) for each in (SEPARATORS, OPERATORS))
        likeliest = min(end, start + 1 + int(np.argmax([*separators, 0])))
        separator = _any_of(separators / no_digit)
        return SeenGap(
            separator,
            _any_of(operators / no_digit),
            _any_of(separators) / separator if separator else 1.0,
            "".join(character for character, _, _ in between),
            cuts[-1] if cuts else likeliest,
        )

    def _shares_of(self, characters: frozenset[str], start: int, end: int) -> np.ndarray:
        """Return the probability of one of some characters in each column from `start` to `end`."""
        known = [index for index, character in enumerate(self.alphabet) if character in characters]
        return np.asarray(np.exp(self.with_marks[start:end, known]).sum(axis=1))

    def part(self, start: int, end: int) -> Answer:
        """Return the answer to the columns from `start` to `end`, at least one."""
        start = min(max(start, 0), len(self.columns) - 1)
        end = min(max(end, start + 1), len(self.columns))
        return replace(
            self,
            columns=self.columns[start:end],
            with_marks=self.with_marks[start:end],
            distances=None if self.distances is None else self.distances[start:end],
            prints=None if self.prints is None else self.prints[start:end],
            first_column=self.first_column + start,
        )

    def point_at(self, column: int) -> npt.NDArray[np.float64]:
        """Return the middle of the left side of a column, in pixels of the page."""
        place = (self.first_column + column) * COLUMN_PX, STRIP_HEIGHT_PX / 2, 1.0
        return np.asarray(self.strip.to_picture @ place)


@dataclass(frozen=True)
class Line:
    """A line of a page, or the part of it that is one number, and the answers of the networks.

    row: the number of its row on the page, from 0 on.
    found: the place of the line.
    answers: that of the first network to the first strip first.
    is_alone: whether it is the only line of the page, or its only number.
    is_first, is_last: whether it is the first, or the last, of the numbers of a line.
    probability: that the digits form one number.
    is_demanded: whether they form one only because constraints demand it.
    beside: the mean log-odds, by the page finder, that the other numbers of the page stand there; 0 without
        others.
    """

    row: int
    found: FoundLine
    answers: tuple[Answer, ...]
    is_alone: bool = False
    is_first: bool = True
    is_last: bool = True
    probability: float = 1.0
    is_demanded: bool = False
    beside: float = 0.0

    @functools.cached_property
    def reference(self) -> Answer:
        """The answer whose digits, gaps and boxes count; that of a network that knows spaces, if one does."""
        return next((answer for answer in self.answers if " " in answer.alphabet), self.answers[0])

    @property
    def raw(self) -> str:
        """The likeliest characters of the first strip."""
        return self.reference.raw

    @property
    def length(self) -> float:
        """The length in heights of the line."""
        box = self.found.box
        if self.is_first and self.is_last:
            return box.length / box.height
        answer = self.reference
        length = len(answer.columns) * COLUMN_PX * math.hypot(*answer.strip.to_picture[:, 0])
        return max(length / box.height - END_SPACE * (self.is_first + self.is_last), LEAST_LENGTH)

    def gap(self, index: int) -> tuple[float, float]:
        """Return how likely a gap between two digits separates numbers, and that an operator does.

        This is the mean over the strips, by networks that know spaces, in which as many digits are seen.
        """
        digits = len(self.reference.digits)
        voters = [
            a for a in self.answers if a.alphabet == self.reference.alphabet and len(a.digits) == digits
        ]
        gaps = [answer.gaps[index] for answer in voters]
        return sum(gap.separator for gap in gaps) / len(gaps), sum(gap.operator for gap in gaps) / len(gaps)

    def parts(self, splits: Sequence[bool], shares: Sequence[float]) -> list[Line]:
        """Split the line where gaps between its digits separate numbers.

        splits: whether each gap does.
        shares: the probability of each number that its digits form one.

        All strips are cut at the same places of the page. A digit that may stand in a gap counts in the texts
        of the number before it, and in the probability of the one behind it.
        """
        cuts = [gap for gap, splits_here in zip(self.reference.gaps, splits, strict=True) if splits_here]
        points = [self.reference.point_at(gap.cut) for gap in cuts]
        before = [1.0, *(gap.no_digit for gap in cuts)]
        bounds = [
            [0, *(a.strip.column_at(point) - a.first_column for point in points), len(a.columns)]
            for a in self.answers
        ]
        return [
            replace(
                self,
                answers=tuple(
                    answer.part(own[index], own[index + 1])
                    for answer, own in zip(self.answers, bounds, strict=True)
                )
                if cuts
                else self.answers,
                is_first=index == 0,
                is_last=index == len(cuts),
                is_alone=self.is_alone and not cuts,
                probability=share * before[index],
            )
            for index, share in enumerate(shares)
        ]

    @functools.cached_property
    def hypotheses(self) -> Hypotheses:
        """The likeliest texts with their probabilities, the means over all answers."""
        return _mean([answer.likely_texts for answer in self.answers])

    def hypotheses_of(self, grammar: Grammar) -> Hypotheses:
        """Return the likeliest texts that a grammar allows, see `hypotheses`."""
        return _mean([_probabilities(beam_search(answer.columns, grammar)) for answer in self.answers])


def _probabilities(texts: Sequence[tuple[str, float]]) -> Hypotheses:
    return {text: math.exp(log_probability) for text, log_probability in texts}


def _mean(answers: Sequence[Hypotheses]) -> Hypotheses:
    mean: Hypotheses = {}
    for answer in answers:
        for text, probability in answer.items():
            mean[text] = mean.get(text, 0.0) + probability / len(answers)
    return mean


def reading_order(lines: Sequence[FoundLine]) -> list[tuple[int, FoundLine]]:
    """Return the lines of a page with their rows, from top to bottom and from left to right."""
    if not lines:
        return []
    boxes = [line.box for line in lines]
    slope = float(np.average([box.angle for box in boxes], weights=[box.length for box in boxes]))
    rotation = np.array([[np.cos(slope), np.sin(slope)], [-np.sin(slope), np.cos(slope)]])
    corners = np.array([box.corners(box.length, box.height) @ rotation.T for box in boxes])  # N, 4, 2
    low, high = corners.min(axis=1), corners.max(axis=1)
    rows = group_lines(np.concatenate([low, high - low], axis=1))
    return [(row, lines[index]) for row, indices in enumerate(rows) for index in indices]


def read_lines(
    grey: Grey, places: Sequence[tuple[int, FoundLine]], readers: Sequence[LineRecognizer]
) -> list[Line]:
    """Read lines of a page, uint8 (H, W), given with their rows, until their texts are certain.

    If the first strip shows another character at an end, the second one is read in any case: it may be a
    piece, which is cut off if both show it.

    Raises:
        ModelError: a network answers with values that are not finite.
    """
    answers: list[list[Answer]] = [[] for _ in places]

    def is_asked(known: list[Answer], strip: int) -> bool:
        may_be_cut_off = strip == 1 and OTHER in (known[0].raw[:1], known[0].raw[-1:])
        return may_be_cut_off or not _is_certain(known)

    for strip in range(len(MARGINS)):
        strips: dict[int, Strip] = {}
        for reader in readers:
            asked = [index for index, known in enumerate(answers) if is_asked(known, strip)]
            for index in asked:
                strips[index] = strips.get(index) or _cut(grey, places[index][1].box, strip)
            for index, answer in zip(asked, read_strips([strips[i] for i in asked], reader), strict=True):
                answers[index].append(answer)
    is_alone = len(places) == 1
    return [
        Line(row, found, tuple(known), is_alone) for (row, found), known in zip(places, answers, strict=True)
    ]


def strips_of(grey: Grey, places: Sequence[tuple[int, FoundLine]]) -> list[list[Strip]]:
    """Return all strips of each line of a page, uint8 (H, W)."""
    return [[_cut(grey, line.box, strip) for strip in range(len(MARGINS))] for _, line in places]


def _is_certain(answers: Sequence[Answer]) -> bool:
    """Tell whether a text and its numbers are so likely that no further network or strip is asked."""
    if not answers:
        return False
    certain = math.prod(max(gap.separator, 1 - gap.separator) for gap in answers[0].gaps)
    return (
        certain * max(_mean([answer.likely_texts for answer in answers]).values(), default=0.0)
        >= CERTAIN_TEXT
    )


def _cut(grey: Grey, box: LineBox, strip: int) -> Strip:
    """Cut out a line, or the middle of one that is too long."""
    return cut_strip(grey, replace(box, length=min(box.length, MAX_LENGTH * box.height)), MARGINS[strip])


def read_strips(strips: Sequence[Strip], reader: LineRecognizer) -> list[Answer]:
    """Run a line network on strips."""
    if not strips:
        return []
    header, outputs = reader.header, reader.outputs([strip.image for strip in strips])
    return [
        Answer.of(strip, output, header.alphabet, header.temperature)
        for strip, output in zip(strips, outputs, strict=True)
    ]


def whole_picture(grey: Grey, reader: LineRecognizer) -> Line:
    """Read a page, uint8 (H, W), as one line that fills it, and as one number."""
    height, width = grey.shape
    found = FoundLine(LineBox(width / 2, height / 2, width, height, 0.0), 1.0, 0.0, STRIP_HEIGHT_PX)
    (answer,) = read_strips([cut_whole(grey)], reader)
    return Line(0, found, (answer,), probability=math.prod(1 - gap.separator for gap in answer.gaps))


def _any_of(shares: np.ndarray) -> float:
    """Return the probability of a character in any column, from its probability in each (T,), by CTC."""
    return 1 - float(np.prod(1 - np.minimum(shares, 1.0)))


def as_levels(grey: np.ndarray) -> Grey:
    """Convert a grey picture, float32 in [0, 1], into levels, uint8."""
    levels = 255 * grey
    levels += 0.5
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def line_cutter(architecture: str, device: str = "auto") -> CutLines:
    """Return a function from a picture, float32 (H, W) in [0, 1], to its lines as an architecture sees them.

    The glance sees the whole picture as a strip, uint8 (3, 40, W), and others strips of the lines that the
    shipped page finder finds. Of several strips of a line, this is the first. The lines are in reading order.

    Raises:
        ModelError, EnvironmentFault: the page finder cannot be loaded.
    """
    if architecture == GLANCE:
        return lambda grey: [cut_whole(as_levels(grey)).image]
    finder = load_page_finder(FINDER, device)

    def cut(grey: np.ndarray) -> list[np.ndarray]:
        levels = as_levels(grey)
        found = reading_order(find_lines(levels, finder.maps).lines)
        return [_cut(levels, line.box, 0).image for _, line in found]

    return cut


def longest_line(lines: list[np.ndarray], name: str) -> np.ndarray:
    """Return the longest line of a picture, in heights of the line.

    Raises:
        PictureError: there is no line.
    """
    if not lines:
        raise PictureError("blank", f"No number was found in {name}.", "Name a picture of a number.")
    return max(lines, key=lambda line: int(line.shape[-1]))
