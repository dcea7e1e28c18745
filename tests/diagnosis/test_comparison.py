"""A run far from the other seeds and harmful regularization are found, and nothing in healthy comparisons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from digitcli.comparison.saved_comparison import (
    ComparedRun,
    SavedModel,
    accuracy_of,
    read_comparison,
    save_comparison,
)
from digitcli.diagnosis.comparison import examine_comparison

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def rules(path: Path) -> list[str]:
    return [finding.rule for finding in examine_comparison(path).findings]


def model(label: str = "mlp") -> SavedModel:
    (found,) = [each for each in read_comparison(BENCHMARKS / "dropout.json") if each.label == label]
    return found


def with_errors(count: int) -> ComparedRun:
    return ComparedRun("runs/mlp-9", accuracy_of(range(count), 10_000), tuple(range(count)), seed=9)


def test_no_run_of_all_architectures_is_an_outlier() -> None:
    assert rules(BENCHMARKS / "zoo.json") == []


def test_dropout_that_does_harm_is_found() -> None:
    (finding,) = examine_comparison(BENCHMARKS / "dropout.json").findings
    assert finding.rule == "unhelpful_regularization"
    assert "dropout 0.3" in finding.evidence and finding.command == "digitcli train --arch mlp --dropout 0"


def test_runs_that_do_not_vary_prove_nothing(tmp_path: Path) -> None:
    pairs = [(model(), 70), (model("mlp:dropout=0.3"), 90)]
    equal = [
        replace(each, runs=(with_errors(count), replace(with_errors(count), seed=8))) for each, count in pairs
    ]
    save_comparison(tmp_path / "c.json", equal)
    assert rules(tmp_path / "c.json") == []


def test_stochastic_depth_that_may_be_chance_is_not() -> None:
    assert rules(BENCHMARKS / "stochastic_depth.json") == []


@pytest.mark.parametrize("errors, expected", [(73, []), (100, []), (160, ["outlier_seed"])])
def test_a_seed_with_far_more_errors_is_found(errors: int, expected: list[str], tmp_path: Path) -> None:
    saved = replace(model(), runs=(*model().runs, with_errors(errors)))
    save_comparison(tmp_path / "c.json", [saved])
    assert rules(tmp_path / "c.json") == expected


def test_three_seeds_are_too_few_for_an_outlier(tmp_path: Path) -> None:
    save_comparison(tmp_path / "c.json", [replace(model(), runs=(*model().runs[:2], with_errors(5000)))])
    assert rules(tmp_path / "c.json") == []


@pytest.mark.parametrize("change", ["recipe", "teacher"])
def test_two_changes_at_once_prove_nothing(change: str, tmp_path: Path) -> None:
    other = model("mlp:dropout=0.3")
    if change == "recipe":
        changed = replace(other.definition, recipe={**other.definition.recipe, "lr": 1.0})
    else:
        changed = replace(other.definition, teacher=("1a2b3c4d",))
    save_comparison(tmp_path / "c.json", [model(), replace(other, definition=changed)])
    assert rules(tmp_path / "c.json") == []
