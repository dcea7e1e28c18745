"""What holds for every format: what is kept, what is refused, and what stands in the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from digitcli.errors import ModelError, OutputError, QualityError, UsageError
from digitcli.export import export as module
from digitcli.export import hugging_face
from digitcli.export.export import export
from digitcli.export.source import Exporter, Source
from tests.support.exports import model_of

pytestmark = pytest.mark.usefixtures("on_few_digits")


@pytest.mark.parametrize(
    ("shift", "cause"),
    [(10, "answers 2.. of 300"), (0.01, "differ by up to 0.01"), (np.nan, "differ by up to inf")],
)
def test_an_export_with_other_answers_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, shift: float, cause: str
) -> None:
    """One logit is wrong: by so much that answers change, by more than rounding, or it is no number."""
    prepare = hugging_face.prepare

    def prepare_wrongly(source: Source) -> Exporter:
        exporter = prepare(source)
        wrong = np.eye(10, dtype=np.float32)[0] * np.float32(shift)
        return replace(
            exporter, run=lambda path, batches: [(o[0] + wrong,) for o in exporter.run(path, batches)]
        )

    monkeypatch.setattr(hugging_face, "prepare", prepare_wrongly)
    model = model_of("softmax")
    with pytest.raises(QualityError, match=cause):
        export(model, "hf", Path("out"))
    assert not Path("out").exists()
    result = export(model, "hf", Path("out"), verify=False)
    assert result.parity is None and Path("out", "config.json").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "cause"),
    [
        (("softmax.safetensors", "tflight"), UsageError, "no format 'tflight'"),
        (("softmax.safetensors", None, Path("model.foo")), UsageError, "does not tell the format"),
        (("softmax.safetensors", "hf", Path("-")), OutputError, "cannot be written to standard output"),
        (("softmax.safetensors", "onnx", Path("model.pt")), UsageError, "ends in .onnx|is 'model.pt'"),
        (("none", "onnx"), ModelError, "no model 'none'"),
        (("softmax.safetensors", "onnx", Path("there.onnx")), OutputError, "exists already"),
        (("softmax.safetensors", "c", Path("there.onnx")), OutputError, "not a folder"),
        (("softmax.safetensors", "c", Path("other")), OutputError, "holds other files, e.g. notes.txt"),
        (("softmax.safetensors", "c", Path("nowhere/out")), OutputError, "cannot be written"),
    ],
)
def test_mistakes_are_found_before_the_work(
    arguments: tuple[str], error: type[Exception], cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_network", None)
    model_of("softmax")
    Path("there.onnx").touch()
    Path("other").mkdir()
    Path("other", "notes.txt").touch()
    with pytest.raises(error, match=cause):
        export(*arguments)  # type: ignore[arg-type]


def test_force_replaces_an_export_but_no_other_folder() -> None:
    model = model_of("softmax")
    export(model, "hf", Path("out"))
    first = Path("out", "config.json").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        export(model, "hf", Path("out"))
    Path("out", "config.json").write_text("{}")
    export(model, "hf", Path("out"), force=True)
    assert Path("out", "config.json").read_bytes() == first
    Path("out", "mine.txt").touch()
    with pytest.raises(OutputError, match="mine.txt"):
        export(model, "hf", Path("out"), force=True)
    assert sorted(path.name for path in Path().iterdir()) == ["out", "softmax.safetensors"]


def test_files_that_appear_during_the_comparison_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = hugging_face.prepare

    def prepare_and_disturb(source: Source) -> Exporter:
        exporter = prepare(source)
        Path("out").mkdir(exist_ok=True)
        Path("out", "mine.txt").touch()
        return exporter

    monkeypatch.setattr(hugging_face, "prepare", prepare_and_disturb)
    with pytest.raises(OutputError, match="mine.txt"):
        export(model_of("softmax"), "hf", Path("out"), force=True)
    assert Path("out", "mine.txt").exists()
