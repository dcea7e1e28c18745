"""Choose the digits on which a model is evaluated, and find out whether it was trained on them.

Loads no torch, and NumPy only when used.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from digitcli.errors import InputError, ModelError
from digitcli.events import Notice
from digitcli.inference.checkpoint import (
    MEMBER_FOLDER,
    RESUME_FILE,
    TRAIN_HASHES,
    Header,
    has_learned_more,
    member_headers,
    read_arrays,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from digitcli.data.dataset import Dataset, Digits
    from digitcli.inference.model_resolution import ResolvedModel
    from digitcli.inference.predictor import DigitClassifier

    Hashes = npt.NDArray[np.int64]

Split = Literal["train", "validation", "test", "all"]

# Indices into the test digits of MNIST. Fewer than three of five people agreed with the label of each:
# Northcutt, Athalye & Mueller, "Pervasive label errors in test sets destabilize machine learning benchmarks",
# 2021.
MNIST_LABEL_ERRORS = (
    947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729,
)  # fmt: skip


def default_split(dataset: Dataset, headers: Iterable[Header]) -> Split:
    """Return `test` if the dataset has test digits or a model held some out in training, else `all`."""
    was_trained_on = any(header.dataset.get("digest") == dataset.digest for header in headers)
    return "test" if dataset.test is not None or was_trained_on else "all"


def take_split(dataset: Dataset, name: Split) -> Digits:
    """Return a split of a dataset as training makes it; `all` has the training digits, then the test digits.

    Raises:
        InputError: the dataset has too few digits to be split.
    """
    from digitcli.data.dataset import concatenate, split

    if name == "all":
        return dataset.train if dataset.test is None else concatenate(dataset.train, dataset.test)
    if name == "test" and dataset.test is not None:
        return dataset.test
    try:
        splits = split(dataset)
    except InputError as error:
        raise InputError(error.cause, "Give --split all.") from error
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}[name]


def groups_of_split(dataset: Dataset, name: Split) -> tuple[str, ...]:
    """Return the group of each digit of a split, "" for one without a group; nothing if none has a group."""
    if not dataset.test_groups or name not in ("test", "all"):
        return ()
    ungrouped = len(dataset.train) if name == "all" else 0
    return ("",) * ungrouped + dataset.test_groups


def accuracy_without_label_errors(
    dataset: Dataset, name: Split, is_correct: npt.NDArray[np.bool_]
) -> float | None:
    """Return the accuracy on the test digits of MNIST without label errors; None for other digits."""
    import numpy as np

    from digitcli.data.mnist import DIGEST

    if dataset.test is None or dataset.digest != DIGEST or name != "test":
        return None
    return float(np.delete(is_correct, MNIST_LABEL_ERRORS).mean())


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
    import numpy as np

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
    from digitcli.data.dataset import split
    from digitcli.data.mnist import DIGEST

    digest = trained_on.get("digest")
    if digest not in (dataset.digest, DIGEST):
        return None
    hashes = split(dataset).train.hashes() if digest == dataset.digest else _hashes_of_mnist()
    return hashes if len(hashes) == trained_on.get("train") else None


@functools.cache
def _hashes_of_mnist() -> Hashes:
    """Return the hashes of the training digits of MNIST, which each run of a search or an ensemble needs."""
    from digitcli.data.dataset import split
    from digitcli.data.mnist import load_mnist

    return split(load_mnist()).train.hashes()
