"""The worst mistakes of a model of single digits: their pictures, and what in them made it answer so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from digitcli.data.dataset import Digits
from digitcli.data.loading import load_dataset
from digitcli.data.torchvision_datasets import PUBLISHED_DATASETS
from digitcli.errors import DigitcliError, InputError
from digitcli.evaluation.splits import take_split
from digitcli.interpretation.drawing import data_url
from digitcli.interpretation.pictures import pictures_of, speaks_for
from digitcli.reporting.page import Figure

if TYPE_CHECKING:
    from digitcli.evaluation.evaluate import Mistake
    from digitcli.evaluation.saved import SavedEvaluation
    from digitcli.inference.model_resolution import ResolvedModel
    from digitcli.interpretation.explanation import Explanation

MAX_MISTAKES = 24  # each takes a fifth of a second to be explained, and a page of them is enough to look at


@dataclass(frozen=True)
class ShownMistake:
    """A mistake, the picture of its digit, and pictures of what speaks for the answer, if at hand."""

    mistake: Mistake
    figures: tuple[Figure, ...] = ()


def show_mistakes(
    mistakes: Sequence[Mistake], digits: Digits | None, model: ResolvedModel | None
) -> list[ShownMistake]:
    """Return the first mistakes, with pictures if the digits and explanations if the model is at hand."""
    return [
        ShownMistake(mistake, () if digits is None else _figures(mistake, digits, model))
        for mistake in mistakes[:MAX_MISTAKES]
    ]


def find_digits(evaluation: SavedEvaluation) -> Digits:
    """Return the digits on which an evaluation was made.

    Raises:
        InputError: they are not at hand, or have changed since. Published datasets are never downloaded.
    """
    if evaluation.data in PUBLISHED_DATASETS:
        raise InputError(f"The pictures of {evaluation.data} are not loaded for a report.")
    try:
        digits = take_split(load_dataset(evaluation.data), evaluation.split)
    except DigitcliError as error:
        raise InputError(f"The pictures are not at hand: {error.cause}") from error
    counts = np.bincount(digits.labels, minlength=len(evaluation.confusion)).tolist()
    misread = [mistake for mistake in evaluation.mistakes if not _is_at(mistake, digits)]
    if counts != [sum(row) for row in evaluation.confusion] or misread:
        raise InputError(f"The digits of {evaluation.data} are no longer those that were evaluated.")
    return digits


def _is_at(mistake: Mistake, digits: Digits) -> bool:
    return 0 <= mistake.index < len(digits) and int(digits.labels[mistake.index]) == mistake.label


def _figures(mistake: Mistake, digits: Digits, model: ResolvedModel | None) -> tuple[Figure, ...]:
    image = digits.images[mistake.index]
    name = f"digit {mistake.index}"
    if model is None:
        return (Figure(data_url(image), f"{name}, a {mistake.label}", "the digit"),)
    from digitcli.interpretation.explain import explain  # loads torch

    (explanation,) = explain(model, [(name, image)], ("occlusion",), mistake.label)
    return _explained(explanation, mistake)


def _explained(explanation: Explanation, mistake: Mistake) -> tuple[Figure, ...]:
    digit, *attributions = (data_url(picture.pixels) for picture in pictures_of(explanation))
    captions = [speaks_for(each) for each in explanation.attributions]
    return (
        Figure(digit, f"{explanation.file}, a {mistake.label}", "the digit"),
        *(
            Figure(url, f"the parts of it whose ink {caption} (red) or against it (blue)", caption)
            for url, caption in zip(attributions, captions, strict=True)
        ),
    )
