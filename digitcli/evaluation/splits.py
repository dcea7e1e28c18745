"""Choose the digits of a dataset on which a model is evaluated. Loads no torch, and NumPy only when used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from digitcli.errors import InputError, UsageError
from digitcli.inference.checkpoint import Header

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


def groups_of_split(dataset: Dataset, name: Split) -> tuple[str, ...]:
    """Return the group of each digit of a split, "" for one without a group; nothing if none has a group."""
    if not dataset.test_groups or name not in ("test", "all"):
        return ()
    ungrouped = len(dataset.train) if name == "all" else 0
    return ("",) * ungrouped + dataset.test_groups


def correctly_labelled(dataset: Dataset, name: Split) -> npt.NDArray[np.bool_]:
    """Return which of the 10,000 test digits of MNIST have no label error.

    Raises:
        UsageError: the digits are not the test digits of MNIST, so their label errors are not known.
    """
    import numpy as np

    from digitcli.data.mnist import DIGEST

    if dataset.test is None or dataset.digest != DIGEST or name != "test":
        cause = "The label errors of --without-label-errors are known for the test digits of mnist only."
        raise UsageError(cause, "Leave it out, or leave --data and --split out.")
    correct = np.ones(len(dataset.test), np.bool_)
    correct[list(MNIST_LABEL_ERRORS)] = False
    return correct
