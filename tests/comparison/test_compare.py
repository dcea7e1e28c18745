"""The runs that a comparison trains, and the conclusions that it draws from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from digitcli.comparison import compare as module
from digitcli.comparison import runs
from digitcli.comparison.compare import ComparedModel, Comparison, RunEvaluated
from digitcli.comparison.specification import ComparedRun
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.errors import DivergedError, Interrupted, UsageError
from digitcli.evaluation.metrics import wilson_interval
from digitcli.events import Notice, StepDone
from digitcli.inference.checkpoint import read_header
from tests.support.comparisons import compare_quickly, model_with


def evaluated(events: list[object]) -> list[RunEvaluated]:
    return [event for event in events if isinstance(event, RunEvaluated)]


def test_every_architecture_is_trained_once_a_seed_and_finished_runs_are_reused(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[object] = []
    first = compare_quickly(few_digits, tmp_path, on_event=events.append)
    assert [(event.label[-1], event.run.seed, event.reused) for event in evaluated(events)] == [
        ("1", 0, False), ("8", 0, False), ("1", 1, False), ("8", 1, False),
    ]  # fmt: skip
    assert [(event.done, event.total) for event in evaluated(events)] == [(done, 4) for done in (1, 2, 3, 4)]
    assert any(isinstance(event, StepDone) for event in events)
    events.clear()
    with monkeypatch.context() as patch:
        patch.setattr(runs, "load_classifier", None)  # a run stores which digits it misreads
        again = compare_quickly(few_digits, tmp_path, on_event=events.append)
    assert all(event.reused for event in evaluated(events))
    assert [model.runs for model in again.models] == [model.runs for model in first.models]
    assert [model.p for model in again.models] == [model.p for model in first.models]
    events.clear()
    compare_quickly(few_digits, tmp_path, seeds=3, on_event=events.append)
    assert [event.reused for event in evaluated(events)] == [True] * 4 + [False] * 2
    with pytest.raises(UsageError, match="--seeds"):
        compare_quickly(few_digits, tmp_path, seeds=0)


def test_the_figures_follow_from_the_runs(compared: Comparison) -> None:
    worse, better, shipped = compared.models
    for model in (worse, better):
        accuracies = [run.accuracy for run in model.runs]
        assert model.accuracy == pytest.approx(np.mean(accuracies))
        assert model.deviation == pytest.approx(np.std(accuracies, ddof=1))
        assert model.low <= model.accuracy <= model.high and model.parameters == 7850
        assert model.behind == pytest.approx(shipped.accuracy - model.accuracy) and model.behind > 0
    assert compared.best == shipped.label and shipped.behind is None and shipped.p is None
    assert worse.accuracy < better.accuracy and 0 <= len(compared.missed) < 0.3 * compared.images
    record = compared.record()
    assert "labels" not in record and "misread" not in record["models"][0]["runs"][0]
    assert [row["label"] for row in compared.rows()] == [model.label for model in compared.models]
    assert compared.rows()[0]["runs"] == 2 and compared.rows()[0]["behind"] == worse.behind


def test_nearly_equal_recipes_have_no_winner_and_a_clearly_better_one_wins(
    few_digits: Path, tmp_path: Path
) -> None:
    result = compare_quickly(few_digits, tmp_path, "softmax:epochs=3", "softmax:epochs=3,warmup=0.1001")
    assert result.winner is None and any(model.may_equal_best for model in result.models)
    better, worse = "softmax:epochs=10,lr=0.01", "softmax:epochs=1,lr=1e-6"
    assert compare_quickly(few_digits, tmp_path, better, worse, seeds=3).winner == better


def test_an_interrupted_comparison_continues(few_digits: Path, tmp_path: Path) -> None:
    steps = 0

    def stop_signal() -> int | None:
        nonlocal steps
        steps += 1
        return 2 if steps == 12 else None

    with pytest.raises(Interrupted) as stopped:
        compare_quickly(few_digits, tmp_path / "cut", stop_signal=stop_signal)
    assert stopped.value.cause.startswith("softmax:epochs=8, seed 0: ")
    assert "same command" in stopped.value.remedy
    cut, whole = (compare_quickly(few_digits, tmp_path / name) for name in ("cut", "whole"))
    assert [model.accuracy for model in cut.models] == [model.accuracy for model in whole.models]


def test_the_interval_of_a_mean_stays_between_0_and_1_and_is_over_images_without_spread(
    compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = compared.to_saved()[0]
    alike = tuple(replace(saved.runs[0], seed=seed) for seed in (0, 1))
    model = module._summarize_model(saved.label, saved.definition, alike, saved.images, "cpu")
    expected = wilson_interval(saved.images - len(saved.runs[0].misread), saved.images)
    assert model.deviation == 0 and (model.low, model.high) == expected
    monkeypatch.setattr(module, "mean_interval", lambda accuracies: (-0.3, 1.4))
    model = module._summarize_model(saved.label, saved.definition, saved.runs, saved.images, "cpu")
    assert (model.low, model.high) == (0.0, 1.0)


def test_a_model_that_diverges_is_left_out(few_digits: Path, tmp_path: Path) -> None:
    events: list[object] = []
    wild = "mlp:epochs=2,optimizer=sgd,lr=1e30"
    result = compare_quickly(few_digits, tmp_path, wild, "softmax:epochs=1", on_event=events.append)
    assert [model.label for model in result.models] == ["softmax:epochs=1"] and result.diverged == (wild,)
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert sum(message.startswith(f"{wild}, seed 0: ") for message in notices) == 1
    with pytest.raises(DivergedError):
        compare_quickly(few_digits, tmp_path, wild)


def model_that_misreads(label: str, *misread: set[int], images: int = 12) -> ComparedModel:
    """A model with a run for each set of images that it misreads."""
    runs = tuple(ComparedRun("", 1 - len(each) / images, tuple(sorted(each))) for each in misread)
    return model_with(label, *(run.accuracy for run in runs), runs=runs)


def test_a_difference_that_no_pair_of_runs_shows_is_not_significant() -> None:
    first, misread = model_that_misreads("a", {0}), (set(range(6)), set(range(1, 7)))
    pairs = [module._typical_p(first, model_that_misreads("b", each)) for each in misread]
    assert pairs == [0.0625, 0.125]
    assert module._typical_p(first, model_that_misreads("b", *misread)) == 0.09375
    assert module._typical_p(first, first) == 1.0


def test_the_best_of_many_equal_models_is_seldom_called_better() -> None:
    """The same images decide which model is best and test it, so many models give false winners."""
    generator, wrong = np.random.default_rng(0), 0
    for _ in range(60):
        models = [
            model_that_misreads(name, set(np.flatnonzero(generator.random(400) >= 0.9).tolist()), images=400)
            for name in "abcdefgh"
        ]
        best = max(models, key=lambda model: model.accuracy)
        compared = module._add_differences(models, best)
        wrong += any(model.p is not None and model.p < 0.05 for model in compared)
    assert wrong <= 3  # 5 % of 60; a correction for the pairs of the best alone would give 5


def test_an_interval_over_seeds_needs_several_runs_that_differ() -> None:
    interval = module._interval_over_seeds
    assert interval(model_with("a", 0.99, 0.99), model_with("b", 0.98, 0.98)) == (None, None)
    assert interval(model_with("a", 0.99), model_with("b", 0.97, 0.98)) == (None, None)
    low, high = interval(model_with("a", 0.9, 0.9, 0.9), model_with("b", 0.7, 0.7, 0.899))
    assert low is not None and high is not None and low < 0 < high  # though the runs of one do not differ
    low, high = interval(model_with("a", 0.99, 0.991), model_with("b", 0.97, 0.98))
    assert low is not None and high is not None and low < 0.0155 < high


def test_a_difference_is_real_only_if_images_and_seeds_agree() -> None:
    def model(low: float | None, p: float | None) -> ComparedModel:
        return model_with("cnn", 0.9, behind=0.01, behind_low=low, behind_high=0.02, p=p)

    assert model(-0.001, 0.01).may_equal_best and model(0.001, 0.2).may_equal_best
    assert not model(0.001, 0.01).may_equal_best and not model(None, 0.01).may_equal_best
    assert not model_with("the best", 0.9).may_equal_best


def test_the_conclusion_names_the_nearest_rivals_first() -> None:
    best, *rivals = (model_with(name, 0.99 - 0.01 * rank) for rank, name in enumerate("abcdef"))
    models = (*(replace(rival, behind=0.01, p=1.0) for rival in reversed(rivals)), best)
    result = Comparison("mnist", "", "test", 100, models, "a", None, (), (), 0, np.zeros(0, np.int64))
    assert "between a and b, c, d and 2 more may be chance: p is not below 0.05." in result.conclusion()


def test_the_conclusion_says_which_condition_failed() -> None:
    for p, low, said in (
        (
            1e-7,
            -0.001,
            "chance: the interval of the difference over seeds includes 0. Run more seeds: --seeds ",
        ),
        (0.2, 0.001, "chance: p is not below 0.05."),
        (0.2, -0.001, "p is not below 0.05 and the interval"),
    ):
        models = model_with("a", 0.99), model_with("b", 0.98, behind=0.01, behind_low=low, p=p)
        result = Comparison("mnist", "", "test", 100, models, "a", None, (), (), 0, np.zeros(0, np.int64))
        assert said in result.conclusion()


def test_models_with_corrections_are_compared_on_the_same_digits_and_reused(
    few_digits: Path, tmp_path: Path
) -> None:
    indices = split(load_dataset(str(few_digits))).train_indices[:40]
    rows = "".join(f"{index},\n" for index in indices)
    (tmp_path / "c.csv").write_text(f"index,label\n{rows}")
    specifications = ("softmax:epochs=1", f"softmax:epochs=1,corrections={tmp_path / 'c.csv'}")
    first = compare_quickly(few_digits, tmp_path / "runs", *specifications)
    for model in first.models:
        for run in model.runs:
            assert read_header(Path(run.model) / "model.safetensors").metrics["test_accuracy"] == run.accuracy
    again = compare_quickly(few_digits, tmp_path / "runs", *specifications)
    assert [model.runs for model in again.models] == [model.runs for model in first.models]
    (tmp_path / "c.csv").write_text("index,label\n")
    with pytest.raises(UsageError, match="corrections"):
        compare_quickly(few_digits, tmp_path / "runs", *specifications)
