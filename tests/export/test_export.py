"""What holds for every format: what is kept, what is refused, and what stands in the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from digitcli.errors import OutputError, QualityError
from digitcli.export import hugging_face
from digitcli.export.export import export
from digitcli.export.exporter import Exporter, Source
from tests.support.exports import model_of

Array = npt.NDArray[np.float32]
pytestmark = pytest.mark.usefixtures("on_few_digits")


def test_an_export_with_other_answers_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """One logit is wrong: by so much that answers change, by more than rounding, or it is no number."""
    prepare, model = hugging_face.prepare, model_of("softmax")
    for shift, cause in (
        (10, "answers 2.. of 300"),
        (0.01, "differ by up to 0.01"),
        (np.nan, "differ by up to inf"),
    ):
        wrong = np.eye(10, dtype=np.float32)[0] * np.float32(shift)

        def prepare_wrongly(source: Source, wrong: Array = wrong) -> Exporter:
            exporter = prepare(source)
            return replace(
                exporter, run=lambda path, batches: [(o[0] + wrong,) for o in exporter.run(path, batches)]
            )

        monkeypatch.setattr(hugging_face, "prepare", prepare_wrongly)
        with pytest.raises(QualityError, match=cause):
            export(model, "hf", Path("out"))
        assert not Path("out").exists()
    result = export(model, "hf", Path("out"), verify=False)
    assert result.parity is None and Path("out", "config.json").exists()


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
