"""A model is examined by its weights, gradients and units."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from digitcli.diagnosis import model as model_examination
from digitcli.diagnosis.model import examine_model, gradient_faults, inactive_units
from digitcli.errors import ModelError
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.ensemble import write_ensemble
from digitcli.inference.model_resolution import resolve_models, shipped_models

IMAGES = torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(50) % 10


def network(activation: type[nn.Module], depth: int, gain: float = 1.0) -> nn.Sequential:
    torch.manual_seed(1)
    layers: list[nn.Module] = [nn.Flatten()]
    width = 784
    for _ in range(depth):
        layer = nn.Linear(width, 30)
        with torch.no_grad():
            layer.weight *= gain
        layers += [layer, activation()]
        width = 30
    return nn.Sequential(*layers, nn.Linear(width, 10))


def gradient_rules(model: nn.Module) -> list[str]:
    loss = nn.functional.cross_entropy(model(IMAGES), LABELS)
    return [finding.rule for finding in gradient_faults(model, loss)]


def test_gradients_vanish_in_a_deep_network_of_sigmoids() -> None:
    assert gradient_rules(network(nn.Sigmoid, 8)) == ["vanishing_gradients"]


def test_gradients_explode_in_a_deep_network_with_large_weights() -> None:
    assert gradient_rules(network(nn.Identity, 8, gain=20.0)) == ["exploding_gradients"]


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh, nn.ReLU])
def test_a_healthy_network_has_neither(activation: type[nn.Module]) -> None:
    model = network(activation, 2)
    assert gradient_rules(model) == []
    assert all(parameter.grad is None for parameter in model.parameters())
    assert list(inactive_units(model, IMAGES)) == []


def test_dead_units_of_a_layer_are_found() -> None:
    model = network(nn.ReLU, 2)
    with torch.no_grad():
        model[1].bias[:20] = -1000.0
    (finding,) = inactive_units(model, IMAGES)
    assert finding.rule == "dead_units" and "layer 2 (ReLU), 67 %" in finding.evidence


def test_dead_channels_of_a_convolution_are_found() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias[:3] = -1000.0
        model[0].bias[3] = 1.0
    (finding,) = inactive_units(model, IMAGES)
    assert "75 %" in finding.evidence


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh])
def test_saturated_units_are_found(activation: type[nn.Module]) -> None:
    findings = list(inactive_units(network(activation, 1, gain=1000.0), IMAGES))
    assert [finding.rule for finding in findings] == ["saturated_units"]


def test_a_layer_that_is_used_twice_counts_each_time() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activation = nn.ReLU6(inplace=True)

        def forward(self, images: Tensor) -> Tensor:
            pixels = images.flatten(1)
            dead = self.activation(pixels - 2)
            return self.activation(pixels) + dead

    (finding,) = inactive_units(Twice(), IMAGES)
    assert finding.rule == "dead_units" and "layer activation (ReLU6), 100 %" in finding.evidence


def test_a_unit_that_answers_to_one_image_of_many_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_examination, "BATCH_SIZE", 7)
    model = nn.Sequential(nn.Flatten(), nn.ReLU())
    images = torch.zeros(50, 1, 2, 2)
    images[30, 0, :, 0] = 1.0
    (finding,) = inactive_units(model, images)
    assert "50 % of the units are zero for all of 50 digits" in finding.evidence
    images[3, 0, 0, 1] = 1.0
    assert list(inactive_units(model, images)) == []


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
