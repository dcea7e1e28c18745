"""ONNX: one file that ONNX Runtime runs, with what a program must know about it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault
from digitcli.export import exporter
from digitcli.export.export import export
from digitcli.export.onnx_file import OPSET
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import infer, load_model
from tests.support.exports import model_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


def test_the_file_needs_nothing_else_and_says_what_it_is(digits: Digits) -> None:
    model = model_of("micro", temperature=1.5)
    result = export(model)
    assert result.path == "micro.onnx" and result.facts["opset"] == OPSET
    assert result.parity is not None and result.parity.n == 10_000
    assert result.parity.different_answers == 0 and result.parity.largest_difference < 1e-4
    session = onnxruntime.InferenceSession("micro.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 7):
        images = digits.images[:count]
        (logits,) = session.run(["logits"], {"images": images[:, None].astype(np.float32) / 255})
        np.testing.assert_allclose(logits, infer(load_model(model), images).numpy(), atol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["checkpoint_sha256"] == resolve_model(model).sha256 and facts["labels"] == "0123456789"
    assert json.loads(facts["temperature"]) == 1.5 and "ink" in facts["input"]
    stored = onnx.load("micro.onnx")
    assert stored.opset_import[0].version == OPSET
    assert str(Path.cwd()).encode() not in stored.SerializeToString(), "it names a folder of this machine"


def test_a_model_of_lines_is_compared_on_synthetic_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "LINES", 6)
    result = export("reader", output=Path("reader.onnx"))
    assert result.parity is not None and (result.parity.n, result.parity.unit) == (6, "synthetic lines")
    facts = {entry.key: entry.value for entry in onnx.load("reader.onnx").metadata_props}
    assert facts["alphabet"] == resolve_model("reader").header.alphabet


def test_without_the_packages_the_remedy_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(EnvironmentFault, match="onnxscript") as failure:
        export(model_of("softmax"))
    assert "pip install '.[export]'" in failure.value.remedy
