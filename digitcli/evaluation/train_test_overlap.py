"""Find out whether a model was trained on the digits on which it is evaluated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Digits, split
from digitcli.data.mnist import DIGEST, load_mnist
from digitcli.errors import ModelError
from digitcli.events import Notice
from digitcli.inference.checkpoint import RESUME_FILE, TRAIN_HASHES, read_arrays
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.predictor import DigitClassifier

Hashes = npt.NDArray[np.int64]


def report_overlap(
    digits: Digits, dataset: Dataset, classifier: DigitClassifier, on_event: Callable[[Notice], None]
) -> int | None:
    """Return `count_overlap` for the models of a classifier, and send a notice if it is above 0."""
    overlap = count_overlap(digits, dataset, classifier.models)
    if overlap:
        several = "one of " if len(classifier.models) > 1 else ""
        cause = f"{overlap:,} of these {len(digits):,} digits were used to train {several}{classifier.name}"
        on_event(Notice(f"{cause}, so the accuracy on new digits is probably lower."))
    return overlap


def count_overlap(digits: Digits, dataset: Dataset, models: Iterable[ResolvedModel]) -> int | None:
    """Count the digits on which a model was trained, that is, images with exactly the same pixels.

    `digits` are a part of `dataset`. The result is None if no such digit is found, but the training digits of
    a model are not known.
    """
    hashes_by_model = [training_hashes(model, dataset) for model in models]
    known = [hashes for hashes in hashes_by_model if hashes is not None]
    overlap = int(np.isin(digits.hashes(), np.concatenate(known)).sum()) if known else 0
    return overlap if overlap or len(known) == len(hashes_by_model) else None


def training_hashes(model: ResolvedModel, dataset: Dataset) -> Hashes | None:
    """Return `Digits.hashes()` of the training digits of a model, or None where they are not known.

    A run folder keeps the hashes in its resume file. Without it they follow from the training data, if that
    is the dataset of the evaluation or the embedded MNIST.
    """
    trained_on = model.header.dataset
    with contextlib.suppress(ModelError):
        resume_header, tensors = read_arrays(model.path.with_name(RESUME_FILE))
        if resume_header.dataset == trained_on and TRAIN_HASHES in tensors:
            stored: Hashes = tensors[TRAIN_HASHES]
            return stored
    digest = trained_on.get("digest")
    if digest not in (dataset.digest, DIGEST):
        return None
    train = split(dataset if digest == dataset.digest else load_mnist()).train
    return train.hashes() if len(train) == trained_on.get("train") else None
