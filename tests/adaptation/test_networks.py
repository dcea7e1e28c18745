"""A network learns from few labelled lines."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from digitcli.adaptation import settings
from digitcli.adaptation.cross_validation import copied_weights
from digitcli.adaptation.examples import NO_BOXES
from digitcli.adaptation.networks import trained_epochs
from digitcli.adaptation.settings import FineTuning
from digitcli.adaptation.variation import vary
from digitcli.data.dataset import Digits
from digitcli.evaluation.metrics import line_nll
from digitcli.inference.model_resolution import resolve_model
from digitcli.synthesis.lines import Line, LineSynthesizer
from digitcli.training.line_task import line_logits
from digitcli.training.synthetic_lines import compose


@pytest.fixture(scope="module")
def lines(digits: Digits) -> list[Line]:
    return compose(LineSynthesizer(digits), np.random.default_rng(0), 24)


def test_wrong_labels_are_learned_and_equal_seeds_give_equal_weights(
    lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LEAST_STEPS", 3)
    start, device = resolve_model("reader"), torch.device("cpu")
    swapped = [
        Line(line.image, line.text.translate(str.maketrans("0123456789", "1234567890")), NO_BOXES)
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


@pytest.mark.parametrize(("count", "steps"), [(10, 5), (16 * 7, 7), (10_000, 9)])
def test_an_epoch_is_a_pass_within_limits(count: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "LEAST_STEPS", 5)
    monkeypatch.setattr(settings, "MOST_STEPS", 9)
    assert FineTuning().steps_of_epoch(count) == steps


def test_varied_lines_keep_their_texts_and_enough_columns(lines: list[Line]) -> None:
    narrow = Line(np.zeros((40, 24), np.uint8), "111-", NO_BOXES)
    varied = vary([*lines, narrow], np.random.default_rng(0))
    assert sorted(line.text for line in varied) == sorted(line.text for line in [*lines, narrow])
    widths = [line.image.shape[1] for line in varied]
    assert widths != [line.image.shape[1] for line in lines] and min(widths) >= 24
    assert {line.image.shape[0] for line in varied} == {40}
    images = {line.text: line.image for line in lines}
    assert any(not np.array_equal(line.image, images.get(line.text)) for line in varied)
