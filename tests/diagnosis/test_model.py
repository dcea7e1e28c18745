"""A model is examined by its weights and units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from digitcli.diagnosis import run as run_examination
from digitcli.diagnosis.run import dead_units, examine_model
from digitcli.errors import ModelError
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import resolve_models, shipped_models
from digitcli.inference.torch_runtime import write_ensemble

IMAGES = np.random.default_rng(1).integers(0, 256, (50, 28, 28)).astype(np.uint8)


def test_dead_units_are_found_in_layers_that_are_mostly_dead() -> None:
    """A unit of a convolution is a channel, and a layer that is used twice counts each time."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activation = nn.ReLU6(inplace=True)

        def forward(self, images: Tensor) -> Tensor:
            pixels = images.flatten(1)
            dead = self.activation(pixels - 2)
            return self.activation(pixels) + dead

    linear, convolution = nn.Linear(784, 30), nn.Conv2d(1, 4, 3)
    with torch.no_grad():
        linear.bias[:20], linear.bias[20:], convolution.bias[:3] = -1000.0, 1000.0, -1000.0
        convolution.bias[3] = 1.0
    networks = {
        "layer 2 (ReLU), 67 %": nn.Sequential(nn.Flatten(), linear, nn.ReLU()),
        "layer 1 (ReLU), 75 %": nn.Sequential(convolution, nn.ReLU()),
        "layer activation (ReLU6), 100 %": Twice(),
    }
    for evidence, network in networks.items():
        (finding,) = dead_units(network, IMAGES)
        assert finding.rule == "dead_units" and evidence in finding.evidence
    with torch.no_grad():
        linear.bias[6:] = 1000.0
    assert list(dead_units(networks["layer 2 (ReLU), 67 %"], IMAGES)) == []


def test_a_unit_that_answers_to_one_image_of_many_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_examination, "BATCH_SIZE", 7)
    model = nn.Sequential(nn.Flatten(), nn.ReLU())
    images = np.zeros((50, 2, 2), np.uint8)
    images[30, :, 0] = 255
    (finding,) = dead_units(model, images)
    assert "50 % of the units are zero for all of 50 digits" in finding.evidence
    images[3, 0, 1] = 255
    assert list(dead_units(model, images)) == []


def test_shipped_models_have_no_findings() -> None:
    for name in ("digit_or_none", "finder", "fast"):
        diagnosis = examine_model(name)
        assert diagnosis.findings == () and diagnosis.facts["identity"].startswith(f"{name}@")


def changed(tmp_path: Path, layer: str, value: float) -> Path:
    header, tensors = read_checkpoint(shipped_models()["fast"])
    tensors[layer] = torch.full_like(tensors[layer], value)
    write_checkpoint(tmp_path / "changed.safetensors", header, tensors)
    return tmp_path / "changed.safetensors"


def test_dead_units_and_weights_that_are_no_numbers_are_found_also_in_an_ensemble(tmp_path: Path) -> None:
    damaged = changed(tmp_path, "10.bias", -1000.0)
    (finding,) = examine_model(damaged).findings
    assert finding.rule == "dead_units"
    write_ensemble(tmp_path / "both.safetensors", resolve_models(["fast", damaged]))
    diagnosis = examine_model(tmp_path / "both.safetensors")
    assert diagnosis.facts["members"] == "fast (seed 0), fast (seed 0)"
    (finding,) = diagnosis.findings
    assert "members.1.11" in finding.evidence
    with pytest.raises(ModelError, match="not finite"):
        examine_model(changed(tmp_path, "10.bias", float("nan")))
