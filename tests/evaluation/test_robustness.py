from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.robustness import CORRUPTIONS, Corruption, _is_trained_with, corrupt
from digitcli.events import DigitsDone, Event
from digitcli.inference.checkpoint import Header
from tests.support.models import as_npz, pointing_digits, pointing_model

NAMED = {corruption.name: corruption for corruption in CORRUPTIONS}


def test_the_robustness_gap_by_hand(tmp_path: Path) -> None:
    """The model answers with the brightest of ten pixels of the first row, so inversion turns it round."""
    model = pointing_model(
        tmp_path / "m.safetensors", recipe={"augment": True, "affine": True, "stroke_width": False}
    )
    data = as_npz(tmp_path / "set.npz", pointing_digits([1, 2, 3, 4], [1, 2, 3, 5]))
    events: list[Event] = []
    result = evaluate(model, data, device="cpu", robustness=True, on_event=events.append)
    found = result.robustness
    assert found is not None
    accuracies = {row.name: row.accuracy for row in found.corruptions}
    assert found.clean == 0.75
    assert accuracies["inversion"] == 0
    assert found.worst == 0
    assert found.mean == pytest.approx(np.mean(list(accuracies.values())))
    assert found.gap == pytest.approx(0.75 - found.mean)
    trained = {row.name for row in found.corruptions if row.trained}
    assert trained == {"slant", "rotation", "scale", "shift"}
    unseen = [accuracy for name, accuracy in accuracies.items() if name not in trained]
    assert found.unseen == pytest.approx(np.mean(unseen))
    assert events[-1] == DigitsDone(4 * 15, 4 * 15)


def test_training_without_augmentation_resembles_no_corruption(tmp_path: Path) -> None:
    model = pointing_model(tmp_path / "m.safetensors", recipe={"augment": False, "affine": True})
    data = as_npz(tmp_path / "set.npz", pointing_digits([1, 2], [1, 2]))
    found = evaluate(model, data, device="cpu", robustness=True).robustness
    assert found is not None and not any(row.trained for row in found.corruptions)


@pytest.mark.parametrize(
    ("recipe", "like"),
    [
        ({"synthetic": 1.0, "affine": False, "stroke_width": False}, {"blur", "noise"}),
        ({"random_erasing": 0.2, "affine": False, "stroke_width": False}, {"noise", "impulses", "stripes"}),
        (
            {"random_lines": 0.2, "random_convolution": 0.2, "affine": False},
            {"thick", "thin", "lines", "blur", "inversion"},
        ),
    ],
)
def test_augmentation_resembles_some_corruptions(
    tmp_path: Path, recipe: dict[str, object], like: set[str]
) -> None:
    recipe = {"augment": True, "stroke_width": True, **recipe}
    model = pointing_model(tmp_path / "m.safetensors", recipe=recipe)
    data = as_npz(tmp_path / "set.npz", pointing_digits([1, 2], [1, 2]))
    found = evaluate(model, data, device="cpu", robustness=True).robustness
    assert found is not None and {row.name for row in found.corruptions if row.trained} == like


@pytest.mark.parametrize(
    ("recipe", "blur", "slant"),
    [
        ({"augment": False, "synthetic": 0.5, "affine": True}, True, False),
        ({"augment": True, "synthetic": 0.0, "affine": True}, False, True),
    ],
)
def test_synthetic_characters_count_without_augmentation(
    recipe: dict[str, object], blur: bool, slant: bool
) -> None:
    plain = {"augment": False, "synthetic": 0.0, "affine": True}
    fine_tuned = Header(architecture="cnn", recipe=plain, start={"recipes": [plain, recipe]})
    for header in (Header(architecture="cnn", recipe=recipe), fine_tuned):
        classifier: Any = SimpleNamespace(headers=[header])
        assert _is_trained_with(classifier, NAMED["blur"]) is blur
        assert _is_trained_with(classifier, NAMED["slant"]) is slant


NAMED = {corruption.name: corruption for corruption in CORRUPTIONS}


@pytest.fixture(scope="session")
def some(digits: Digits) -> Digits:
    return digits.take(np.arange(200))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_a_corruption_changes_nearly_every_digit_and_is_repeatable(
    corruption: Corruption, some: Digits
) -> None:
    before = some.images.copy()
    changed = corrupt(some.images, corruption)
    assert np.array_equal(some.images, before)
    assert changed.shape == before.shape and changed.dtype == np.uint8
    assert (changed != before).any(axis=(1, 2)).mean() > 0.98
    assert np.array_equal(changed[:10], corrupt(some.images[:10], corruption))


def mean_ink(images: np.ndarray) -> float:
    return float(images.mean() / 255)


def centre(images: np.ndarray) -> np.ndarray:
    """Rows and columns of the centres of mass, (N, 2)."""
    weights = images / images.sum(axis=(1, 2), keepdims=True)
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    return np.stack([(weights * rows).sum(axis=(1, 2)), (weights * columns).sum(axis=(1, 2))], axis=1)


def spread(images: np.ndarray) -> float:
    """Mean over the images of the deviation of ink from its centre, in pixels."""
    weights = images / images.sum(axis=(1, 2), keepdims=True)
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    middle = centre(images)[:, :, None, None]
    squares = (rows - middle[:, 0]) ** 2 + (columns - middle[:, 1]) ** 2
    return float(np.sqrt((weights * squares).sum(axis=(1, 2))).mean())


def test_thick_and_thin_change_the_amount_of_ink(some: Digits) -> None:
    assert mean_ink(corrupt(some.images, NAMED["thick"])) > 1.4 * mean_ink(some.images)
    assert mean_ink(corrupt(some.images, NAMED["thin"])) < 0.9 * mean_ink(some.images)


def test_shift_is_four_pixels_and_scale_two_thirds(some: Digits) -> None:
    small = some.images * (np.indices((28, 28)) % 27 != 0).all(axis=0)
    moved = np.linalg.norm(centre(corrupt(small, NAMED["shift"])) - centre(some.images), axis=1)
    assert np.median(moved) == pytest.approx(4, abs=0.3)
    ratio = spread(corrupt(some.images, NAMED["scale"])) / spread(some.images)
    assert ratio == pytest.approx(0.65, abs=0.03)


@pytest.mark.parametrize("name", ["slant", "rotation"])
def test_both_directions_occur(name: str, some: Digits) -> None:
    """A bar that leans right in half of the pictures, and left in the others."""
    bar = np.zeros((200, 28, 28), np.uint8)
    bar[:, 4:24, 13:15] = 255
    top = corrupt(bar, NAMED[name])[:, 4:9].argmax(axis=2).mean(axis=1)
    assert 60 < (top < 13).sum() < 140


def test_noise_blur_and_stripes_have_their_strength(some: Digits) -> None:
    paper = np.full((50, 28, 28), 128, np.uint8)
    assert corrupt(paper, NAMED["noise"]).std() == pytest.approx(0.25 * 255, rel=0.08)
    hit = corrupt(paper, NAMED["impulses"]) != 128
    assert hit.mean() == pytest.approx(0.12, abs=0.01)
    assert np.abs(np.diff(corrupt(some.images, NAMED["blur"]).astype(int))).max() < 128
    striped = corrupt(some.images, NAMED["stripes"])
    assert np.array_equal(striped[:, :, 5:-5], some.images[:, :, 5:-5])
    assert np.array_equal(striped[:, :, :5], 255 - some.images[:, :, :5])


def test_two_inversions_give_the_image(some: Digits) -> None:
    twice = corrupt(corrupt(some.images, NAMED["inversion"]), NAMED["inversion"])
    assert np.array_equal(twice, some.images)


def test_a_shadow_darkens_half_and_lines_add_ink(some: Digits) -> None:
    paper = np.zeros((50, 28, 28), np.uint8)
    assert (corrupt(paper, NAMED["shadow"]) > 0).mean() == pytest.approx(0.5, abs=0.05)
    lined = corrupt(some.images, NAMED["lines"])
    assert (lined >= some.images).all()
    assert 1.2 < mean_ink(lined) / mean_ink(some.images) < 2.5
