from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from digitcli.architectures.compression import pack
from digitcli.architectures.registry import create_model
from digitcli.compression.changes import fold, quantize_weights
from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault, ModelError
from digitcli.evaluation.metrics import accuracy, exact_match
from digitcli.inference import torch_runtime
from digitcli.inference.checkpoint import (
    Header,
    member_headers,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from digitcli.inference.model_resolution import resolve_model, resolve_models, shipped_models
from digitcli.inference.predictor import load_classifier, load_gap_splitter
from digitcli.inference.torch_runtime import infer, infer_lines, load_model, open_network, write_ensemble
from digitcli.synthesis.scenes import scene_composer
from digitcli.training.gap_task import compose_pages
from digitcli.training.line_task import kind_of
from digitcli.training.page_task import compose_squares, f_measure, page_counts
from tests.support.models import saved


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_shipped_weights_are_as_good_as_they_say(digits: Digits, name: str) -> None:
    model = resolve_model(name)
    network, header = open_network(model), model.header
    random, composer = np.random.default_rng(0), scene_composer(digits, "calibrate")
    if header.task == "page":
        squares = compose_squares(composer, random, 24)  # of six, three may show no number
        with torch.inference_mode():
            maps = network(torch.from_numpy(np.stack([inputs for inputs, _ in squares])).float() / 255)
        targets = torch.from_numpy(np.stack([targets for _, targets in squares]))
        assert f_measure(page_counts(maps, targets)) >= header.metrics["test_accuracy"] - 0.1
        return
    if header.task == "gaps":
        splitter = load_gap_splitter(model, "cpu")
        pages = compose_pages(composer, random, 6)
        known = [page.is_split >= 0 for page in pages]
        pairs = [
            (splitter(page.rows[None])[each], page.is_split[each])
            for page, each in zip(pages, known, strict=True)
        ]
        right = np.concatenate([(shares >= 0.5) == is_split for shares, is_split in pairs])
        assert right.mean() >= header.metrics["test_accuracy"] - 0.05
        return
    if header.task == "line":
        strips = kind_of(header.architecture).compose(composer, random, 60)
        answers = [answer.logits for answer in infer_lines(network, [strip.image for strip in strips])]
        match = exact_match(answers, [strip.digits for strip in strips], header.alphabet)
        # the shipped weights were measured on scenes of fewer papers, pens, things and numbers in one row
        assert match >= header.metrics["test_accuracy"] - 0.2
        return
    labels = torch.from_numpy(digits.labels[:500])
    assert accuracy(infer(network, digits.images[:500]), labels) >= header.metrics["test_accuracy"] - 0.01


def test_infer_takes_any_batch_size_and_memory_layout_and_restores_the_mode(digits: Digits) -> None:
    torch.manual_seed(0)
    network = create_model("cnn").train()
    logits = infer(network, digits.images[:50])
    assert logits.shape == (50, 10) and network.training
    torch.testing.assert_close(infer(network, digits.images[:50], batch_size=7), logits, rtol=1e-4, atol=1e-5)
    images = digits.images[:4].copy()
    images.flags.writeable = False
    torch.testing.assert_close(infer(network, images), logits[:4], rtol=1e-4, atol=1e-5)
    turned = infer(network, digits.images[:8][::-1])
    torch.testing.assert_close(turned.flip(0), logits[:8], rtol=1e-4, atol=1e-5)
    assert infer(torch.nn.Flatten(), digits.images[:3]).shape == (3, 784)  # without parameters


def test_an_ensemble_answers_with_the_mean_of_calibrated_probabilities(
    tmp_path: Path, digits: Digits
) -> None:
    first = saved(tmp_path / "a.safetensors", seed=1, temperature=2.0)
    second = saved(tmp_path / "b.safetensors", seed=2)
    images = digits.images[:20]
    together = infer(load_model(str(first), str(second)), images).softmax(-1)
    one, two = infer(load_model(str(first)), images), infer(load_model(str(second)), images)
    torch.testing.assert_close(together, ((one / 2.0).softmax(-1) + two.softmax(-1)) / 2)


def test_what_does_not_fit_its_architecture_is_a_model_error(tmp_path: Path) -> None:
    path, tensors = tmp_path / "model.safetensors", create_model("softmax").state_dict()
    for name, cause in (("lenet5", "does not fit"), ("spikenet", "spikenet")):
        write_checkpoint(path, Header(architecture=name), tensors)
        with pytest.raises(ModelError, match=cause):
            load_model(str(path))
    tensors = create_model("mlp").state_dict()
    meaningless: list[dict[str, object]] = [
        {"hidden": "x"}, {"dropout": 5}, {"name": "x"}, {"hidden": 10**9}, {"hidden": -1}, {"no_such": 1},
    ]  # fmt: skip
    for arguments in meaningless:
        write_checkpoint(path, Header(architecture="mlp", arguments=arguments), tensors)
        with pytest.raises(ModelError):
            load_model(str(path))


def needs_values() -> nn.Module:
    """Build a network as RegNet does: the constructor reads the values of a tensor."""
    width = int(torch.linspace(5, 10, 2)[-1].item())
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width))


def test_a_network_that_the_meta_device_cannot_build_is_opened(
    tmp_path: Path, plugins: Callable[..., None]
) -> None:
    plugins(spikenet=f"{__name__}:needs_values")
    path = saved(tmp_path / "model.safetensors", "spikenet")
    assert load_model(str(path))(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    write_checkpoint(path, Header(architecture="spikenet"), create_model("lenet5").state_dict())
    with pytest.raises(ModelError, match="does not fit"):
        load_model(str(path))


def test_half_precision_on_disk_computes_in_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create_model("softmax")
    half = {name: tensor.half() for name, tensor in network.state_dict().items()}
    write_checkpoint(tmp_path / "half.safetensors", Header(architecture="softmax"), half)
    loaded = load_model(str(tmp_path / "half.safetensors"))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    np.testing.assert_allclose(loaded.state_dict()["2.weight"], half["2.weight"].float())


def test_a_device_that_computes_wrongly_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_runtime, "agrees_with_cpu", lambda network, device, task: False)
    monkeypatch.setattr(torch_runtime, "choose_device", torch.device)
    with pytest.raises(EnvironmentFault, match="MPS"):
        load_model("cnn", device="mps")


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
