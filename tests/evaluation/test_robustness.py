"""Answers to corrupted digits, and to pictures that are no digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digitcli.data.mnist import read_idx
from digitcli.data.mnist_c import CORRUPTIONS, corrupt
from digitcli.evaluation import robustness as module
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.metrics import accuracy
from digitcli.evaluation.robustness import SIMILAR_SETTINGS, auroc, ood_images
from digitcli.events import DigitsDone, Event
from digitcli.inference.predictor import load_classifier
from tests.support.models import as_npz, pointing_digits, pointing_model


def measured(recipe: dict[str, Any], path: Path, **header: Any) -> module.Robustness:
    """Measure a model with a recipe on four digits, of which it reads three."""
    model = pointing_model(path / "m.safetensors", recipe=recipe, **header)
    data = as_npz(path / "set.npz", pointing_digits([1, 2, 3, 4], [1, 2, 3, 5]))
    found = evaluate(model, data, device="cpu", robustness=True).robustness
    assert found is not None
    return found


def test_the_robustness_gap_by_hand(tmp_path: Path) -> None:
    """The model answers with the brightest of ten pixels of the first row, which a shift moves away."""
    model = pointing_model(tmp_path / "m.safetensors", recipe={"augment": True, "affine": True})
    digits = pointing_digits([1, 2, 3, 4], [1, 2, 3, 5])
    events: list[Event] = []
    result = evaluate(
        model, as_npz(tmp_path / "set.npz", digits), device="cpu", robustness=True, on_event=events.append
    )
    found, classifier = result.robustness, load_classifier(model, device="cpu")
    assert found is not None and found.clean == 0.75
    accuracies = {row.name: row.accuracy for row in found.corruptions}
    for name in CORRUPTIONS:
        assert accuracies[name] == accuracy(classifier.logits(corrupt(name, digits.images)), digits.labels)
    assert found.worst == min(accuracies.values()) == accuracies[found.worst_name] < 0.75
    assert found.mean == pytest.approx(np.mean(list(accuracies.values())))
    assert found.gap == pytest.approx(0.75 - found.mean)
    trained = {row.name for row in found.corruptions if row.trained}
    assert trained == {"shear", "scale", "rotate", "translate"}
    unseen = [value for name, value in accuracies.items() if name not in trained]
    assert found.unseen == pytest.approx(np.mean(unseen))
    assert events[-1] == DigitsDone(4 * 15, 4 * 15)


def test_a_corruption_was_seen_in_training_if_a_setting_is_similar(tmp_path: Path) -> None:
    assert SIMILAR_SETTINGS.keys() == CORRUPTIONS.keys() - {"fog"}
    moves = {"shear", "scale", "rotate", "translate"}
    blurs = {"glass_blur", "motion_blur"}
    plain = {"augment": False, "synthetic": 0.0, "affine": True}
    synthetic = {"augment": False, "synthetic": 0.5}
    cases: list[tuple[dict[str, Any], dict[str, Any], set[str]]] = [
        (plain, {}, set()),
        ({"augment": True}, {}, moves),  # a recipe from before the setting existed
        (synthetic, {}, {*blurs, "shot_noise"}),  # synthetic characters need no augmentation
        (plain, {"start": {"recipes": [plain, synthetic]}}, {*blurs, "shot_noise"}),  # learned before
        (
            {"augment": True, "affine": False, "random_erasing": 0.2},
            {},
            {"shot_noise", "impulse_noise", "stripe", "spatter"},
        ),
        (
            {"augment": True, "affine": False, "random_lines": 0.2, "random_convolution": 0.2},
            {},
            {*blurs, "brightness", "canny_edges", "dotted_line", "zigzag"},
        ),
    ]
    for recipe, header, expected in cases:
        rows = measured(recipe, tmp_path, **header).corruptions
        assert {row.name for row in rows if row.trained} == expected, (recipe, header)


def test_auroc_counts_pairs() -> None:
    assert auroc([0.9, 0.8], [0.1, 0.2]) == 1.0
    assert auroc([0.1], [0.2]) == 0.0
    assert auroc([0.5, 0.5], [0.5]) == 0.5
    assert auroc([0.9, 0.3], [0.5, 0.3]) == 0.625
    random = np.random.default_rng(0)
    one, two = random.integers(0, 20, 50), random.integers(0, 15, 70)
    assert auroc(one, two) == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a in one for b in two]))


def test_fashion_mnist_is_used_if_it_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte"
    monkeypatch.setattr(module, "FASHION_MNIST_FILE", path)
    without = ood_images()
    assert list(without) == ["noise", "clouds", "letters"]
    assert all(images.shape[1:] == (28, 28) and images.dtype == np.uint8 for images in without.values())
    images = np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)
    path.write_bytes(b"\0\0\x08\x03" + np.array([3, 28, 28], ">u4").tobytes() + images.tobytes())
    assert np.array_equal(read_idx(path), images)
    again = ood_images()
    assert np.array_equal(again["fashion-mnist"], images)
    assert all(np.array_equal(again[name], without[name]) for name in without)


def test_a_model_is_less_confident_in_noise_than_in_digits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "FASHION_MNIST_FILE", tmp_path / "none.gz")
    results = {name: evaluate(name, device="cpu", ood=True).ood for name in ("cnn", "digit_or_none")}
    by_name = {row.name: row for row in results["cnn"] or ()}
    assert by_name["noise"].auroc > 0.99 and by_name["noise"].n == 1_000
    assert 0.8 < by_name["letters"].auroc < 1
    assert not any(row.trained for row in by_name.values())
    trained = {row.name: row.trained for row in results["digit_or_none"] or ()}
    assert trained == {"noise": False, "clouds": False, "letters": True}
