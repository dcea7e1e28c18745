from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from digitcli.comparison.compare import Comparison, RunEvaluated
from digitcli.comparison.saved_comparison import ComparedRun, ModelDefinition, SavedModel, read_comparison
from digitcli.errors import InputError, UsageError
from tests.support.comparisons import compare_quickly


def test_a_saved_comparison_is_read_as_it_was(compared: Comparison, saved: Path) -> None:
    assert read_comparison(saved) == tuple(compared.to_saved())


def test_a_saved_comparison_gives_the_same_figures_without_training(
    compared: Comparison, saved: Path, few_digits: Path, tmp_path: Path
) -> None:
    events: list[object] = []
    again = compare_quickly(few_digits, tmp_path / "new", str(saved), seeds=5, on_event=events.append)
    assert events == [] and not (tmp_path / "new").exists()
    for before, after in zip(compared.models, again.models, strict=True):
        assert replace(before, latency_ms=0.0) == replace(after, latency_ms=0.0)
    assert (again.winner, again.missed) == (compared.winner, compared.missed)


def test_saved_runs_of_a_named_architecture_are_not_trained_again(
    saved: Path, few_digits: Path, tmp_path: Path
) -> None:
    events: list[object] = []
    named = (str(saved), "softmax:epochs=8", "shipped/fast")
    result = compare_quickly(few_digits, tmp_path / "new", *named, seeds=3, on_event=events.append)
    evaluated = [event for event in events if isinstance(event, RunEvaluated)]
    assert [(event.label, event.run.seed, event.done, event.total) for event in evaluated] == [
        ("softmax:epochs=8", 2, 1, 2), ("shipped/fast", None, 2, 2),
    ]  # fmt: skip
    assert {model.label: len(model.runs) for model in result.models} == {
        "softmax:epochs=8": 3, "softmax:epochs=1": 2, "shipped/fast": 1,
    }  # fmt: skip


def test_only_the_wanted_seeds_of_a_named_architecture_count(
    saved: Path, few_digits: Path, tmp_path: Path
) -> None:
    result = compare_quickly(few_digits, tmp_path / "new", str(saved), "softmax:epochs=8", seeds=1)
    assert {model.label: len(model.runs) for model in result.models} == {
        "softmax:epochs=8": 1, "softmax:epochs=1": 2, "shipped/fast": 1,
    }  # fmt: skip


def test_saved_runs_without_a_newer_setting_still_count(
    saved: Path, few_digits: Path, tmp_path: Path
) -> None:
    saved.write_text(saved.read_text().replace('"mixup": 0.0, ', ""))
    events: list[object] = []
    compare_quickly(few_digits, tmp_path, str(saved), "softmax:epochs=8", on_event=events.append)
    assert events == []


def test_saved_runs_with_another_recipe_or_on_other_digits_are_refused(
    saved: Path, few_digits: Path, other_digits: Path, tmp_path: Path
) -> None:
    whole = saved.read_text()
    for old, new in [
        ('"epochs": 8,', '"epochs": 9,'),
        ('"epochs": 8,', '"epoch": 8,'),
        ('"fonts": null', '"fonts": "0123"'),
        (r'"images": \d+', '"images": 9999'),
        ('"split": "test"', '"split": "validation"'),
    ]:
        text = re.sub(old, new, whole)
        if "images" in old:
            text = re.sub(r'"accuracy": [\d.]+, "misread": \[[^]]*\]', '"accuracy": 1.0, "misread": []', text)
        saved.write_text(text)
        with pytest.raises(UsageError, match="The saved runs of"):
            compare_quickly(few_digits, tmp_path, str(saved), "softmax:epochs=8")
    saved.write_text(whole)
    with pytest.raises(UsageError, match="other digits"):
        compare_quickly(other_digits, tmp_path, str(saved))


def test_a_saved_model_that_cannot_be_built_is_an_input_error(
    saved: Path, few_digits: Path, tmp_path: Path
) -> None:
    whole, fast = saved.read_text(), '"architecture": "fast"'
    for old, new in [
        (f'{fast}, "arguments": {{}}', '"architecture": "resnet", "arguments": {"width": "x"}'),
        (fast, '"architecture": "reader"'),
    ]:
        assert old in whole
        saved.write_text(whole.replace(old, new))
        with pytest.raises(InputError, match="shipped/fast"):
            compare_quickly(few_digits, tmp_path, str(saved))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"schema"', "{"),
        ('{"schema": 1', '{"schema": 99'),
        ('"models": [', '"models": [], "others": ['),
        ('"split": "test"', '"split": "training"'),
        ('"images": ', '"images": 0, "others": '),
        ('"images": ', '"pictures": '),
        ('"misread": [', '"misread": [1.0, '),
        ('"misread": [', '"misread": [-1, '),
        ('"misread": [', '"misread": [99999, '),
        ('"misread": [', '"misread": [0, 0, '),
        ('"accuracy": 0', '"accuracy": 1'),
        ('"seed": 1', '"seed": 0'),
        ('"seed": 1', '"seed": "one"'),
        ('"definition": {"architecture"', '"definition": {"architektur"'),
        ('"arguments": {}', '"arguments": []'),
        ('"label": "softmax:epochs=1"', '"label": 5'),
    ],
)
def test_a_file_that_is_no_saved_comparison_is_an_input_error(saved: Path, old: str, new: str) -> None:
    assert old in saved.read_text()
    saved.write_text(saved.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=r"saved\.json is not a saved comparison"):
        read_comparison(saved)


def without_errors(images: int) -> SavedModel:
    """Return a model that reads all its images correctly."""
    run = ComparedRun("cnn", 1.0, ())
    return SavedModel("cnn", ModelDefinition("cnn", {}, {}), "mnist", "", "test", images, (run,))


@pytest.mark.parametrize("images", [0, -1])
def test_an_evaluation_without_images_is_no_saved_comparison(saved: Path, images: int) -> None:
    with pytest.raises(ValueError, match=f"{images} images"):
        without_errors(images)
    text = re.sub(r'"images": \d+', f'"images": {images}', saved.read_text())
    saved.write_text(re.sub(r'"misread": \[[^]]*\]', '"misread": []', text))
    with pytest.raises(InputError, match=r"saved\.json is not a saved comparison"):
        read_comparison(saved)


def test_a_large_number_of_images_takes_no_memory() -> None:
    assert without_errors(300_000_000_000).images == 300_000_000_000
