"""A model is examined by its weights and units."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from digitcli.diagnosis.model import examine_model
from digitcli.errors import ModelError
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.ensemble import write_ensemble
from digitcli.inference.model_resolution import resolve_models, shipped_models


def test_shipped_models_have_no_findings() -> None:
    for name in ("fast", "digit_or_none", "finder"):
        diagnosis = examine_model(name)
        assert diagnosis.findings == () and diagnosis.facts["identity"].startswith(f"{name}@")


def test_metrics_have_units() -> None:
    facts = examine_model("fast").facts
    units = {
        name: facts[name].split(" ")[-1] for name in facts if name.startswith(("test", "train", "valid"))
    }
    assert units == {
        "validation_accuracy": "%",
        "test_accuracy": "%",
        "test_nll": "nats",
        "test_ece": "%",
        "train_seconds": "s",
    }
    assert facts["test_accuracy"] == "99.61 %" and facts["epochs"] == "20"


def changed(tmp_path: Path, layer: str, value: float) -> Path:
    header, tensors = read_checkpoint(shipped_models()["fast"])
    tensors[layer] = torch.full_like(tensors[layer], value)
    write_checkpoint(tmp_path / "changed.safetensors", header, tensors)
    return tmp_path / "changed.safetensors"


def test_dead_units_are_found(tmp_path: Path) -> None:
    findings = examine_model(changed(tmp_path, "10.bias", -1000.0)).findings
    assert [finding.rule for finding in findings] == ["dead_units"]


def test_weights_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not finite"):
        examine_model(changed(tmp_path, "10.bias", float("nan")))


def test_the_members_of_an_ensemble_are_examined(tmp_path: Path) -> None:
    damaged = changed(tmp_path, "10.bias", -1000.0)
    write_ensemble(tmp_path / "both.safetensors", resolve_models(["fast", damaged]))
    diagnosis = examine_model(tmp_path / "both.safetensors")
    assert diagnosis.facts["members"] == "fast (seed 0), fast (seed 0)"
    (finding,) = diagnosis.findings
    assert "members.1.11" in finding.evidence
