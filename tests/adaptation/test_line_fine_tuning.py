"""A line network is fine-tuned in memory, on varied lines; folds do not divide groups."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from digitcli.adaptation import line_fine_tuning
from digitcli.adaptation.adapt import copied_weights, divide_into_folds
from digitcli.adaptation.adaptation import FineTuning
from digitcli.adaptation.line_fine_tuning import trained_epochs
from digitcli.data.dataset import Digits
from digitcli.evaluation.metrics import line_nll
from digitcli.inference.model_resolution import resolve_model
from digitcli.synthesis.scenes import scene_composer
from digitcli.synthesis.strips import LabelledStrip
from digitcli.training.line_task import line_logits
from digitcli.training.synthetic_strips import compose_strips


@pytest.fixture(scope="module")
def lines(digits: Digits) -> list[LabelledStrip]:
    return compose_strips(scene_composer(digits, "train"), np.random.default_rng(0), 24)


def test_wrong_labels_are_learned_and_equal_seeds_give_equal_weights(
    lines: list[LabelledStrip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_fine_tuning, "LEAST_STEPS", 2)
    monkeypatch.setattr(line_fine_tuning, "MOST_STEPS", 2)
    start, device = resolve_model("reader"), torch.device("cpu")
    swapped = [
        LabelledStrip.without_boxes(
            line.image, line.text.translate(str.maketrans("0123456789", "1234567890"))
        )
        for line in lines
    ]
    texts = [line.digits for line in swapped]
    weights = []
    for seed in (0, 0, 1):
        tuning = FineTuning(epochs=2, seed=seed)
        losses = []
        for network in trained_epochs(start, swapped, lines, tuning, device):
            losses.append(float(line_nll(line_logits(network, swapped), texts, start.header.alphabet).mean()))
        weights.append(copied_weights(network))
        assert losses[1] < losses[0]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["classes.weight"], weights[2]["classes.weight"])


def test_an_epoch_is_a_pass_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_fine_tuning, "LEAST_STEPS", 5)
    monkeypatch.setattr(line_fine_tuning, "MOST_STEPS", 9)
    counts = (10, 16 * 7, 16 * 7 + 1, 10_000)
    assert [line_fine_tuning.steps_of_epoch(count) for count in counts] == [5, 7, 8, 9]


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
    assert set(divided.numbers) == set(range(divided.count)) and len(divided.numbers) == len(groups)
    if distinct > 1:
        pairs = {(group, number) for group, number in zip(groups, divided.numbers, strict=True) if group}
        assert len(pairs) == len({group for group in groups if group})


def test_folds_are_of_similar_size_and_the_seed_decides() -> None:
    assert set(Counter(divide_into_folds([None] * 50, 5, seed=0).numbers).values()) == {10}
    numbers = divide_into_folds(["a"] * 6 + ["b", "c", "d"], 2, seed=1).numbers
    assert [index for index, number in enumerate(numbers) if number == numbers[0]] == [*range(6)]
    first, again, other = (divide_into_folds([None] * 30, 5, seed).numbers for seed in (0, 0, 1))
    assert first == again != other
