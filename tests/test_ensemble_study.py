"""The script that measures what ensembles gain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ensembles import Member, Shifted, measure_group, members_of, table, views_of
from torch import nn

from digitcli.data.dataset import Digits
from digitcli.evaluation.evaluate import evaluate
from digitcli.inference.ensemble_file import write_ensemble
from digitcli.inference.model_resolution import resolve_model, resolve_models
from tests.support.models import as_npz, saved


@pytest.fixture
def parts(digits: Digits) -> tuple[Digits, Digits]:
    """Validation and test digits."""
    return digits.take(np.arange(200)), digits.take(np.arange(200, 500))


def test_a_group_has_the_figures_of_its_members_and_of_their_average(
    parts: tuple[Digits, Digits], tmp_path: Path
) -> None:
    paths = [saved(tmp_path / f"{seed}.safetensors", seed=seed, temperature=2.0) for seed in (0, 1, 2)]
    result = measure_group("seeds", members_of(resolve_models(paths)), *parts)
    data = as_npz(tmp_path / "test.npz", parts[1])
    alone = [evaluate(path, data, split="all", device="cpu") for path in paths]
    assert [member.errors for member in result.members] == [each.wrong for each in alone]
    assert [member.nll for member in result.members] == pytest.approx([each.nll for each in alone], rel=1e-4)
    write_ensemble(tmp_path / "all.safetensors", resolve_models(paths), temperature=result.temperature)
    together = evaluate(tmp_path / "all.safetensors", data, split="all", device="cpu")
    assert (result.ensemble.errors, result.ensemble.accuracy_low) == (together.wrong, together.accuracy_low)
    assert result.ensemble.nll == pytest.approx(together.nll, rel=1e-4)
    assert len(result.correlations) == 3 and result.parameters == 3 * 7850


def test_an_ensemble_counts_as_its_members(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{n}.safetensors", seed=n, metrics={"train_seconds": n}) for n in (1, 2)]
    write_ensemble(tmp_path / "both.safetensors", resolve_models(paths))
    apart = members_of(resolve_models([tmp_path / "both.safetensors"]))
    assert [member.train_seconds for member in apart] == [1, 2]
    assert apart[1].name.startswith("both@") and apart[1].name.endswith("/1")


def test_a_shift_moves_the_digit_onto_empty_paper() -> None:
    images = torch.arange(16.0).reshape(1, 1, 4, 4) + 1
    shifted = Shifted(nn.Identity(), 1, -1)(images)
    assert torch.equal(shifted[0, 0, :3, 1:], images[0, 0, 1:, :3])
    assert shifted[0, 0, 3].sum() == 0 and shifted[0, 0, :, 0].sum() == 0


def test_views_of_a_model_share_its_weights(parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    views = views_of(resolve_model(saved(tmp_path / "a.safetensors", metrics={"train_seconds": 7})))
    result = measure_group("shifts", views, *parts)
    assert (len(result.members), result.parameters, result.train_seconds) == (5, 7850, 7)


def test_repetitions_are_followed_by_their_mean(parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    network = members_of([resolve_model(saved(tmp_path / "a.safetensors"))])[0].network
    groups = [measure_group(name, [Member("a", network, 1.0, None)], *parts) for name in ("x", "y", "x")]
    lines = table(groups)
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| x", "| x", "| x, mean of 2", "| y"]
    assert f"{100 * groups[0].ensemble.accuracy:.3f} ± 0.000" in lines[4]
