"""Whether a model has been trained on the digits it is evaluated on."""

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


def told_overlap(
    digits: Digits,
    dataset: Dataset,
    classifier: DigitClassifier,
    on_event: Callable[[Notice], None],
) -> int | None:
    """`count_overlap` of the named models of a classifier; a person is told where digits were trained on."""
    overlap = count_overlap(digits, dataset, classifier.models)
    if overlap:
        trained = "one of " * (len(classifier.models) > 1) + classifier.name
        seen = f"{overlap:,} of these {len(digits):,} digits were in the training of {trained}"
        on_event(Notice(f"{seen}: the accuracy is not that on new digits."))
    return overlap


def count_overlap(digits: Digits, dataset: Dataset, models: Iterable[ResolvedModel]) -> int | None:
    """How many of the digits, a part of the dataset, a model was trained on: images equal in every pixel.

    None where none is found, but the training digits of some model are not known.
    """
    known = [training_hashes(model, dataset) for model in models]
    found = [hashes for hashes in known if hashes is not None]
    overlap = int(np.isin(digits.hashes(), np.concatenate(found)).sum()) if found else 0
    return overlap if overlap or len(found) == len(known) else None


def training_hashes(model: ResolvedModel, dataset: Dataset) -> Hashes | None:
    """`Digits.hashes()` of what the model in that file was trained on, or None where that is not known.

    A run folder keeps them in its resume file. Without one they follow from the data, if those are at
    hand: the dataset of the evaluation, or the embedded MNIST.
    """
    header = model.header
    with contextlib.suppress(ModelError):
        resume, tensors = read_arrays(model.path.with_name(RESUME_FILE))
        if resume.dataset == header.dataset and TRAIN_HASHES in tensors:
            stored: Hashes = tensors[TRAIN_HASHES]
            return stored
    digest = header.dataset.get("digest")
    if digest not in (dataset.digest, DIGEST):
        return None
    train = split(dataset if digest == dataset.digest else load_mnist()).train
    return train.hashes() if len(train) == header.dataset.get("train") else None
