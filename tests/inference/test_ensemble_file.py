from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from digitcli.architectures.compression import pack
from digitcli.architectures.registry import create_model
from digitcli.compression.changes import fold, quantize_weights
from digitcli.data.dataset import Digits
from digitcli.errors import ModelError
from digitcli.inference.checkpoint import (
    Header,
    member_headers,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from digitcli.inference.ensemble_file import write_ensemble
from digitcli.inference.model_resolution import resolve_models
from digitcli.inference.predictor import load_classifier
from digitcli.inference.torch_runtime import load_model
from tests.support.models import saved


def written(tmp_path: Path, *models: Path, **options: float) -> Path:
    path = tmp_path / "together.safetensors"
    write_ensemble(path, resolve_models(models), **options)
    return path


def test_the_file_answers_as_its_models_do_together(tmp_path: Path, digits: Digits) -> None:
    one = saved(tmp_path / "a.safetensors", "lenet1", seed=1, temperature=2.0)
    two = saved(tmp_path / "b.safetensors", "softmax", seed=2, temperature=0.5)
    path = written(tmp_path, one, two, temperature=0.8)
    together = load_classifier(one, two, device="cpu", temperature=0.8)
    images = digits.images[:20]
    expected = together.probabilities(images)
    np.testing.assert_allclose(load_classifier(path, device="cpu").probabilities(images), expected, rtol=1e-4)
    uncalibrated = load_classifier(one, two, device="cpu").probabilities(images)
    assert np.abs(uncalibrated - expected).max() > 1e-3


def test_the_header_describes_the_members_by_what_they_share(tmp_path: Path) -> None:
    facts = {"recipe": {"synthetic": 1.0}, "seed": 4, "dataset": {"name": "mnist", "train": 9}}
    models = [saved(tmp_path / f"{name}.safetensors", **facts) for name in "ab"]
    path = written(tmp_path, *models)
    header = read_header(path)
    assert (header.architecture, header.task) == ("ensemble", "digit")
    assert member_headers(header) == tuple(model.header for model in resolve_models(models))
    assert (header.recipe, header.dataset) == (facts["recipe"], facts["dataset"])
    assert load_classifier(path, device="cpu").can_reject
    saved(models[1], recipe={"lr": 2.0}, dataset={"name": "usps", "train": 9})
    header = read_header(written(tmp_path, *models))
    assert (header.recipe, header.dataset) == ({}, {"name": "mnist + usps", "train": 9})
    assert not load_classifier(path, device="cpu").can_reject  # not all members learned to


def test_weights_keep_the_number_format_of_their_files(tmp_path: Path) -> None:
    header, tensors = read_checkpoint(saved(tmp_path / "a.safetensors"))
    short = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    write_checkpoint(tmp_path / "b.safetensors", header, short)
    _, stored = read_checkpoint(written(tmp_path, tmp_path / "a.safetensors", tmp_path / "b.safetensors"))
    assert stored["members.0.2.weight"].dtype == torch.float32
    assert stored["members.1.2.weight"].dtype == torch.bfloat16


def test_a_compressed_model_can_be_a_member(tmp_path: Path, digits: Digits) -> None:
    network = create_model("fast").eval()
    changes = [*fold(network), *quantize_weights(network, 4)]
    small = tmp_path / "small.safetensors"
    header = Header(architecture="fast", arguments={"compression": changes})
    write_checkpoint(small, header, pack(changes, network.state_dict()))
    path = written(tmp_path, small, saved(tmp_path / "b.safetensors"))
    images = digits.images[:20]
    expected = load_classifier(small, tmp_path / "b.safetensors", device="cpu").probabilities(images)
    np.testing.assert_allclose(load_classifier(path, device="cpu").probabilities(images), expected, rtol=1e-4)


def test_an_ensemble_can_be_a_member(tmp_path: Path, digits: Digits) -> None:
    one, two = (saved(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (1, 2))
    inner = written(tmp_path, one, two)
    outer = tmp_path / "outer.safetensors"
    write_ensemble(outer, resolve_models([inner, two]))
    classifier = load_classifier(outer, device="cpu")
    assert [header.architecture for header in classifier.headers] == ["softmax"] * 3
    images = digits.images[:5]
    expected = load_classifier(inner, two, device="cpu").probabilities(images)
    np.testing.assert_allclose(classifier.probabilities(images), expected, rtol=1e-4)


def test_what_cannot_be_a_member_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lines"):
        written(tmp_path, saved(tmp_path / "line.safetensors", task="line"))
    path = written(tmp_path, saved(tmp_path / "a.safetensors"))
    header, tensors = read_checkpoint(path)
    (member,) = header.arguments["members"]
    other: list[dict[str, object]] = [{**member, "architecture": "lenet1"}]
    damaged: tuple[object, ...] = ([{}], [{"architecture": "softmax", "temperature": 0.0}], "ab", 3)
    for members, cause in ((other, "does not fit"), *((each, "damaged header") for each in damaged)):
        changed = dataclasses.replace(header, arguments={"members": members})
        write_checkpoint(path, changed, tensors)
        with pytest.raises(ModelError, match=cause):
            load_model(path)
