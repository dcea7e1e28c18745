"""torch.export and SavedModel: what a process of its own runs, without digitcli.

The tests that need TensorFlow are skipped without it; `.ci/saved_model` runs them where it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault
from digitcli.export import own_process
from digitcli.export.export import export
from digitcli.export.formats import FORMATS
from digitcli.export.own_process import run_python
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import infer, load_model
from tests.support.exports import model_of

with_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)


@with_tensorflow
def test_a_folder_answers_all_test_digits_alike_and_says_what_it_is(digits: Digits) -> None:
    model = model_of("tiny")
    result = export(model, "saved_model")
    assert result.path == "tiny-saved-model" and result.parity is not None and result.parity.n == 10_000
    assert result.parity.different_answers == 0 and result.parity.largest_difference < 1e-4
    files = {path.relative_to(result.path).as_posix() for path in Path(result.path).rglob("*.*")}
    assert files - {"assets.extra"} == set(FORMATS["saved_model"].files)
    facts = json.loads(Path(result.path, own_process.ASSETS_FILE).read_text())
    assert facts["checkpoint_sha256"] == resolve_model(model).sha256
    here = str(Path(own_process.__file__).parent).encode()
    assert here not in Path(result.path, "saved_model.pb").read_bytes(), "it names a folder of this machine"
    batches = [digits.images[:3], digits.images[:1]]
    outputs = own_process._run_saved_model(Path(result.path), batches)
    for (logits,), batch in zip(outputs, batches, strict=True):
        np.testing.assert_allclose(logits, infer(load_model(model), batch).numpy(), atol=1e-4)


@with_tensorflow
@pytest.mark.usefixtures("on_few_digits")
@pytest.mark.parametrize("name", ["unusual", "in_blocks"])
def test_unusual_layers_are_computed(name: str, plugins: Callable[..., None]) -> None:
    plugins(**{name: f"tests.support.exports:{name}"})
    result = export(model_of(name), "saved_model")
    assert result.parity is not None and result.parity.largest_difference < 1e-5


def test_a_missing_tensorflow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="there is no tensorflow") as failure:
        export(model_of("softmax"), "saved_model")
    assert "pip install '.[saved_model]'" in failure.value.remedy and not Path("softmax-saved-model").exists()


def test_a_process_that_fails_tells_its_last_line() -> None:
    with pytest.raises(EnvironmentFault, match="failed: ValueError: no such layer"):
        run_python(["-c", "raise ValueError('no such layer')"])
    Path("numpy.py").write_text("raise SystemExit('a file of the current folder was imported')")
    run_python(["-c", "import numpy; numpy.zeros(1)"])


@pytest.mark.usefixtures("on_few_digits")
def test_the_file_is_run_in_a_process_of_its_own_and_holds_no_pickle() -> None:
    result = export(model_of("softmax"), "torch")
    assert result.path == "softmax.pt2" and result.parity is not None
    assert result.parity.different_answers == 0 and result.parity.largest_difference < 1e-4
    with zipfile.ZipFile("softmax.pt2") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    (facts,) = [json.loads(content) for name, content in contents.items() if name.endswith("digitcli.json")]
    assert facts["architecture"] == "softmax" and facts["parity"].endswith("those of PyTorch")
    assert not any(content.startswith((b"\x80\x02", b"PK")) for content in contents.values())
    folder = str(Path(__file__).parents[2]).encode()
    assert not any(folder in content for content in contents.values()), "it names a folder of this machine"
