from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault, ModelError, UsageError
from digitcli.evaluation.line_metrics import exact_match
from digitcli.evaluation.metrics import accuracy
from digitcli.inference import onnx_runtime, predictor, torch_runtime
from digitcli.inference.checkpoint import Header, shipped_models, write_checkpoint
from digitcli.inference.onnx_runtime import GraphRuntime, graph_of, open_graph
from digitcli.inference.predictor import answer_lines, choose_runtime, load_classifier, load_line_model
from digitcli.inference.torch_runtime import TorchRuntime, infer, load_model, open_model
from digitcli.synthesis.lines import LineSynthesizer
from tests.support.models import saved

RUNTIMES = ("onnxruntime", "torch")


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_shipped_weights_are_as_good_as_they_say(digits: Digits, name: str) -> None:
    network, header = open_model(name)
    if header.task == "line":
        lines = [LineSynthesizer(digits).synthesize_line(np.random.default_rng(seed)) for seed in range(300)]
        answers = [
            answer.logits for answer in answer_lines(TorchRuntime(network), [line.image for line in lines])
        ]
        match = exact_match(answers, [line.digits for line in lines], header.alphabet)
        assert match >= header.metrics["test_accuracy"] - 0.05
        return
    labels = torch.from_numpy(digits.labels[:1000])
    assert accuracy(infer(network, digits.images[:1000]), labels) >= header.metrics["test_accuracy"] - 0.01


def test_shipped_weights_fit_the_budget() -> None:
    assert sum(path.stat().st_size for path in shipped_models().values()) < 30_000_000


def test_logits_do_not_depend_on_the_batch_size(digits: Digits) -> None:
    torch.manual_seed(0)
    network = create_model("cnn")
    logits = infer(network, digits.images[:50])
    assert logits.shape == (50, 10)
    torch.testing.assert_close(infer(network, digits.images[:50], batch_size=7), logits, rtol=1e-4, atol=1e-5)


def test_a_network_is_left_in_the_mode_it_was_in(digits: Digits) -> None:
    network = create_model("mlp").train()
    infer(network, digits.images[:4])
    assert network.training


def test_images_that_cannot_be_written_are_taken(digits: Digits) -> None:
    images = digits.images[:4].copy()
    images.flags.writeable = False
    assert infer(create_model("softmax"), images).shape == (4, 10)


def test_several_models_answer_with_the_mean_of_their_calibrated_probabilities(
    tmp_path: Path, digits: Digits
) -> None:
    first = saved(tmp_path / "a.safetensors", seed=1, temperature=2.0)
    second = saved(tmp_path / "b.safetensors", seed=2)
    images = digits.images[:20]
    together = infer(load_model(str(first), str(second)), images).softmax(-1)
    one, two = infer(load_model(str(first)), images), infer(load_model(str(second)), images)
    torch.testing.assert_close(together, ((one / 2.0).softmax(-1) + two.softmax(-1)) / 2)


def test_weights_of_another_architecture_are_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, Header(architecture="lenet5"), create_model("softmax").state_dict())
    with pytest.raises(ModelError, match="does not fit"):
        load_model(str(path))


def test_a_model_of_an_architecture_that_is_not_installed_is_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, Header(architecture="spikenet"), create_model("softmax").state_dict())
    with pytest.raises(ModelError, match="spikenet"):
        load_model(str(path))


def test_half_precision_on_disk_computes_in_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create_model("softmax")
    half = {name: tensor.half() for name, tensor in network.state_dict().items()}
    write_checkpoint(tmp_path / "half.safetensors", Header(architecture="softmax"), half)
    loaded = load_model(str(tmp_path / "half.safetensors"))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    np.testing.assert_allclose(loaded.state_dict()["2.weight"], half["2.weight"].float())


@pytest.mark.parametrize(
    "arguments",
    [{"hidden": "x"}, {"dropout": 5}, {"name": "x"}, {"hidden": 10**9}, {"hidden": -1}, {"no_such": 1}],
    ids=str,
)
def test_arguments_that_cannot_be_meant_are_a_model_error(
    tmp_path: Path, arguments: dict[str, object]
) -> None:
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, Header(architecture="mlp", arguments=arguments), create_model("mlp").state_dict())
    with pytest.raises(ModelError):
        load_model(str(path))


def test_images_in_any_order_in_memory_are_taken(digits: Digits) -> None:
    network = create_model("softmax")
    turned = infer(network, digits.images[:8][::-1])
    torch.testing.assert_close(turned.flip(0), infer(network, digits.images[:8]))


def test_a_network_without_parameters_answers(digits: Digits) -> None:
    assert infer(torch.nn.Flatten(), digits.images[:3]).shape == (3, 784)


def test_a_device_that_computes_wrongly_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_runtime, "agrees_with_cpu", lambda network, device, task: False)
    monkeypatch.setattr(torch_runtime, "choose_device", torch.device)
    with pytest.raises(EnvironmentFault, match="MPS"):
        load_model("cnn", device="mps")


def test_a_classifier_gives_calibrated_logits_and_says_which_weights_answer(
    tmp_path: Path, digits: Digits
) -> None:
    path = saved(tmp_path / "mine.safetensors", temperature=2.0)
    images = digits.images[:20]
    classifier = load_classifier(str(path), device="cpu")
    expected = infer(load_model(str(path)), images).numpy() / 2
    np.testing.assert_allclose(classifier.logits(images), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(classifier.probabilities(images).sum(axis=1), 1, rtol=1e-5)
    assert re.fullmatch(r"mine@[0-9a-f]{8}", classifier.name)
    assert classifier.logits(images[:0]).shape == (0, 10)


def test_several_classifiers_are_named_and_averaged(tmp_path: Path, digits: Digits) -> None:
    (tmp_path / "run").mkdir()
    one, two = (
        saved(tmp_path / "run" / "model.safetensors", seed=1),
        saved(tmp_path / "b.safetensors", seed=2),
    )
    together = load_classifier(str(tmp_path / "run"), str(two), device="cpu")
    assert re.fullmatch(r"run@[0-9a-f]{8}\+b@[0-9a-f]{8}", together.name)
    images = digits.images[:20]
    expected = (
        load_classifier(str(one), device="cpu").probabilities(images)
        + load_classifier(str(two), device="cpu").probabilities(images)
    ) / 2
    np.testing.assert_allclose(together.probabilities(images), expected, rtol=1e-4, atol=1e-6)


def test_running_out_of_memory_halves_the_batch_for_good(
    monkeypatch: pytest.MonkeyPatch, digits: Digits
) -> None:
    images = digits.images[:100]
    classifier = load_classifier("cnn", device="cpu", batch_size=64)
    expected, sizes = classifier.logits(images), []

    def short_of_memory(runtime: GraphRuntime, images: np.ndarray) -> tuple[np.ndarray, ...]:
        sizes.append(len(images))
        if len(images) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return run(runtime, images)

    run = GraphRuntime.run
    monkeypatch.setattr(GraphRuntime, "run", short_of_memory)
    np.testing.assert_allclose(classifier.logits(images), expected, rtol=1e-4, atol=1e-4)
    assert classifier.batch_size == 16 and sizes == [64, 32, 16, 16, 16, 16, 16, 16, 4]


def test_an_error_that_is_not_memory_is_not_hidden(monkeypatch: pytest.MonkeyPatch, digits: Digits) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("shapes do not fit")

    classifier = load_classifier("cnn", device="cpu")
    monkeypatch.setattr(GraphRuntime, "run", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        classifier.logits(digits.images[:4])


def test_progress_is_told_batch_by_batch(digits: Digits) -> None:
    told: list[int] = []
    load_classifier("cnn", device="cpu", batch_size=4).logits(digits.images[:10], told.append)
    assert told == [4, 8, 10]


def test_a_line_model_is_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lines"):
        load_classifier(str(saved(tmp_path / "line.safetensors", task="line")), device="cpu")
    with pytest.raises(UsageError, match="--batch-size"):
        load_classifier("cnn", batch_size=0)


def test_weights_that_give_no_numbers_are_a_model_error(tmp_path: Path, digits: Digits) -> None:
    tensors = {
        name: torch.full_like(tensor, 3e38) for name, tensor in create_model("softmax").state_dict().items()
    }
    write_checkpoint(tmp_path / "big.safetensors", Header(architecture="softmax"), tensors)
    classifier = load_classifier(str(tmp_path / "big.safetensors"), device="cpu")
    with pytest.raises(ModelError, match="no number"):
        classifier.probabilities(digits.images[:3])


def test_a_model_is_loaded_onto_devices_that_are_there() -> None:
    with pytest.raises(UsageError, match="no device named"):
        load_model("cnn", device="abacus")
    with pytest.raises(EnvironmentFault, match="no device 'cuda:99'"):
        load_model("cnn", device="cuda:99")


def test_a_line_model_has_the_alphabet_of_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "binary.safetensors"
    header = Header(architecture="reader", task="line", alphabet="01")
    write_checkpoint(path, header, create_model("reader", alphabet="01").state_dict())
    (answer,) = load_line_model(str(path), "cpu").answers([np.zeros((40, 64), np.uint8)])
    assert answer.logits.shape == (16, 3)


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_graphs_answer_as_networks_do(name: str, digits: Digits) -> None:
    if open_model(name)[1].task == "line":
        lines = [
            LineSynthesizer(digits).synthesize_line(np.random.default_rng(seed)).image for seed in range(40)
        ]
        lines += [line[:, :width] for line, width in zip(lines, (1, 4, 8, 33), strict=False)]
        answers = [load_line_model(name, "cpu", runtime=runtime).answers(lines) for runtime in RUNTIMES]
        for ours, theirs in zip(*answers, strict=True):
            np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-4)
            assert ours.distances is not None and theirs.distances is not None
            np.testing.assert_allclose(ours.distances, theirs.distances, atol=1e-4)
        return
    ours, theirs = (load_classifier(name, device="cpu", runtime=runtime) for runtime in RUNTIMES)
    assert (ours.runtime, theirs.runtime) == RUNTIMES and ours.name == theirs.name
    images = digits.images[:500]
    np.testing.assert_allclose(ours.logits(images), theirs.logits(images), atol=1e-4)
    assert ours.logits(images[:0]).shape == (0, 10)


def test_every_shipped_model_has_a_graph_without_weights() -> None:
    for name, path in shipped_models().items():
        graph = graph_of(name)
        assert graph is not None
        assert graph.stat().st_size < 0.02 * path.stat().st_size


def test_what_runs_a_model_follows_from_the_device_and_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = str(saved(tmp_path / "fresh.safetensors"))
    monkeypatch.setattr(predictor, "may_have_accelerator", lambda: False)
    assert choose_runtime(["cnn"], "auto") == choose_runtime(["cnn"], "cpu") == "onnxruntime"
    assert choose_runtime(["cnn", fresh], "cpu") == choose_runtime(["cnn"], "cuda") == "torch"
    assert choose_runtime(["cnn"], "cpu", "torch") == "torch"
    monkeypatch.setattr(predictor, "may_have_accelerator", lambda: True)
    for found, runtime in (("cuda:0", "torch"), ("cpu", "onnxruntime")):
        monkeypatch.setattr(predictor, "choose_device", lambda found=found: torch.device(found))
        assert choose_runtime(["cnn"], "auto") == runtime


@pytest.mark.parametrize(
    ("device", "runtime", "error"),
    [
        ("cuda", "onnxruntime", UsageError),
        ("cpu", "tensorflow", UsageError),
        ("abacus", "auto", UsageError),
        ("cpu", "onnxruntime", ModelError),
    ],
)
def test_a_runtime_that_cannot_be_had_is_told(
    tmp_path: Path, device: str, runtime: str, error: type[Exception]
) -> None:
    fresh = str(saved(tmp_path / "fresh.safetensors"))
    with pytest.raises(error) as caught:
        choose_runtime([fresh], device, runtime)
    assert caught.value.remedy


@pytest.mark.parametrize("damage", ["cut", "text", "foreign"])
def test_a_graph_that_does_not_fit_is_a_model_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    cnn = shipped_models()["cnn"]
    monkeypatch.setattr(onnx_runtime, "shipped_models", lambda: {"cnn": tmp_path / "cnn.safetensors"})
    path, graph = tmp_path / "cnn.safetensors", cnn.with_suffix(".onnx").read_bytes()
    shutil.copy(cnn, path)
    if damage == "foreign":
        saved(path, "softmax")
    path.with_suffix(".onnx").write_bytes({"cut": graph[:-100], "text": b"no graph"}.get(damage, graph))
    with pytest.raises(ModelError, match="does not fit"):
        open_graph(str(path))


def test_a_runtime_that_cannot_be_loaded_is_not_laid_on_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentFault, match="cannot be loaded") as caught:
        open_graph("cnn")
    assert "--runtime torch" in caught.value.remedy


def test_weights_are_checked_before_a_graph_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnn = shipped_models()["cnn"]
    monkeypatch.setattr(onnx_runtime, "shipped_models", lambda: {"cnn": tmp_path / "cnn.safetensors"})
    damaged = bytearray(cnn.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "cnn.safetensors").write_bytes(damaged)
    shutil.copy(cnn.with_suffix(".onnx"), tmp_path)
    with pytest.raises(ModelError, match="SHA-256"):
        load_classifier(str(tmp_path / "cnn.safetensors"), device="cpu", runtime="onnxruntime")


def test_what_lies_beside_ones_own_model_is_no_graph_of_it(tmp_path: Path) -> None:
    shutil.copy(shipped_models()["cnn"], tmp_path / "model.safetensors")
    (tmp_path / "model.onnx").write_bytes(b"of another program")
    assert graph_of(str(tmp_path)) is None
    assert load_classifier(str(tmp_path), device="cpu").runtime == "torch"
