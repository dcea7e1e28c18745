from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from digitcli.evaluation.corruptions import CORRUPTIONS
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.robustness import _is_trained_with
from digitcli.events import DigitsDone, Event
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
    judged = SimpleNamespace(headers=[SimpleNamespace(recipe=recipe)])
    assert _is_trained_with(judged, NAMED["blur"]) is blur  # type: ignore[arg-type]
    assert _is_trained_with(judged, NAMED["slant"]) is slant  # type: ignore[arg-type]
