"""Answers to corrupted digits, and to pictures that are no digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digitcli.data.mnist_c import CORRUPTIONS, corrupt
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.metrics import accuracy
from digitcli.evaluation.robustness import SIMILAR_CORRUPTIONS, _corruptions_of_training, auroc
from digitcli.events import Event, ThingsDone
from digitcli.inference.predictor import load_classifier
from tests.support.models import as_npz, pointing_digits, pointing_model

MOVES = {"shear", "scale", "rotate", "translate"}


def test_the_robustness_gap_by_hand(tmp_path: Path) -> None:
    """The model answers with the brightest of ten pixels of the first row, which a shift moves away."""
    model = pointing_model(tmp_path / "m.safetensors", recipe={"augment": True, "affine": True})
    digits = pointing_digits([1, 2, 3, 4], [1, 2, 3, 5])
    data, events = as_npz(tmp_path / "set.npz", digits), list[Event]()
    result = evaluate(model, data, device="cpu", robustness=True, on_event=events.append)
    measured, classifier = result.robustness, load_classifier(model, device="cpu")
    assert measured is not None and measured.clean == 0.75
    accuracies = {row.name: row.accuracy for row in measured.corruptions}
    for name in CORRUPTIONS:
        assert accuracies[name] == accuracy(classifier.logits(corrupt(name, digits.images)), digits.labels)
    assert measured.worst == min(accuracies.values()) == accuracies[measured.worst_name] < 0.75
    assert measured.mean == pytest.approx(np.mean(list(accuracies.values())))
    assert measured.gap == pytest.approx(0.75 - measured.mean)
    assert {row.name for row in measured.corruptions if row.trained} == MOVES
    unseen = [value for name, value in accuracies.items() if name not in MOVES]
    assert measured.unseen == pytest.approx(np.mean(unseen))
    assert events[-1] == ThingsDone(4 * 15, 4 * 15)


def test_a_corruption_was_seen_in_training_if_a_setting_is_similar(tmp_path: Path) -> None:
    assert {name for names in SIMILAR_CORRUPTIONS.values() for name in names} == CORRUPTIONS.keys() - {"fog"}
    erasing = {"shot_noise", "impulse_noise", "stripe", "spatter"}
    convolution = {"glass_blur", "motion_blur", "brightness", "canny_edges"}
    blurs = {"glass_blur", "motion_blur", "shot_noise"}
    still = {"augment": True, "affine": False}
    plain = {"augment": False, "synthetic": 0.0, "affine": True}
    synthetic = {"augment": False, "synthetic": 0.5}
    cases: list[tuple[dict[str, Any], dict[str, Any], set[str]]] = [
        (plain, {}, set()),
        ({"augment": True}, {}, MOVES),  # a recipe from before the setting existed
        (synthetic, {}, blurs),  # synthetic characters need no augmentation
        (plain, {"start": {"recipes": [plain, synthetic]}}, blurs),  # learned before
        (still | {"random_erasing": 0.2}, {}, erasing),
        (
            still | {"random_lines": 0.2, "random_convolution": 0.2},
            {},
            {*convolution, "dotted_line", "zigzag"},
        ),
    ]
    for recipe, header, expected in cases:
        model = pointing_model(tmp_path / "m.safetensors", recipe=recipe, **header)
        assert _corruptions_of_training(load_classifier(model, device="cpu")) == expected, (recipe, header)


def test_auroc_counts_pairs() -> None:
    assert auroc([0.9, 0.8], [0.1, 0.2]) == 1.0
    assert auroc([0.1], [0.2]) == 0.0
    assert auroc([0.5, 0.5], [0.5]) == 0.5
    assert auroc([0.9, 0.3], [0.5, 0.3]) == 0.625
    random = np.random.default_rng(0)
    one, two = random.integers(0, 20, 50), random.integers(0, 15, 70)
    assert auroc(one, two) == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a in one for b in two]))


def test_a_model_is_less_confident_in_noise_than_in_digits(few_digits: Path) -> None:
    results = {
        name: evaluate(name, str(few_digits), device="cpu", ood=True).ood for name in ("cnn", "digit_or_none")
    }
    by_name = {row.name: row for row in results["cnn"] or ()}
    assert by_name["noise"].auroc > 0.99 and by_name["noise"].n == by_name["clouds"].n == 1_000
    assert 0.8 < by_name["letters"].auroc < 1
    assert not any(row.trained for row in by_name.values())
    trained = {row.name: row.trained for row in results["digit_or_none"] or ()}
    assert trained == {"noise": False, "clouds": False, "letters": True}
