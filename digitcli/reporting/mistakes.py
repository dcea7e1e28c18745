"""The worst mistakes of a model of single digits: their pictures, and what in them made it answer so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from digitcli.data import DEFAULT_DATASET
from digitcli.data.dataset import Digits
from digitcli.data.loading import load_dataset
from digitcli.data.torchvision_datasets import PUBLISHED_DATASETS
from digitcli.errors import DigitcliError, InputError, quoted
from digitcli.evaluation.splits import take_split
from digitcli.interpretation.drawing import data_url
from digitcli.interpretation.pictures import pictures_of, speaks_for
from digitcli.reporting.page import Figure

if TYPE_CHECKING:
    from digitcli.evaluation.evaluate import Mistake
    from digitcli.evaluation.saved import SavedEvaluation
    from digitcli.inference.model_resolution import ResolvedModel
    from digitcli.interpretation.explanation import Explanation

# Change of a logit by covering ink below which an answer hardly depends on it: odds change by a tenth.
FLAT_LOGITS = 0.1
MAX_MISTAKES = 24  # each takes a fifth of a second to be explained, and a page of them is enough to look at


@dataclass(frozen=True)
class ShownMistake:
    """A mistake, the picture of its digit, and pictures of what speaks for the answer, if at hand.

    is_flat: whether the answer hardly depends on the ink, so that the pictures show nothing.
    """

    mistake: Mistake
    figures: tuple[Figure, ...] = ()
    is_flat: bool = False


def show_mistakes(
    mistakes: Sequence[Mistake], digits: Digits | None, model: ResolvedModel | None
) -> list[ShownMistake]:
    """Return the first mistakes, with pictures if the digits and explanations if the model is at hand."""
    return [
        ShownMistake(mistake) if digits is None else _shown(mistake, digits, model)
        for mistake in mistakes[:MAX_MISTAKES]
    ]


def explain_command(model: str, data: Any, split: str) -> str | None:
    """Return the command that explains a mistake, up to its number; None for digits that it cannot find."""
    is_known = data == DEFAULT_DATASET and split == "test"
    return f"digitcli explain {quoted(model)} --test-digit" if is_known else None


def find_digits(evaluation: SavedEvaluation) -> Digits:
    """Return the digits on which an evaluation was made.

    Raises:
        InputError: they are not at hand, or have changed since. Published datasets are never downloaded.
    """
    if evaluation.data in PUBLISHED_DATASETS:
        raise InputError(f"The pictures of {evaluation.data} are not loaded for a report.")
    if not evaluation.digest:
        raise InputError("There are no pictures, since the file does not say which digits were evaluated.")
    try:
        dataset = load_dataset(evaluation.data)
        digits = take_split(dataset, evaluation.split)
    except DigitcliError as error:
        raise InputError(f"The pictures are not at hand: {error.cause}") from error
    if dataset.digest != evaluation.digest or not all(_is_at(each, digits) for each in evaluation.mistakes):
        raise InputError(f"The digits of {evaluation.data} are no longer those that were evaluated.")
    return digits


def _is_at(mistake: Mistake, digits: Digits) -> bool:
    return 0 <= mistake.index < len(digits) and int(digits.labels[mistake.index]) == mistake.label


def _shown(mistake: Mistake, digits: Digits, model: ResolvedModel | None) -> ShownMistake:
    image = digits.images[mistake.index]
    name = f"digit {mistake.index}"
    if model is None:
        return ShownMistake(mistake, (Figure(data_url(image), f"{name}, a {mistake.label}", "the digit"),))
    from digitcli.interpretation.explain import explain  # loads torch

    (explanation,) = explain(model, [(name, image)], ("occlusion",), mistake.label)
    if explanation.digit != mistake.predicted:  # computed on another device, or the file was edited
        caption = f"the digit, which the model now reads as a {explanation.digit}"
        return ShownMistake(mistake, (Figure(data_url(image), f"{name}, a {mistake.label}", caption),))
    largest = max(float(np.abs(each.values).max()) for each in explanation.attributions)
    return ShownMistake(mistake, _explained(explanation, mistake), largest < FLAT_LOGITS)


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
