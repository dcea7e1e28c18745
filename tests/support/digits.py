"""Comparisons of labelled digits."""

from __future__ import annotations

import numpy as np

from digitcli.data.dataset import Digits


def are_equal(actual: Digits | None, expected: Digits) -> bool:
    """Return whether there are digits, with the expected images and labels."""
    return (
        actual is not None
        and np.array_equal(actual.images, expected.images)
        and np.array_equal(actual.labels, expected.labels)
    )
