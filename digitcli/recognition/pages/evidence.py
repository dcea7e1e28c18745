"""What a line network answers to a strip."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.inference.ctc import best_path_places, digit_columns, log_softmax
from digitcli.inference.runtime import LineOutput
from digitcli.recognition.pages.crops import LineCrop
from digitcli.strip_format import OTHER

# The characters that separate the numbers of a strip.
SEPARATORS = frozenset(" +×*=" + OTHER)


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
        return cls(
            crop,
            digit_columns(answer.logits, alphabet, temperature),
            log_softmax(answer.logits, temperature),
            alphabet,
            answer.distances,
        )

    def bounds(self) -> list[int]:
        """Return the columns between which numbers stand: behind spaces and operators between two digits.

        A sign or a currency before a number is a part of it: `12 -5` holds `12` and `-5`.
        """
        places = best_path_places(self.with_marks, self.alphabet)
        digits = [index for index, (character, _, _) in enumerate(places) if character.isdecimal()]
        bounds = [0]
        for left, right in itertools.pairwise(digits):
            ends = [end for character, _, end in places[left + 1 : right] if character in SEPARATORS]
            bounds += ends[-1:]
        return [*bounds, len(self.columns)]

    def split(self, bounds: Sequence[int]) -> list[LineEvidence]:
        """Return the parts of the strip between columns."""
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
