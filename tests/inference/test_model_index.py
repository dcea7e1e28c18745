"""The list of architectures and shipped models, and the description of one of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from digitcli.architectures.registry import architectures, create_model
from digitcli.errors import ModelError
from digitcli.inference import model_index
from digitcli.inference.checkpoint import MODEL_FILE, Header, read_header, write_checkpoint
from digitcli.inference.model_index import describe_model, list_models, open_or_create
from digitcli.inference.model_resolution import shipped_models
from tests.support.models import saved


def ship(monkeypatch: pytest.MonkeyPatch, **paths: Path) -> None:
    """Pretend that these models are shipped and all others are not."""
    monkeypatch.setattr(model_index, "shipped_models", lambda: paths)


def keep_architectures(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Pretend that there are only these architectures, because a summary of all takes seconds."""
    table = {name: architectures()[name] for name in names}
    monkeypatch.setattr(model_index, "architectures", lambda: table)


def test_the_list_begins_with_the_architectures_in_their_order_and_ends_with_other_shipped_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep_architectures(monkeypatch, "softmax", "fast", "lenet1")
    shipped = shipped_models()
    ship(monkeypatch, **{name: shipped[name] for name in ("digit_or_none", "fast")})
    names = ["softmax", "fast", "lenet1", "digit_or_none"]
    assert [row.name for row in list_models()] == names
    assert [row.shipped for row in list_models()] == [False, True, False, True]


def test_the_row_of_a_shipped_model_has_the_figures_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model has fewer parameters than its architecture has by default."""
    path = tmp_path / "small.safetensors"
    header = Header(architecture="mlp", arguments={"hidden": 8, "depth": 1}, metrics={"test_accuracy": 0.75})
    network = create_model("mlp", hidden=8, depth=1)
    write_checkpoint(path, header, network.state_dict())
    ship(monkeypatch, small=path)
    (row,) = list_models(shipped_only=True)
    assert (row.name, row.family, row.task, row.shipped) == ("small", "perceptron", "digit", True)
    assert row.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert row.macs == 784 * 8 + 8 * 10
    assert (row.size_bytes, row.accuracy) == (path.stat().st_size, 0.75)


def test_the_row_of_an_architecture_without_weights_has_the_size_of_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ship(monkeypatch)
    keep_architectures(monkeypatch, "softmax")
    (softmax,) = list_models()
    assert (softmax.parameters, softmax.size_bytes) == (7_850, 4 * 7_850)
    assert not softmax.shipped and softmax.accuracy is None
    assert list_models(shipped_only=True) == []


def test_a_damaged_shipped_model_is_a_model_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"no checkpoint")
    ship(monkeypatch, broken=path)
    with pytest.raises(ModelError, match=r"broken\.safetensors"):
        list_models(shipped_only=True)


def test_a_run_folder_is_described_by_its_checkpoint_and_an_architecture_has_none(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    saved(folder / MODEL_FILE, temperature=2.0)
    described = describe_model(str(folder))
    assert described.header == read_header(folder / MODEL_FILE)
    assert described.summary.parameters == 7_850 and "softmax regression" in described.description
    described = describe_model("sigmoid_mlp")
    assert described.header is None and described.name == "sigmoid_mlp"
    assert [layer.kind for layer in described.summary.layers][-1] == "Linear"


def test_a_shipped_name_opens_its_weights_and_another_architecture_gets_new_ones() -> None:
    trained, model = open_or_create("fast")
    again, _ = open_or_create("fast")
    assert model is not None and model.name == "fast" and not trained.training
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), again.parameters(), strict=True))
    assert open_or_create("softmax")[1] is None


def test_an_unknown_name_is_a_model_error_that_suggests_architectures_and_shipped_models() -> None:
    names = (("lenet55", "lenet5"), ("digit_or_nome", "digit_or_none"), ("none.safetensors", ""), ("", ""))
    for name, nearest in names:
        with pytest.raises(ModelError, match=f"'{name}'") as caught:
            describe_model(name)
        assert caught.value.remedy and nearest in caught.value.remedy
