"""Folds keep groups together, are of similar size, and follow from the seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitcli.adaptation.folds import divide_into_folds


@given(
    groups=st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=2, max_size=40),
    folds=st.integers(2, 7),
    seed=st.integers(0, 99),
)
def test_no_group_is_divided_and_no_fold_is_empty(groups: list[str | None], folds: int, seed: int) -> None:
    divided = divide_into_folds(groups, folds, seed)
    distinct = len({group for group in groups if group is not None}) + groups.count(None)
    assert divided.groups == distinct
    assert divided.divides_group == (distinct == 1)
    assert divided.count == min(folds, len(groups) if distinct == 1 else distinct)
    assert set(divided.numbers) == set(range(divided.count))
    assert sorted(index for fold in range(divided.count) for index in divided.held_out(fold)) == list(
        range(len(groups))
    )
    if distinct > 1:
        pairs = {(group, number) for group, number in zip(groups, divided.numbers, strict=True) if group}
        assert len(pairs) == len({group for group in groups if group})


def test_folds_without_groups_are_of_equal_size() -> None:
    sizes = Counter(divide_into_folds([None] * 50, 5, seed=0).numbers)
    assert set(sizes.values()) == {10}


def test_the_largest_group_does_not_share_its_fold_with_others_while_there_are_smaller_folds() -> None:
    divided = divide_into_folds(["a"] * 6 + ["b", "c", "d"], 2, seed=1)
    assert set(divided.held_out(divided.numbers[0])) == set(range(6))


def test_the_seed_decides() -> None:
    first, again, other = (divide_into_folds([None] * 30, 5, seed).numbers for seed in (0, 0, 1))
    assert first == again != other


def test_one_picture_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="1 pictures"):
        divide_into_folds([None], 5, seed=0)
