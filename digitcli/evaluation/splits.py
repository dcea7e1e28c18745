"""Choose the digits on which a model is evaluated, and find those that it was trained on. Loads no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Dataset, Digits, split
from digitcli.data.mnist import DIGEST, load_mnist
from digitcli.errors import InputError, ModelError, UsageError
from digitcli.events import Notice
from digitcli.inference.checkpoint import RESUME_FILE, TRAIN_HASHES, Header, read_arrays
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.predictor import DigitClassifier

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from digitcli.data.dataset import Dataset, Digits

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


def correctly_labelled(dataset: Dataset, name: Split) -> npt.NDArray[np.bool_]:
    """Return which of the 10,000 test digits of MNIST have no label error.

    Raises:
        UsageError: the digits are others, whose label errors are not known.
    """
    import numpy as np

    from digitcli.data.mnist import DIGEST

    if dataset.test is None or dataset.digest != DIGEST or name != "test":
        cause = "The label errors of --without-label-errors are known for the test digits of mnist only."
        raise UsageError(cause, "Leave it out, or leave --data and --split out.")
    correct = np.ones(len(dataset.test), np.bool_)
    correct[list(MNIST_LABEL_ERRORS)] = False
    return correct


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

    `digits` are a part of `dataset`. The result is None if none is found but the training digits of a model
    are not known.
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
