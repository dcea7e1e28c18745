from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.errors import ModelError, UsageError
from digitcli.inference import predictor
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.inference.model_resolution import resolve_models
from digitcli.inference.predictor import choose_runtime, load_classifier, load_line_recognizer
from digitcli.inference.runtime import OnnxRuntime
from digitcli.inference.torch_runtime import infer, load_model
from tests.support.models import saved


def test_a_classifier_gives_calibrated_logits_and_names_its_weights(tmp_path: Path, digits: Digits) -> None:
    path = saved(tmp_path / "mine.safetensors", temperature=2.0)
    images = digits.images[:20]
    classifier = load_classifier(str(path), device="cpu")
    expected = infer(load_model(str(path)), images).numpy() / 2
    np.testing.assert_allclose(classifier.logits(images), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(classifier.probabilities(images).sum(axis=1), 1, rtol=1e-5)
    assert re.fullmatch(r"mine@[0-9a-f]{8}", classifier.name)
    assert classifier.logits(images[:0]).shape == (0, 10)


def test_several_models_are_named_and_averaged(tmp_path: Path, digits: Digits) -> None:
    (tmp_path / "run").mkdir()
    paths = [tmp_path / name for name in ("run/model.safetensors", "b.safetensors", "c.safetensors")]
    models = [saved(path, seed=seed) for seed, path in enumerate(paths)]
    together = load_classifier(tmp_path / "run", *models[1:], device="cpu")
    assert re.fullmatch(r"run@[0-9a-f]{8}\+b@[0-9a-f]{8}\+c@[0-9a-f]{8}", together.name)
    images = digits.images[:20]
    each = [load_classifier(model, device="cpu").probabilities(images) for model in models]
    np.testing.assert_allclose(together.probabilities(images), np.mean(each, axis=0), rtol=1e-4, atol=1e-6)


def test_running_out_of_memory_halves_the_batch_for_good(
    monkeypatch: pytest.MonkeyPatch, digits: Digits
) -> None:
    images = digits.images[:100]
    classifier = load_classifier("cnn", device="cpu", batch_size=64)
    expected, sizes = classifier.logits(images), []

    def short_of_memory(runtime: OnnxRuntime, images: np.ndarray) -> tuple[np.ndarray, ...]:
        sizes.append(len(images))
        if len(images) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return run(runtime, images)

    run = OnnxRuntime.run
    monkeypatch.setattr(OnnxRuntime, "run", short_of_memory)
    np.testing.assert_allclose(classifier.logits(images), expected, rtol=1e-4, atol=1e-4)
    assert classifier.batch_size == 16 and sizes == [64, 32, 16, 16, 16, 16, 16, 16, 4]


def test_another_error_than_a_lack_of_memory_is_raised(
    monkeypatch: pytest.MonkeyPatch, digits: Digits
) -> None:
    told: list[int] = []
    classifier = load_classifier("cnn", device="cpu", batch_size=4)
    classifier.logits(digits.images[:10], told.append)
    assert told == [4, 8, 10]

    def broken(*arguments: object) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(OnnxRuntime, "run", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        classifier.logits(digits.images[:4])


def test_a_line_model_is_no_classifier_and_a_batch_has_an_image(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lines"):
        load_classifier(str(saved(tmp_path / "line.safetensors", task="line")), device="cpu")
    with pytest.raises(UsageError, match="--batch-size"):
        load_classifier("cnn", batch_size=0)


def test_weights_that_give_infinite_logits_are_a_model_error(tmp_path: Path, digits: Digits) -> None:
    tensors = {
        name: torch.full_like(tensor, 3e38) for name, tensor in create_model("softmax").state_dict().items()
    }
    write_checkpoint(tmp_path / "big.safetensors", Header(architecture="softmax"), tensors)
    classifier = load_classifier(str(tmp_path / "big.safetensors"), device="cpu")
    with pytest.raises(ModelError, match="not finite"):
        classifier.probabilities(digits.images[:3])


def test_a_line_model_has_the_alphabet_of_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "binary.safetensors"
    header = Header(architecture="reader", task="line", alphabet="01")
    write_checkpoint(path, header, create_model("reader", alphabet="01").state_dict())
    (answer,) = load_line_recognizer(str(path), "cpu").outputs([np.zeros((3, 40, 64), np.uint8)])
    assert answer.logits.shape == (16, 3)


def test_the_runtime_follows_from_the_device_and_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = str(saved(tmp_path / "fresh.safetensors"))
    monkeypatch.setattr(predictor, "may_have_accelerator", lambda: False)
    cnn, both = resolve_models(["cnn"]), resolve_models(["cnn", fresh])
    assert choose_runtime(cnn, "auto") == choose_runtime(cnn, "cpu") == "onnxruntime"
    assert choose_runtime(both, "cpu") == choose_runtime(cnn, "cuda") == "torch"
    assert choose_runtime(cnn, "cpu", "torch") == "torch"
    monkeypatch.setattr(predictor, "may_have_accelerator", lambda: True)
    for found, runtime in (("cuda:0", "torch"), ("cpu", "onnxruntime")):
        monkeypatch.setattr(predictor, "choose_device", lambda found=found: torch.device(found))
        assert choose_runtime(cnn, "auto") == runtime


def test_a_runtime_that_cannot_compute_is_an_error(tmp_path: Path) -> None:
    models = resolve_models([str(saved(tmp_path / "fresh.safetensors"))])
    cases: list[tuple[str, str, type[UsageError | ModelError]]] = [
        ("cuda", "onnxruntime", UsageError),
        ("cpu", "tensorflow", UsageError),
        ("abacus", "auto", UsageError),
        ("cpu", "onnxruntime", ModelError),
    ]
    for device, runtime, error in cases:
        with pytest.raises(error) as caught:
            choose_runtime(models, device, runtime)  # type: ignore[arg-type]
        assert caught.value.remedy
