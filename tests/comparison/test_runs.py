from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from digitcli.comparison.compare import RunEvaluated
from digitcli.comparison.runs import folder_of
from digitcli.comparison.specification import Specification
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.errors import OutputError, UsageError
from digitcli.events import Notice
from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.predictor import load_classifier
from tests.support.comparisons import compare_quickly
from tests.support.models import saved as saved_model


def test_a_run_that_does_not_fit_is_neither_reused_nor_overwritten(
    few_digits: Path, other_digits: Path, tmp_path: Path
) -> None:
    compare_quickly(few_digits, tmp_path, "softmax:epochs=1", seeds=1)
    (run,) = tmp_path.iterdir()
    with pytest.raises(UsageError, match="other digits"):
        compare_quickly(other_digits, tmp_path, "softmax:epochs=1", seeds=1)
    renamed = shutil.copytree(run, tmp_path / "softmax_epochs=2-0")
    with pytest.raises(UsageError, match="another recipe"):
        compare_quickly(few_digits, tmp_path, "softmax:epochs=3", "softmax:epochs=2", seeds=1)
    assert {*tmp_path.iterdir()} == {run, renamed}  # nothing was trained before the error
    (run / RESUME_FILE).unlink()
    before = (run / MODEL_FILE).read_bytes()
    with pytest.raises(OutputError):
        compare_quickly(few_digits, tmp_path, "softmax:epochs=1", seeds=1)
    assert (run / MODEL_FILE).read_bytes() == before


def test_a_run_with_another_teacher_or_start_model_is_not_reused(few_digits: Path, tmp_path: Path) -> None:
    teachers = [saved_model(tmp_path / f"{name}.safetensors", seed=seed) for seed, name in enumerate("ab")]
    plain, *taught = ["softmax:epochs=1", *(f"softmax:epochs=1,teacher={path}" for path in teachers)]
    out = tmp_path / "runs"
    first = compare_quickly(few_digits, out, plain, taught[0], seeds=1)
    digests = [resolve_model(path).sha256 for path in teachers]
    assert [model.definition.teacher for model in first.models] == [(), (digests[0],)]
    assert first.models[0].runs[0].misread != first.models[1].runs[0].misread
    events: list[object] = []
    again = compare_quickly(few_digits, out, plain, taught[0], seeds=1, on_event=events.append)
    assert [event.reused for event in events if isinstance(event, RunEvaluated)] == [True, True]
    assert [model.runs for model in again.models] == [model.runs for model in first.models]
    with pytest.raises(UsageError, match="another recipe, teacher or start model"):
        teachers[0].write_bytes(teachers[1].read_bytes())
        compare_quickly(few_digits, out, plain, taught[0], seeds=1)
    start = saved_model(tmp_path / "start.safetensors", "softmax")
    tuned = f"softmax:from={start},epochs=1,min_epoch_steps=2"
    runs = [compare_quickly(few_digits, out, tuned, seeds=1).models[0].runs for _ in range(2)]
    assert runs[0] == runs[1]
    saved_model(start, "softmax", seed=1)
    with pytest.raises(UsageError, match="start model"):
        compare_quickly(few_digits, out, tuned, seeds=1)


def test_settings_that_cannot_be_built_are_refused_before_training(few_digits: Path, tmp_path: Path) -> None:
    for spec in (
        "torchvision/resnet81",
        "fast:normalization=instance",
        "convmixer:normalization=instance",
        "mlp:batch_size=1",
    ):
        with pytest.raises(UsageError):
            compare_quickly(few_digits, tmp_path, "softmax:epochs=1", spec)
        assert not list(tmp_path.iterdir()), spec


def test_labels_that_are_long_or_that_a_file_system_cannot_distinguish_have_different_folders(
    tmp_path: Path,
) -> None:
    labels = [f"softmax:synthetic=0.3,fonts={name}" for name in ("日.ttf", "本.ttf", "a.ttf", "A.ttf")]
    labels += [f"softmax:{'x' * 200},lr={lr}" for lr in (0.01, 0.02)]
    labels += ["softmax:lr=0.01", "torchvision/resnet18"]
    folders = [folder_of(Specification(label), 0, tmp_path).name for label in labels]
    assert len({name.lower() for name in folders}) == 8 and max(map(len, folders)) < 200
    assert folders[-2:] == ["softmax_lr=0.01-0", "torchvision_resnet18-0"]


def test_a_folder_that_cannot_be_accessed_is_an_output_error(few_digits: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        compare_quickly(few_digits, Path("x" * 300), "softmax:epochs=1")


def test_shipped_models_and_run_folders_are_evaluated_once(other_digits: Path, tmp_path: Path) -> None:
    """A notice says that a model was trained on the evaluated digits."""
    compare_quickly(other_digits, tmp_path, "softmax:epochs=1", seeds=1)
    (run,) = tmp_path.iterdir()
    events: list[object] = []
    named = ("shipped/fast", "shipped/cnn", str(run))
    result = compare_quickly(other_digits, tmp_path, *named, on_event=events.append)
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert len(notices) == 2 and all("train" in message for message in notices)
    assert [len(model.runs) for model in result.models] == [1, 1, 1]
    assert result.models[0].accuracy > 0.95 and result.models[2].accuracy < result.models[0].accuracy
    assert all(model.behind_low is None for model in result.models)


def test_models_can_be_evaluated_on_the_validation_digits(few_digits: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    by_test = compare_quickly(few_digits, runs, "softmax:epochs=8", seeds=1)
    events: list[object] = []
    result = compare_quickly(
        few_digits, runs, "softmax:epochs=8", seeds=1, split="validation", on_event=events.append
    )
    assert [event.reused for event in events if isinstance(event, RunEvaluated)] == [True]
    digits = split(load_dataset(str(few_digits))).validation
    classifier = load_classifier(result.models[0].runs[0].model, device="cpu")
    answers = classifier.logits(digits.images).argmax(axis=-1)
    assert result.models[0].runs[0].misread == tuple(np.flatnonzero(answers != digits.labels).tolist())
    assert (result.split, result.images) == ("validation", len(digits)) != (by_test.split, by_test.images)
    assert result.labels.tolist() == digits.labels.tolist()
