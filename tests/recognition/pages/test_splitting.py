"""The likeliest split of a line into numbers that meet constraints, against all splits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from digitcli.recognition.constraints import Constraints, parse_constraints
from digitcli.recognition.pages.splitting import Split, likeliest_split

NONE = [False] * 9


def by_all_splits(digits: str, separators: list[float], constraints: Constraints) -> Split | None:
    """Try every split, and sum their probabilities."""
    found = {}
    for is_split in itertools.product((False, True), repeat=len(digits) - 1):
        bounds = [0, *(place + 1 for place, splits in enumerate(is_split) if splits), len(digits)]
        numbers = list(itertools.pairwise(bounds))
        if all(constraints.accepts(digits[start:end]) for start, end in numbers):
            pairs = zip(separators, is_split, strict=True)
            demands = [share if splits else 1 - share for share, splits in pairs]
            found[is_split] = math.prod(demands), min(demands, default=1.0), numbers
    if not found:
        return None
    likeliest = max(found, key=lambda is_split: found[is_split][0])
    total = sum(share for share, _, _ in found.values())
    shares = [
        sum(share for share, _, numbers in found.values() if number in numbers) / total
        for number in found[likeliest][2]
    ]
    return Split(list(likeliest), shares, found[likeliest][1])


@pytest.mark.parametrize(
    "constraint", [{"length": "1-3"}, {"values": "0-120"}, {"check_digit": "luhn"}, {"pattern": "1.|[2-9]+"}]
)
def test_the_split_is_the_likeliest_of_all(constraint: dict[str, str]) -> None:
    constraints = parse_constraints(**constraint)  # type: ignore[arg-type]
    assert constraints is not None
    splits = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        digits = "".join(map(str, random.integers(0, 10, int(random.integers(1, 9)))))
        separators = random.random(len(digits) - 1).tolist()
        expected = by_all_splits(digits, separators, constraints)
        found = likeliest_split(digits, separators, [False] * len(separators), constraints)
        if expected is None or found is None:
            assert expected is found
            continue
        splits += any(found.is_split)
        assert found.is_split == expected.is_split
        assert found.shares == pytest.approx(expected.shares)
        assert found.least == pytest.approx(expected.least)
    assert splits


def test_an_operator_always_separates() -> None:
    constraints = Constraints(lengths=(2, 2))
    assert likeliest_split("1234", [0.1, 0.9, 0.1], NONE[:3], constraints) == Split(
        [False, True, False], [pytest.approx(1), pytest.approx(1)], pytest.approx(0.9)
    )
    assert likeliest_split("1234", [0.1, 0.9, 0.1], [True, False, False], constraints) is None


def test_a_line_without_digits_is_not_split() -> None:
    assert likeliest_split("", [], [], Constraints(lengths=(1, 1))) is None


def test_a_long_line_is_split_in_no_time_and_without_underflow_errors() -> None:
    digits = "12345" * 40
    split = likeliest_split(digits, [0.5] * 199, [False] * 199, Constraints(lengths=(5, 5)))
    assert split is not None and sum(split.is_split) == 39
    assert likeliest_split(digits, [1e-9] * 199, [False] * 199, Constraints(lengths=(1, 1))) is None
