"""Which digits of a dataset a model is evaluated on. Loads no torch, and NumPy only to do it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from digitcli.errors import InputError
from digitcli.inference.checkpoint import Header

if TYPE_CHECKING:
    from digitcli.data.dataset import Dataset, Digits

Split = Literal["train", "validation", "test", "all"]


def default_split(dataset: Dataset, headers: Iterable[Header]) -> Split:
    """`test` where a test part is there or was held out from a model's training; else `all` is new to it."""
    trained_on_it = any(header.dataset.get("digest") == dataset.digest for header in headers)
    return "test" if dataset.test is not None or trained_on_it else "all"


def take_part(dataset: Dataset, part: Split) -> Digits:
    """The digits of a part as training splits them; `all` are the training digits, then the test digits.

    Raises:
        InputError: too few digits to split.
    """
    import numpy as np

    from digitcli.data.dataset import Digits, split

    if part == "all":
        both = [digits for digits in (dataset.train, dataset.test) if digits is not None]
        return Digits(
            np.concatenate([digits.images for digits in both]),
            np.concatenate([digits.labels for digits in both]),
        )
    if part == "test" and dataset.test is not None:
        return dataset.test
    try:
        splits = split(dataset)
    except InputError as error:
        raise InputError(error.cause, "Take --split all.") from error
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}[part]
