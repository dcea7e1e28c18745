"""Divide labelled pictures into folds for cross-validation, without dividing a group. Loads no torch.

Stone, "Cross-validatory choice and assessment of statistical predictions", 1974.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Folds:
    """The fold of each picture, from 0 on.

    numbers: the number of the fold of each picture.
    count: the number of folds.
    groups: the number of groups, where a picture without a group is a group of its own.
    divides_group: whether all pictures are of one group, which had to be divided.
    """

    numbers: tuple[int, ...]
    count: int
    groups: int
    divides_group: bool

    def held_out(self, fold: int) -> list[int]:
        """Return the indices of the pictures of a fold."""
        return [index for index, number in enumerate(self.numbers) if number == fold]


def divide_into_folds(groups: Sequence[str | None], folds: int, seed: int) -> Folds:
    """Divide pictures into folds of similar size; pictures of the same group stay together.

    Each group goes to the fold with the fewest pictures, the largest group first; a seed decides between
    groups of the same size. There are at most as many folds as groups.

    groups: the group of each picture; None for a picture that belongs to none.

    Raises:
        ValueError: there are fewer than two pictures.
    """
    if len(groups) < 2:
        raise ValueError(f"{len(groups)} pictures cannot be divided")
    keys: list[object] = [index if group is None else group for index, group in enumerate(groups)]
    divides_group = len(set(keys)) == 1
    if divides_group:
        keys = list(range(len(groups)))
    sizes = Counter(keys)
    distinct = list(sizes)
    order = [distinct[index] for index in np.random.default_rng(seed).permutation(len(distinct))]
    count = min(folds, len(order))
    pictures_of_fold = [0] * count
    fold_of_group: dict[object, int] = {}
    for group in sorted(order, key=lambda key: -sizes[key]):
        fold = pictures_of_fold.index(min(pictures_of_fold))
        fold_of_group[group] = fold
        pictures_of_fold[fold] += sizes[group]
    number_of_groups = 1 if divides_group else len(distinct)
    return Folds(tuple(fold_of_group[key] for key in keys), count, number_of_groups, divides_group)
