"""What a line network says about a strip: the texts that it may hold, and their probabilities."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.imaging.grayscale import median
from digitcli.inference.ctc import (
    ANY_DIGITS,
    DIGITS,
    beam_search,
    best_path_places,
    log_softmax,
    without_marks,
)
from digitcli.inference.runtime import LineOutput
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import LIKELY
from digitcli.recognition.line_crops import LineCrop
from digitcli.strip_format import OPERATORS, SEPARATORS

# Distance of two digits with a space between them, in distances of those without, from which the space
# separates numbers in the only line of a page. The digits in the boxes of a form are as far from each other,
# whether `page_reader` sees a space there or not. Chosen by hand, and not tuned: it reads 88 of 100 forms as
# one number (53 if every space counts), and 27 of 30 pairs of numbers one height of a digit apart as two.
UNEVEN = 1.5
# Probability from which the beam search tries a digit in a strip where every text is allowed; under
# constraints, which may need an unlikely digit, it is that of `ctc.beam_search`. With 1e-3, the search takes
# half of the time of 1e-4; no text of 120 composed strips changed, and probabilities by 0.0003 in the mean.
MIN_PROBABILITY_STRIP = 1e-3
# Probability that a number breaks the constraints, before it is read (chosen by hand).
CONSTRAINT_DOUBT = 0.05
# Probability that counts as none, so that it has a logarithm.
LEAST_PROBABILITY = 1e-12

# Texts of digits with their probabilities; the empty text means that nothing is written.
Hypotheses = dict[str, float]


@dataclass(frozen=True)
class Gap:
    """What stands between two digits of a line, by a network.

    separator: the probability of a character that separates two numbers, given that no digit stands there.
    operator: the same without spaces.
    no_digit: the probability that no digit stands where the separator does.
    distance: the columns from one digit to the next.
    cut: the column behind the likeliest separator.
    """

    separator: float
    operator: float
    no_digit: float
    distance: int
    cut: int


@dataclass(frozen=True)
class LineEvidence:
    """The answer of a line network to a line crop.

    crop: the crop.
    columns: log-probabilities (T, 11) of the ten digits and of the blank, which takes in all marks.
    with_marks: log-probabilities (T, A + 1) of the alphabet and the blank.
    alphabet: the characters of the network.
    distances: the distances from each column to the sides of its character, (T, 4); None if the network does
        not predict them.
    first_column: the column of the crop at which this part of it begins.
    """

    crop: LineCrop
    columns: np.ndarray
    with_marks: np.ndarray
    alphabet: str
    distances: np.ndarray | None
    first_column: int = 0

    @classmethod
    def of(cls, crop: LineCrop, answer: LineOutput, alphabet: str, temperature: float) -> LineEvidence:
        """Calibrate a network's answer to a crop by its temperature."""
        with_marks = log_softmax(answer.logits, temperature)
        return cls(crop, without_marks(with_marks, alphabet), with_marks, alphabet, answer.distances)

    @functools.cached_property
    def likely_texts(self) -> list[tuple[str, float]]:
        """The likely texts of a strip with their log-probabilities, see `ctc.beam_search`."""
        return beam_search(self.columns, ANY_DIGITS, min_probability=MIN_PROBABILITY_STRIP)

    @functools.cached_property
    def places(self) -> list[tuple[str, int, int]]:
        """The likeliest characters with their columns, see `ctc.best_path_places`."""
        return best_path_places(self.with_marks, self.alphabet)

    @property
    def raw(self) -> str:
        """The likeliest characters, marks and others included."""
        return "".join(character for character, _, _ in self.places)

    @property
    def digits(self) -> str:
        """The likeliest digits."""
        return "".join(character for character, _, _ in self.places if character.isdecimal())

    @functools.cached_property
    def gaps(self) -> list[Gap]:
        """What stands between each two digits."""
        digits = [index for index, (character, _, _) in enumerate(self.places) if character.isdecimal()]
        return [self._gap(self.places[left : right + 1]) for left, right in itertools.pairwise(digits)]

    def characters_between(self, gap: int) -> str:
        """Return the characters in a gap between two digits."""
        digits = [index for index, (character, _, _) in enumerate(self.places) if character.isdecimal()]
        between = self.places[digits[gap] + 1 : digits[gap + 1]]
        return "".join(character for character, _, _ in between)

    def _gap(self, places: Sequence[tuple[str, int, int]]) -> Gap:
        """Return what stands between the first and the last of some places."""
        (_, left, start), *between, (_, end, _) = places
        seen = [place for place in between if place[0] in SEPARATORS]
        shares, operators = (self._shares_of(each, start, end) for each in (SEPARATORS, OPERATORS))
        no_digit = np.maximum(np.exp(self.columns[start:end, -1]), LEAST_PROBABILITY)
        separator = _any_of(shares / no_digit)
        return Gap(
            separator=separator,
            operator=_any_of(operators / no_digit),
            no_digit=_any_of(shares) / separator if separator else 1.0,
            distance=end - left,
            cut=seen[-1][2] if seen else min(end, start + 1 + int(np.argmax([*shares, 0]))),
        )

    def _shares_of(self, characters: frozenset[str], start: int, end: int) -> np.ndarray:
        """Return the probability of one of some characters in each column from `start` to `end`."""
        known = [index for index, character in enumerate(self.alphabet) if character in characters]
        return np.asarray(np.exp(self.with_marks[start:end, known]).sum(axis=1))

    def separators(self, *, is_alone: bool = False) -> list[float]:
        """Return how likely each gap separates two numbers, given that no digit stands in it.

        In the only line of a page, a space does so only if it is wider than the distances of digits.
        """
        if not is_alone:
            return [gap.separator for gap in self.gaps]
        even = [gap.distance for gap in self.gaps if gap.separator < LIKELY]
        least = UNEVEN * median(np.array(even)) if even else math.inf
        return [gap.separator if gap.distance >= least else gap.operator for gap in self.gaps]

    def segmentation(
        self, separators: Sequence[float], is_split: Sequence[bool] | None = None
    ) -> tuple[list[int], list[float]]:
        """Return the n + 1 columns between which n numbers stand, and how likely each of them is one number.

        separators: how likely each gap separates two numbers, see `separators`.
        is_split: whether it does; by default, if that is likelier.

        A sign or a currency before a number is a part of it: `12 -5` holds `12` and `-5`. That no digit
        stands in a gap counts in the texts of the number before it.
        """
        bounds, shares = [0], [1.0]
        is_split = is_split or [share >= LIKELY for share in separators]
        for gap, share, splits in zip(self.gaps, separators, is_split, strict=True):
            if splits:
                bounds.append(gap.cut)
                shares[-1] *= share
                shares.append(share * gap.no_digit)
            else:
                shares[-1] *= 1 - share
        return [*bounds, len(self.columns)], shares

    def split(self, bounds: Sequence[int]) -> list[LineEvidence]:
        """Return the parts of the strip between columns."""
        if len(bounds) == 2:
            return [self]
        return [
            dataclasses.replace(
                self,
                columns=self.columns[start:end],
                with_marks=self.with_marks[start:end],
                distances=None if self.distances is None else self.distances[start:end],
                first_column=self.first_column + start,
            )
            for start, end in itertools.pairwise(bounds)
        ]


def _any_of(shares: np.ndarray) -> float:
    """Return the probability of a character in any column, from its probability in each (T,), by CTC."""
    return 1 - float(np.prod(1 - np.minimum(shares, 1.0)))


def likeliest_text(hypotheses: Hypotheses, empty_threshold: float) -> str:
    """Return the likeliest text; the empty one only if its probability is above `empty_threshold`."""
    written = [text for text in hypotheses if text]
    if not written or hypotheses.get("", 0.0) > empty_threshold:
        return ""
    return max(written, key=lambda text: hypotheses[text])


def given_constraints(hypotheses: Hypotheses, constraints: Constraints) -> Hypotheses:
    """Return the hypotheses that meet the constraints, with their probabilities given that they are met.

    `CONSTRAINT_DOUBT` stays as the probability that the number breaks the constraints.
    """
    accepted = {text: share for text, share in hypotheses.items() if constraints.accepts(text)}
    total = sum(accepted.values())
    return {text: share / (total + CONSTRAINT_DOUBT * (1 - total)) for text, share in accepted.items()}


def breaks_constraints(free: Hypotheses, accepted: Hypotheses, constraints: Constraints) -> bool:
    """Tell whether a number likelier breaks the constraints than that the networks misread it (Bayes' rule).

    free: the texts without constraints.
    accepted: those that meet them, which fewer texts do the stricter a check digit is.
    """
    meets = sum(accepted.values()) / constraints.share_valid
    breaks = sum(share for text, share in free.items() if text and not constraints.accepts(text))
    return meets * (1 - CONSTRAINT_DOUBT) < breaks * CONSTRAINT_DOUBT


def recalibrated(hypotheses: Hypotheses, text: str, confidence: float) -> Hypotheses:
    """Return the hypotheses with another probability of a text, so that they still add up to 1 at most.

    Where the text becomes likelier, the others share what it leaves. Where it becomes less likely, they do so
    as well, since what speaks against it (whether a number stands there, whether it is whole) speaks against
    them too; the rest belongs to none of them.
    """
    before = hypotheses[text]
    if confidence < before:
        factor = confidence / before
    else:
        factor = min(1.0, (1 - confidence) / max(1 - before, LEAST_PROBABILITY))
    return {each: factor * share for each, share in hypotheses.items()} | {text: confidence}


def digit_shares(hypotheses: Hypotheses, text: str, place: int) -> dict[str, float]:
    """Return the probability of each digit at a place, over the hypotheses that are as long as `text`."""
    shares: dict[str, float] = {}
    for hypothesis, probability in hypotheses.items():
        if len(hypothesis) == len(text):
            shares[hypothesis[place]] = shares.get(hypothesis[place], 0.0) + probability
    return shares


def with_unlikely_digits(shares: dict[str, float], column: np.ndarray) -> dict[str, float]:
    """Add the digits that are too unlikely for any hypothesis, from their column (11,) of log-probabilities.

    Together they have at most the probability that the others leave.
    """
    rest = {digit: math.exp(column[int(digit)]) for digit in DIGITS if digit not in shares}
    left = max(0.0, 1 - sum(shares.values()))
    scale = min(1.0, left / max(sum(rest.values()), LEAST_PROBABILITY))
    return shares | {digit: scale * share for digit, share in rest.items()}
