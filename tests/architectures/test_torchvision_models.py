from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from digitcli.architectures import torchvision_models
from digitcli.architectures.registry import create_model, is_architecture, resolve_recipe
from digitcli.errors import ModelError, UsageError
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.inference.torch_runtime import load_model


@pytest.mark.parametrize(("name", "side_px"), [("resnet18", 32), ("squeezenet1_1", 32), ("alexnet", 64)])
def test_classifiers_of_torchvision_take_digits(name: str, side_px: int) -> None:
    network = create_model(f"torchvision/{name}").eval()
    enlarge = next(layer for layer in network.modules() if isinstance(layer, torchvision_models.Enlarge))
    assert enlarge.side_px == side_px
    with torch.inference_mode():
        assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    convolution = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    assert convolution.in_channels == 1


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "regnet_y_400mf"])
def test_auxiliary_classifiers_are_left_out(name: str) -> None:
    network = create_model(f"torchvision/{name}").train()
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_a_checkpoint_of_a_torchvision_classifier_is_a_model(tmp_path: Path) -> None:
    network = create_model("torchvision/shufflenet_v2_x0_5").eval()
    header = Header(architecture="torchvision/shufflenet_v2_x0_5")
    write_checkpoint(tmp_path / "model.safetensors", header, network.state_dict())
    images = torch.rand(2, 1, 28, 28)
    again = load_model(str(tmp_path / "model.safetensors"))
    torch.testing.assert_close(again(images), network(images))


def test_an_unknown_classifier_gets_suggestions() -> None:
    assert is_architecture("torchvision/resnet19")
    with pytest.raises(UsageError) as caught:
        create_model("torchvision/resnet19")
    assert "resnet18" in caught.value.remedy
    assert resolve_recipe("torchvision/resnet19").augment  # known without a look at torchvision


@pytest.mark.parametrize("name", ["torch", "io", "build_classifier", "CLASSES", "Normalize", "__class__", ""])
def test_other_names_are_not_taken_for_a_classifier(name: str) -> None:
    with pytest.raises(UsageError, match="torchvision has no classifier"):
        create_model(f"torchvision/{name}")


def test_pretrained_weights_are_summed_over_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    models = torchvision_models._models()
    original = models.get_model("resnet18", weights=None)
    real = models.get_model

    def get_model(name: str, weights: Any = None, **options: Any) -> nn.Module:
        return original if weights is not None else real(name, weights=None)

    monkeypatch.setattr(models, "get_model", get_model)
    expected = original.conv1.weight.sum(dim=1, keepdim=True).clone()
    inner = original.layer1[0].conv1.weight.clone()
    network = create_model("torchvision/resnet18", pretrained=True)
    state = network.state_dict()
    assert torch.equal(state["2.conv1.weight"], expected)
    assert torch.equal(state["2.layer1.0.conv1.weight"], inner)
    assert state["2.fc.weight"].shape == (10, 512)


def test_weights_that_cannot_be_loaded_are_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    models = torchvision_models._models()
    real = models.get_model

    def get_model(name: str, weights: Any = None, **options: Any) -> nn.Module:
        if weights is not None:
            raise OSError("no route to host\nand more")
        network: nn.Module = real(name, weights=None)
        return network

    monkeypatch.setattr(models, "get_model", get_model)
    with pytest.raises(ModelError, match="no route to host") as caught:
        create_model("torchvision/resnet18", pretrained=True)
    assert "resnet18" in caught.value.remedy and ".pth" in caught.value.remedy
