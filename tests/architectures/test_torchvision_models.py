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


@pytest.mark.parametrize(("name", "side_px"), [("squeezenet1_1", 32), ("alexnet", 64)])
def test_classifiers_of_torchvision_take_digits(name: str, side_px: int) -> None:
    network = create_model(f"torchvision/{name}").eval()
    enlarge = next(layer for layer in network.modules() if isinstance(layer, torchvision_models.Enlarge))
    assert enlarge.side_px == side_px
    with torch.inference_mode():
        assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    convolution = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    assert convolution.in_channels == 1


def test_a_checkpoint_of_a_torchvision_classifier_is_a_model(tmp_path: Path) -> None:
    network = create_model("torchvision/shufflenet_v2_x0_5").eval()
    header = Header(architecture="torchvision/shufflenet_v2_x0_5")
    write_checkpoint(tmp_path / "model.safetensors", header, network.state_dict())
    images = torch.rand(2, 1, 28, 28)
    again = load_model(str(tmp_path / "model.safetensors"))
    torch.testing.assert_close(again(images), network(images))


def test_an_unknown_classifier_gets_suggestions() -> None:
    assert is_architecture("torchvision/resnet19")
    assert resolve_recipe("torchvision/resnet19").augment  # known without a look at torchvision
    for name in ("resnet19", "io", "build_classifier", "__class__", ""):
        with pytest.raises(UsageError, match="torchvision has no classifier") as caught:
            create_model(f"torchvision/{name}")
        assert name != "resnet19" or "resnet18" in caught.value.remedy


LOAD = "torchvision.models._api.load_state_dict_from_url"


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_pretrained_weights_are_summed_over_colours(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    models = torchvision_models._models()
    original = models.get_model(
        name, weights=None, **({"init_weights": False} if name == "googlenet" else {})
    )
    calls: list[dict[str, Any]] = []

    def load(url: str, **options: Any) -> dict[str, torch.Tensor]:
        calls.append(options)
        state: dict[str, torch.Tensor] = original.state_dict()
        return state

    monkeypatch.setattr(LOAD, load)
    state = create_model(f"torchvision/{name}", pretrained=True).state_dict()
    first = next(key for key in state if key.endswith("weight"))
    expected = original.state_dict()[first.removeprefix("2.")].sum(dim=1, keepdim=True)
    assert torch.equal(state[first], expected)
    assert state["2.fc.weight"].shape[0] == 10 and not any("aux" in key for key in state)
    assert calls[0]["weights_only"] and all(call["check_hash"] for call in calls)


def test_weights_that_cannot_be_loaded_are_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, **options: Any) -> None:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(LOAD, fail)
    with pytest.raises(ModelError, match="no route to host") as caught:
        create_model("torchvision/resnet18", pretrained=True)
    assert "resnet18" in caught.value.remedy and ".pth" in caught.value.remedy


class Planted:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return open, ("planted", "w")


def test_no_code_in_a_file_of_weights_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = torchvision_models._models().get_model_weights("resnet18").DEFAULT
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    torch.save({"conv1.weight": Planted()}, folder / weights.url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        create_model("torchvision/resnet18", pretrained=True)
    assert not Path("planted").exists()
