"""Find out whether a model was trained on the digits on which it is evaluated."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Digits, split
from digitcli.data.mnist import DIGEST, load_mnist
from digitcli.errors import ModelError
from digitcli.events import Notice
from digitcli.inference.checkpoint import (
    MEMBER_FOLDER,
    RESUME_FILE,
    TRAIN_HASHES,
    has_learned_more,
    member_headers,
    read_arrays,
)
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
    all_hashes = [hashes for model in models for hashes in training_hashes(model, dataset)]
    known = [hashes for hashes in all_hashes if hashes is not None]
    overlap = int(np.isin(digits.hashes(), np.concatenate(known)).sum()) if known else 0
    return overlap if overlap or len(known) == len(all_hashes) else None


def training_hashes(model: ResolvedModel, dataset: Dataset) -> list[Hashes | None]:
    """Return `Digits.hashes()` of each set of digits that a model was trained on, or None where unknown.

    The members of an ensemble may have been trained on several sets. A run folder keeps the hashes in its
    resume file, and an ensemble in those of its members. Without them they follow from the training data, if
    that is the dataset of the evaluation or the embedded MNIST. Those of a start model count, too.
    """
    for folder in (model.path.parent, model.path.parent / MEMBER_FOLDER.format(0)):
        with contextlib.suppress(ModelError):
            resume_header, tensors = read_arrays(folder / RESUME_FILE)
            if resume_header.dataset == model.header.dataset and TRAIN_HASHES in tensors:
                start = resume_header.start
                unknown = [None] if start and not start.get("knows_digits") else []
                return [tensors[TRAIN_HASHES], *unknown]
    trained_on: list[dict[str, Any]] = []
    for header in member_headers(model.header):
        if header.dataset not in trained_on:
            trained_on.append(header.dataset)
    unknown = [None] if any(map(has_learned_more, member_headers(model.header))) else []
    return [*(_hashes_of_dataset(description, dataset) for description in trained_on), *unknown]


def _hashes_of_dataset(trained_on: dict[str, Any], dataset: Dataset) -> Hashes | None:
    """Return the hashes of the training part of the dataset that a header describes, or None."""
    digest = trained_on.get("digest")
    if digest not in (dataset.digest, DIGEST):
        return None
    hashes = split(dataset).train.hashes() if digest == dataset.digest else _hashes_of_mnist()
    return hashes if len(hashes) == trained_on.get("train") else None


@functools.cache
def _hashes_of_mnist() -> Hashes:
    """Return the hashes of the training digits of MNIST, which each run of a search or an ensemble needs."""
    return split(load_mnist()).train.hashes()
