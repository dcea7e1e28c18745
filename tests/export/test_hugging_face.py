"""Hugging Face: a folder whose card the hub understands, and which digitcli itself can load."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from digitcli.data.mnist import DIGEST
from digitcli.export.export import export
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from tests.support.exports import model_of
from tests.support.processes import Run

pytestmark = pytest.mark.usefixtures("on_few_digits")


def test_the_folder_is_a_model_of_digitcli(digitcli: Run) -> None:
    model = model_of("softmax")
    export(model, "hf")
    assert sorted(path.name for path in Path("softmax-hf").iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    assert Path("softmax-hf/model.safetensors").read_bytes() == model.read_bytes()
    config = json.loads(Path("softmax-hf/config.json").read_text())
    assert config["architecture"] == "softmax" and config["checkpoint_sha256"] == resolve_model(model).sha256
    done = digitcli("evaluate", "softmax-hf", "--split", "validation", "--format", "json")
    assert done.returncode == 0, done.stderr


def test_a_card_of_an_unknown_model_claims_no_licence_and_no_data() -> None:
    export(model_of("softmax"), "hf")
    card = Path("softmax-hf/README.md").read_text()
    assert "license:" not in card and "datasets:" not in card and "model-index:" not in card


def test_a_folder_that_is_named_mnist_is_not_mnist(tmp_path: Path) -> None:
    header, tensors = read_checkpoint(model_of("softmax"))
    for digest, is_mnist in (("of a folder", False), (DIGEST, True)):
        described = dataclasses.replace(header, dataset={"name": "mnist", "digest": digest})
        write_checkpoint(tmp_path / "own.safetensors", described, tensors)
        export(tmp_path / "own.safetensors", "hf", tmp_path / str(is_mnist), verify=False)
        assert ("datasets:" in (tmp_path / str(is_mnist) / "README.md").read_text()) == is_mnist
    copied = shutil.copy(resolve_model("finder").path, tmp_path / "copy.safetensors")
    export(copied, "hf", tmp_path / "finder", verify=False)
    card = (tmp_path / "finder/README.md").read_text()
    assert "datasets:" in card and "license:" in card


def test_the_hub_understands_the_metadata_of_a_shipped_model() -> None:
    hub = pytest.importorskip("huggingface_hub")
    export("fast", "hf", Path("fast-hf"))
    card = hub.ModelCard.load("fast-hf/README.md")  # it raises ValueError for wrong results
    (result,) = card.data.eval_results
    assert (result.metric_type, result.dataset_type) == ("accuracy", "ylecun/mnist")
    assert result.metric_value == pytest.approx(
        resolve_model("fast").header.metrics["test_accuracy"], abs=1e-4
    )
    assert (card.data.license, card.data.library_name) == ("mit", "digitcli")
    assert card.data.pipeline_tag == "image-classification" and "digits" in card.data.tags
