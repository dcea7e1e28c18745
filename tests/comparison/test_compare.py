"""Comparisons: what is typed, what is trained and kept, and what is said of the differences."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from digitcli.comparison import compare as module
from digitcli.comparison import runs
from digitcli.comparison.compare import Comparison, RunJudged, compare
from digitcli.comparison.runs import folder_of
from digitcli.comparison.saved import Built, ComparedRun, save_comparison
from digitcli.comparison.specification import Contender, contenders, turns
from digitcli.data.dataset import Digits, split
from digitcli.data.loading import load_dataset
from digitcli.errors import DivergedError, InputError, Interrupted, ModelError, OutputError, UsageError
from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE
from digitcli.inference.predictor import load_classifier
from digitcli.training.events import Notice, StepDone
from tests.support.benchmarks import measure_quickly


def test_architectures_variants_and_models_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "cnn").mkdir()  # does not hide the architecture
    plain, changed, shipped = contenders(
        ["cnn", "cnn:augment=off,dropout=0,lr=1e-3", "shipped/cnn"], "mnist", "cpu"
    )
    assert plain.config is not None and plain.config.recipe == {}
    assert changed.config is not None
    assert changed.config.recipe == {"augment": False, "dropout": 0, "lr": 1e-3}
    assert shipped.config is None and shipped.model == "cnn"
    timed = contenders(["fast:time=2s,schedule=cosine"], "mnist", "cpu")[0].config
    assert timed is not None and (timed.time_seconds, timed.recipe) == (2.0, {"schedule": "cosine"})
    assert {"cnn", "softmax"} <= {one.label for one in contenders(["all"], "mnist", "cpu")}


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["cmm"], "no architecture named 'cmm'"),
        (["cnn:epoch=3"], "no setting 'epoch'"),
        (["cnn:epochs"], "'epochs' is no setting"),
        (["cnn:lr=-1"], "--lr"),
        (["cnn:augment=maybe"], "--augment"),
        (["cnn:seed=3"], "--seed cannot be chosen"),
        (["cnn:patience=3"], "--patience cannot be chosen"),
        (["cnn:batch-size=3,batch_size=4"], "batch_size twice"),
        (["digit_or_none:epochs=1"], "'digit_or_none' is a shipped model"),
        (["digit_or_none", "shipped/digit_or_none"], "named twice"),
        (["reader"], "reads lines"),
        (["shipped/reader"], "reads lines"),
        (["cnn", "cnn"], "named twice"),
        ([], "Nothing is named"),
        (["sigmoid_mlp:dropout=0.1"], "has no dropout"),
        (["softmax:"], "names no setting"),
        (["softmax:epochs=1,epochs=2"], "epochs twice"),
        (["softmax", "cnn:pretrained=on"], "no pretrained weights"),
        (["torchvision/resnet18:pretrained=on,initialization=he"], "not pretrained"),
        (["fast:augment=off,elastic=1"], "augmentation"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(specs: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        contenders(specs, "mnist", "cpu")
    with pytest.raises(ModelError):
        contenders(["shipped/none"], "mnist", "cpu")
    with pytest.raises(ModelError, match="none.safetensors"):
        contenders(["none.safetensors"], "mnist", "cpu")


def small(data: Path, out: Path, *specs: str, seeds: int = 2, **options: object) -> Comparison:
    named = specs or ("softmax:epochs=1", "softmax:epochs=8")
    return compare(named, seeds=seeds, data=str(data), device="cpu", out=out, **options)  # type: ignore[arg-type]


def test_every_contender_is_trained_once_a_seed_and_what_is_finished_is_kept(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[RunJudged] = []
    first = small(few_digits, tmp_path, on_compared=told.append)
    assert [(event.label[-1], event.run.seed, event.kept) for event in told] == [
        ("1", 0, False), ("8", 0, False), ("1", 1, False), ("8", 1, False),
    ]  # fmt: skip
    assert [event.done for event in told] == [1, 2, 3, 4] and {event.total for event in told} == {4}
    with monkeypatch.context() as patch:
        patch.setattr(runs, "load_classifier", None)  # the run says which digits it misreads
        again = small(few_digits, tmp_path, on_compared=told.append)
    assert all(event.kept for event in told[4:])
    assert [model.runs for model in again.models] == [model.runs for model in first.models]
    assert again.differences == first.differences
    small(few_digits, tmp_path, seeds=3, on_compared=told.append)
    assert [event.kept for event in told[8:]] == [True] * 4 + [False] * 2


def test_the_figures_are_those_of_the_runs(few_digits: Path, tmp_path: Path) -> None:
    result = small(few_digits, tmp_path)
    for model in result.models:
        accuracies = [run.accuracy for run in model.runs]
        assert model.accuracy == pytest.approx(np.mean(accuracies))
        assert model.deviation == pytest.approx(np.std(accuracies, ddof=1))
        assert model.low <= model.accuracy <= model.high and model.parameters == 7850
    better = result.models[1]
    assert result.best == better.label and better.accuracy > result.models[0].accuracy
    (difference,) = result.differences
    assert difference.difference == pytest.approx(better.accuracy - result.models[0].accuracy)
    assert 0 < len(result.missed) < 0.3 * result.images
    assert set(result.record()) >= {"models", "winner", "missed"} and "labels" not in result.record()
    assert [row["label"] for row in result.rows()] == [model.label for model in result.models]


def test_two_runs_of_the_same_recipe_have_no_winner(few_digits: Path, tmp_path: Path) -> None:
    result = small(few_digits, tmp_path, "softmax:epochs=3", "softmax:epochs=3,warmup=0.1")
    assert result.winner is None and result.differences[0].is_chance


def test_what_is_surely_better_wins(few_digits: Path, tmp_path: Path) -> None:
    result = small(few_digits, tmp_path, "softmax:epochs=10,lr=0.01", "softmax:epochs=1,lr=1e-6", seeds=3)
    assert result.winner == "softmax:epochs=10,lr=0.01"


def test_shipped_models_and_runs_are_judged_once(few_digits: Path, tmp_path: Path) -> None:
    small(few_digits, tmp_path, "softmax:epochs=1", seeds=1)
    (run,) = tmp_path.iterdir()
    result = small(few_digits, tmp_path, "shipped/fast", "shipped/cnn", str(run))
    assert [len(model.runs) for model in result.models] == [1, 1, 1]
    assert result.models[0].accuracy > 0.95 and result.models[2].accuracy < result.models[0].accuracy
    assert result.differences[0].low is None


def test_an_interrupted_comparison_goes_on(few_digits: Path, tmp_path: Path) -> None:
    steps = 0

    def stop_signal() -> int | None:
        nonlocal steps
        steps += 1
        return 2 if steps == 12 else None

    with pytest.raises(Interrupted) as stopped:
        small(few_digits, tmp_path / "cut", stop_signal=stop_signal)
    assert stopped.value.remedy == "The same command goes on."
    assert stopped.value.cause.startswith("softmax:epochs=8, seed 0: Stopped after")
    assert (
        (small(few_digits, tmp_path / "cut").rows()[1]["accuracy"])
        == (small(few_digits, tmp_path / "whole").rows()[1]["accuracy"])
    )


def test_a_run_by_another_recipe_is_not_taken_for_this_one(few_digits: Path, tmp_path: Path) -> None:
    small(few_digits, tmp_path, "softmax:epochs=1", seeds=1)
    (run,) = tmp_path.iterdir()
    shutil.move(run, tmp_path / "softmax_epochs=2-0")
    with pytest.raises(UsageError, match="another recipe"):
        small(few_digits, tmp_path, "softmax:epochs=3", "softmax:epochs=2", seeds=1)
    assert len(list(tmp_path.iterdir())) == 1  # it is told before anything is trained


def test_a_run_on_other_digits_is_not_taken_for_this_one(
    few_digits: Path, other_digits: Path, tmp_path: Path
) -> None:
    small(few_digits, tmp_path, "softmax:epochs=1", seeds=1)
    with pytest.raises(UsageError, match="other digits"):
        small(other_digits, tmp_path, "softmax:epochs=1", seeds=1)


def test_a_model_without_the_state_to_go_on_from_is_not_replaced(few_digits: Path, tmp_path: Path) -> None:
    small(few_digits, tmp_path, "softmax:epochs=1", seeds=1)
    (run,) = tmp_path.iterdir()
    (run / RESUME_FILE).unlink()
    before = (run / MODEL_FILE).read_bytes()
    with pytest.raises(OutputError):
        small(few_digits, tmp_path, "softmax:epochs=1", seeds=1)
    assert (run / MODEL_FILE).read_bytes() == before


@pytest.mark.parametrize(
    "spec",
    [
        "torchvision/resnet81",
        "fast:normalization=instance",
        "convmixer:normalization=instance",
        "softmax:loss=ctc",
        "mlp:batch_size=1",
        "softmax:cuda_graphs=on",
    ],
)
def test_what_cannot_be_built_is_told_before_anything_is_trained(
    few_digits: Path, tmp_path: Path, spec: str
) -> None:
    with pytest.raises(UsageError):
        small(few_digits, tmp_path, "softmax:epochs=1", spec)
    assert not list(tmp_path.iterdir())


def test_a_long_label_makes_a_folder_of_its_own(few_digits: Path, tmp_path: Path) -> None:
    settings = "epochs=1,affine=on,stroke_width=on,augment=on,initialization=orthogonal,schedule=constant"
    long = f"softmax:{settings},weight_decay=0.000001,warmup=0.01,label_smoothing=0.0001,"
    long += "max_grad_norm=1000,ema_decay=0.1"
    result = small(few_digits, tmp_path, f"{long},lr=0.01", f"{long},lr=0.02", seeds=1)
    folders = [folder.name for folder in tmp_path.iterdir()]
    assert len(folders) == 2 and max(map(len, folders)) < 200
    assert len({model.label for model in result.models}) == 2


def test_labels_that_a_file_system_cannot_tell_apart_have_folders_of_their_own(
    tmp_path: Path,
) -> None:
    conditions: Any = SimpleNamespace(out=tmp_path)
    labels = [f"softmax:synthetic=0.3,fonts={name}" for name in ("日.ttf", "本.ttf", "a.ttf", "A.ttf")]
    labels += ["softmax:lr=0.01", "torchvision/resnet18"]
    folders = [folder_of(Contender(label), 0, conditions).name for label in labels]
    assert len({name.lower() for name in folders}) == 6
    assert folders[4:] == ["softmax_lr=0.01-0", "torchvision_resnet18-0"]


def test_a_folder_that_cannot_be_looked_into_is_an_output_error(few_digits: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        small(few_digits, Path("x" * 300), "softmax:epochs=1")


def test_digits_that_a_model_was_trained_on_are_told(other_digits: Path, tmp_path: Path) -> None:
    events: list[object] = []
    small(other_digits, tmp_path, "shipped/fast", "shipped/cnn", on_event=events.append)
    told = [event.message for event in events if isinstance(event, Notice)]
    assert len(told) == 2 and all("were in the training of" in message for message in told)


def test_the_interval_of_a_mean_stays_within_what_an_accuracy_can_be(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "mean_interval", lambda accuracies: (-0.3, 1.4))
    (model,) = small(few_digits, tmp_path, "softmax:epochs=1").models
    assert (model.low, model.high) == (0.0, 1.0)


@pytest.fixture(scope="module")
def compared(few_digits: Path, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two runs of each of two recipes, and a model as it is."""
    with pytest.MonkeyPatch.context() as patch:
        measure_quickly(patch, digits)
        folder = tmp_path_factory.mktemp("runs")
        return small(few_digits, folder, "softmax:epochs=1", "softmax:epochs=8", "shipped/fast")


@pytest.fixture
def saved(compared: Comparison, tmp_path: Path) -> tuple[Path, Comparison]:
    save_comparison(tmp_path / "two.json", compared)
    return tmp_path / "two.json", compared


def test_what_is_saved_is_compared_again_without_its_runs(
    saved: tuple[Path, Comparison], few_digits: Path, tmp_path: Path
) -> None:
    path, first = saved
    told: list[RunJudged] = []
    again = small(few_digits, tmp_path / "new", str(path), seeds=5, on_compared=told.append)
    assert told == [] and not (tmp_path / "new").exists()
    for one, other in zip(first.models, again.models, strict=True):
        assert replace(one, latency_ms=0.0) == replace(other, latency_ms=0.0)
    assert (again.differences, again.missed) == (first.differences, first.missed)


def test_saved_runs_of_what_is_named_are_not_made_again(
    saved: tuple[Path, Comparison], few_digits: Path, tmp_path: Path
) -> None:
    told: list[RunJudged] = []
    specs = (str(saved[0]), "softmax:epochs=8", "shipped/fast")
    result = small(few_digits, tmp_path / "new", *specs, seeds=3, on_compared=told.append)
    assert [(event.label, event.run.seed, event.done, event.total) for event in told] == [
        ("softmax:epochs=8", 2, 1, 2), ("shipped/fast", None, 2, 2),
    ]  # fmt: skip
    assert {model.label: len(model.runs) for model in result.models} == {
        "softmax:epochs=8": 3, "softmax:epochs=1": 2, "shipped/fast": 1,
    }  # fmt: skip


def test_of_more_saved_seeds_those_that_are_asked_for_count(
    saved: tuple[Path, Comparison], few_digits: Path, tmp_path: Path
) -> None:
    result = small(few_digits, tmp_path / "new", str(saved[0]), "softmax:epochs=8", seeds=1)
    assert {model.label: len(model.runs) for model in result.models} == {
        "softmax:epochs=8": 1, "softmax:epochs=1": 2, "shipped/fast": 1,
    }  # fmt: skip


def test_files_are_joined_and_a_run_that_both_hold_counts_once(
    saved: tuple[Path, Comparison], few_digits: Path, tmp_path: Path
) -> None:
    text = saved[0].read_text()
    other = tmp_path / "other.JSON"
    other.write_text(text.replace('"seed": 0', '"seed": 7').replace('"seed": 1', '"seed": 8'))
    softmax, _, fast = contenders([str(saved[0]), str(other)], str(few_digits), "cpu")
    assert softmax.saved is not None and [run.seed for run in softmax.saved.runs] == [0, 1, 7, 8]
    assert fast.saved is not None and [run.seed for run in fast.saved.runs] == [None]
    named = contenders([str(saved[0]), str(other), "softmax:epochs=1"], str(few_digits), "cpu")[0]
    assert [seed for _, seed in turns([named], 4)] == [2, 3]
    with pytest.raises(UsageError, match="seed 0 misreads"):
        other.write_text(re.sub(r'"misread": .\d+, ', '"misread": [', text, count=1))
        contenders([str(saved[0]), str(other)], "mnist", "cpu")
    with pytest.raises(UsageError, match="differently trained"):
        other.write_text(text.replace('"epochs": 1,', '"epochs": 2,'))
        contenders([str(saved[0]), str(other)], "mnist", "cpu")


def test_the_validation_digits_may_judge(few_digits: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    by_test = small(few_digits, runs, "softmax:epochs=8", seeds=1)
    told: list[RunJudged] = []
    result = small(few_digits, runs, "softmax:epochs=8", seeds=1, split="validation", on_compared=told.append)
    assert [event.kept for event in told] == [True]
    digits = split(load_dataset(str(few_digits))).validation
    classifier = load_classifier(result.models[0].runs[0].model, device="cpu")
    answers = classifier.logits(digits.images).argmax(axis=-1)
    assert result.models[0].runs[0].misread == tuple(np.flatnonzero(answers != digits.labels).tolist())
    assert (result.split, result.images) == ("validation", len(digits)) != (by_test.split, by_test.images)
    assert result.labels.tolist() == digits.labels.tolist()

    path = tmp_path / "chosen.json"
    save_comparison(path, result)
    again = small(few_digits, tmp_path / "new", str(path), split="validation")
    assert again.models[0].runs == result.models[0].runs
    with pytest.raises(UsageError, match="judged by the validation digits"):
        small(few_digits, tmp_path / "new", str(path))
    path.write_text(path.read_text().replace('"validation"', '"training"'))
    with pytest.raises(InputError, match="no part of a dataset"):
        small(few_digits, tmp_path / "new", str(path))


def test_saved_runs_from_before_a_setting_there_is_now_still_count(
    saved: tuple[Path, Comparison], few_digits: Path, tmp_path: Path
) -> None:
    text = saved[0].read_text().replace('"mixup": 0.0, ', "").replace('"split": "test", ', "")
    saved[0].write_text(text)
    told: list[RunJudged] = []
    small(few_digits, tmp_path, str(saved[0]), "softmax:epochs=8", on_compared=told.append)
    assert told == []


def test_saved_runs_by_another_recipe_or_on_other_digits_are_refused(
    saved: tuple[Path, Comparison], few_digits: Path, other_digits: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="which are not those of"):
        small(other_digits, tmp_path, str(saved[0]))
    text = saved[0].read_text()
    saved[0].write_text(re.sub(r'"images": \d+', '"images": 9999', text))
    with pytest.raises(UsageError, match="which are not those of"):
        small(few_digits, tmp_path, str(saved[0]))
    for old, new in [('"epochs": 8,', '"epochs": 9,'), ('"epochs": 8,', '"epochen": 8,')]:
        saved[0].write_text(text.replace(old, new))
        with pytest.raises(UsageError, match="another recipe"):
            small(few_digits, tmp_path, str(saved[0]), "softmax:epochs=8")
    saved[0].write_text(text.replace('"fonts": null', '"fonts": "0123"'))
    with pytest.raises(UsageError, match="other fonts"):
        small(few_digits, tmp_path, str(saved[0]), "softmax:epochs=8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"architecture": "fast", "arguments": {}', '"architecture": "resnet", "arguments": {"width": "x"}'),
        ('"architecture": "fast"', '"architecture": "reader"'),
    ],
)
def test_what_a_saved_comparison_says_of_no_network_is_told(
    saved: tuple[Path, Comparison], few_digits: Path, tmp_path: Path, old: str, new: str
) -> None:
    assert old in saved[0].read_text()
    saved[0].write_text(saved[0].read_text().replace(old, new))
    with pytest.raises(InputError, match="shipped/fast in a saved comparison"):
        small(few_digits, tmp_path, str(saved[0]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"schema"', "{"),
        ('{"schema": 1', '{"schema": 99'),
        ('"models": [', '"models": [], "others": ['),
        ('"images": ', '"images": 0, "others": '),
        ('"misread": [', '"misread": [1.0, '),
        ('{"schema"', "[" * 100_000 + '{"schema"'),
        ('"images": ', '"pictures": '),
        ('"misread": [', '"misread": [-1, '),
        ('"misread": [', '"misread": [0, 0, '),
        ('"seed": 1', '"seed": 0'),
        ('"built": {"architecture"', '"built": {"architektur"'),
        ('"arguments": {}', '"arguments": []'),
        ('"label": "softmax:epochs=1"', '"label": 5'),
        ('"seed": 1', '"seed": "one"'),
    ],
)
def test_a_file_that_is_no_saved_comparison_is_refused(
    saved: tuple[Path, Comparison], old: str, new: str
) -> None:
    path, _ = saved
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match="is no saved comparison"):
        contenders([str(path)], "mnist", "cpu")
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        contenders([str(path)], "mnist", "cpu")


def test_progress_comes_from_within_a_run(few_digits: Path, tmp_path: Path) -> None:
    events: list[object] = []
    small(few_digits, tmp_path, "softmax:epochs=1", seeds=1, on_event=events.append)
    assert any(isinstance(event, StepDone) for event in events)
    with pytest.raises(UsageError, match="--seeds"):
        small(few_digits, tmp_path, seeds=0)


def test_one_of_which_a_run_diverges_is_left_out(few_digits: Path, tmp_path: Path) -> None:
    events: list[object] = []
    wild = "mlp:epochs=2,optimizer=sgd,lr=1e30"
    result = small(few_digits, tmp_path, wild, "softmax:epochs=1", on_event=events.append)
    assert [model.label for model in result.models] == ["softmax:epochs=1"] and result.diverged == (wild,)
    told = [event.message for event in events if isinstance(event, Notice)]
    assert sum(message.startswith(f"{wild}, seed 0: ") for message in told) == 1
    with pytest.raises(DivergedError, match="not finite"):
        small(few_digits, tmp_path, wild)


def masks(*misread: set[int]) -> list[npt.NDArray[np.bool_]]:
    """Which of twelve images runs read rightly."""
    return [~np.isin(np.arange(12), list(each)) for each in misread]


def test_what_is_chance_for_every_pair_of_runs_is_chance_together() -> None:
    one, other = masks({0}), masks(set(range(6)), set(range(1, 7)))
    pairs = [module._typical_p(one, [each]) for each in other]
    assert pairs == [0.0625, 0.125] and module._typical_p(one, other) == 0.09375
    assert module._typical_p(one, one) == 1.0


def test_the_best_of_many_equal_ones_is_seldom_taken_for_better() -> None:
    """Which one is tested against the others is chosen by the same images."""
    generator, wrong = np.random.default_rng(0), 0
    for _ in range(60):
        right = {name: [generator.random(400) < 0.9] for name in "abcdefgh"}
        models = [with_accuracy(name, float(each[0].mean())) for name, each in right.items()]
        best = max(models, key=lambda model: model.accuracy)
        wrong += any(each.p < 0.05 for each in module._differences(best, models, right))
    assert wrong <= 3  # one in twenty; with the pairs of the best alone it would be 5


def with_accuracy(label: str, *accuracies: float) -> module.ComparedModel:
    """A model of which nothing else is known."""
    runs = tuple(ComparedRun("", accuracy, ()) for accuracy in accuracies)
    mean = float(np.mean(accuracies))
    deviation = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    return module.ComparedModel(
        label, 1, 1, mean, deviation, mean, mean, None, 1.0, runs, Built("fast", {}, {})
    )


def test_runs_that_do_not_differ_say_nothing_of_other_seeds() -> None:
    interval = module._interval_of_difference
    assert interval(with_accuracy("a", 0.99, 0.99), with_accuracy("b", 0.98, 0.98)) == (None, None)
    assert interval(with_accuracy("a", 0.99), with_accuracy("b", 0.97, 0.98)) == (None, None)
    low, high = interval(with_accuracy("a", 0.9, 0.9, 0.9), with_accuracy("b", 0.7, 0.7, 0.899))
    assert low is not None and high is not None and low < 0 < high  # though one of them does not vary
    low, high = interval(with_accuracy("a", 0.99, 0.991), with_accuracy("b", 0.97, 0.98))
    assert low is not None and high is not None and low < 0.0155 < high


def test_a_difference_is_chance_unless_images_and_seeds_agree() -> None:
    def difference(low: float | None, p: float) -> module.Difference:
        return module.Difference("other", 0.01, low, None if low is None else 0.02, p)

    assert difference(-0.001, 0.01).is_chance and difference(0.001, 0.2).is_chance
    assert not difference(0.001, 0.01).is_chance and not difference(None, 0.01).is_chance
