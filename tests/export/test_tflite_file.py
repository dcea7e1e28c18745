"""TensorFlow Lite: one file that LiteRT runs, with what a program must know about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault
from digitcli.export.channels_last import channels_last
from digitcli.export.export import export
from digitcli.export.plain_layers import plain_layers
from digitcli.export.tflite_file import ALIGNMENT_BYTES, tflite_bytes
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.runtime import TfliteRuntime
from digitcli.inference.torch_runtime import infer
from tests.support.exports import CHAINS, in_blocks, model_of, quantized_model_of, randomize, single, unusual

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

OTHERS: Mapping[str, Callable[[], nn.Module]] = {
    "unusual": unusual,
    "in_blocks": in_blocks,
    "single": single,
}


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return randomize(OTHERS[name]() if name in OTHERS else create_model(name)).eval()


@pytest.mark.parametrize("name", [*CHAINS, *OTHERS])
def test_a_file_computes_the_same_for_batches_of_every_size(name: str, digits: Digits) -> None:
    network = network_of(name)
    content = tflite_bytes(channels_last(plain_layers(network, name, "tflite")), "float32", {}, name)
    runtime, expected = TfliteRuntime(content, threads=1), infer(network, digits.images[:5]).numpy()
    for count in (5, 1):
        (logits,) = runtime.run(digits.images[:count])
        np.testing.assert_allclose(logits, expected[:count], rtol=1e-4, atol=1e-5)


def arrays_of(content: bytes) -> dict[str, npt.NDArray[np.generic]]:
    """Return the constants of a file, and check that each is aligned."""
    model = schema.Model.GetRootAs(content)
    arrays, memory = {}, np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    for number in range(model.Subgraphs(0).TensorsLength()):
        tensor = model.Subgraphs(0).Tensors(number)
        if tensor.Buffer():
            values = model.Buffers(tensor.Buffer()).DataAsNumpy()
            assert (values.__array_interface__["data"][0] - memory) % ALIGNMENT_BYTES == 0
            dtype = {schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32}.get(tensor.Type())
            arrays[tensor.Name().decode()] = values.view(dtype or np.float32)
    return arrays


def test_the_file_says_what_it_is_and_answers_all_test_digits_alike() -> None:
    model = model_of("micro", temperature=1.5)
    result = export(model, "tflite")
    assert result.path == "micro.tflite" and result.parity is not None and result.parity.n == 10_000
    assert result.parity.different_answers == 0 and result.parity.largest_difference < 1e-4
    assert result.rounding is None
    content = Path("micro.tflite").read_bytes()
    file = schema.Model.GetRootAs(content)
    assert content[4:8] == b"TFL3" and file.Metadata(0).Name() == b"digitcli"
    facts = json.loads(file.Buffers(file.Metadata(0).Buffer()).DataAsNumpy().tobytes())
    assert facts["checkpoint_sha256"] == resolve_model(model).sha256 and facts["temperature"] == 1.5
    signature = file.SignatureDefs(0)
    assert (signature.Inputs(0).Name(), signature.Outputs(0).Name()) == (b"images", b"logits")
    assert file.Subgraphs(0).Tensors(0).ShapeSignatureAsNumpy().tolist() == [-1, 1, 28, 28]


@pytest.mark.usefixtures("on_few_digits")
def test_rounding_is_compared_with_the_original() -> None:
    result = export(model_of("lenet1"), "tflite", dtype="int8")
    assert result.parity is not None and result.rounding is not None
    assert result.parity.largest_difference < 1e-4 < result.rounding.largest_difference
    stored = [array for array in arrays_of(Path(result.path).read_bytes()).values() if array.dtype == np.int8]
    assert sum(array.size for array in stored) == 3_220  # its weights without biases


@pytest.mark.usefixtures("on_few_digits")
def test_integers_of_a_compressed_model_are_not_rounded_again() -> None:
    """`micro` has depthwise and other convolutions, and a linear layer."""
    result = export(quantized_model_of("micro", 4, inputs=False), "tflite", dtype="int8")
    assert result.rounding is None and result.parity is not None
    assert result.parity.largest_difference < 1e-4
    stored = [array for array in arrays_of(Path(result.path).read_bytes()).values() if array.dtype == np.int8]
    assert stored and all(np.abs(array).max() <= 7 for array in stored)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(EnvironmentFault, match="ai_edge_litert") as failure:
        export(model_of("softmax"), "tflite")
    assert "pip install '.[tflite]'" in failure.value.remedy and not Path("softmax.tflite").exists()
