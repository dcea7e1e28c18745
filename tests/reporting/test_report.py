from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.errors import InputError, ModelError, OutputError
from digitcli.events import OnEvent
from digitcli.inference.checkpoint import RESUME_FILE
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.reporting.page import Page, render
from digitcli.reporting.report import Report, build_page, write_report
from digitcli.training import trainer
from tests.support.models import pointing_model
from tests.support.training import train_config


def test_what_was_written_is_told(readings: Path) -> None:
    written = write_report(str(readings), Path("r.html"), title="Marks")
    size_bytes = Path("r.html").stat().st_size
    assert written == Report("r.html", "readings", "Marks", str(readings), size_bytes)
    html = Path("r.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>") and "<title>Marks</title>" in html


def test_a_shipped_model_and_a_checkpoint_are_evaluated(
    evaluation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def page_of_model(model: ResolvedModel, on_event: OnEvent) -> Page:
        asked.append(model.name)
        return build_page(str(evaluation), on_event)

    monkeypatch.setattr("digitcli.reporting.evaluation.page_of_model", page_of_model)
    pointing_model(Path("pointing.safetensors"))
    for name in ("fast", "pointing.safetensors"):
        assert write_report(name, Path("r.html")).kind == "evaluation"
    assert asked == ["fast", "pointing.safetensors"]


@pytest.mark.parametrize(
    ("source", "error", "cause"),
    [
        ("fasst", InputError, "no shipped model of this name"),
        ("none.jsonl", InputError, "There is no file or folder"),
        ("", InputError, "There is no file or folder"),
        ("a\0b", InputError, "There is no file or folder"),
        ("n" * 5000, InputError, "cannot be read"),
        ("n" * 300 + ".safetensors", InputError, "cannot be read"),
        ("empty", ModelError, "holds no model.safetensors"),
        ("list.json", InputError, "holds no readings"),
        ("header.csv", InputError, "holds no readings"),
        ("bad.safetensors", ModelError, "bad.safetensors"),
    ],
)
def test_other_sources_are_refused(source: str, error: type[Exception], cause: str) -> None:
    Path("empty").mkdir()
    Path("list.json").write_text("[]")
    Path("header.csv").write_text("file,page,status,reason,text,raw,confidence,model\n")
    Path("bad.safetensors").write_text("nothing")
    with pytest.raises(error, match=cause):
        write_report(source, Path("r.html"))
    assert not Path("r.html").exists()


def test_a_report_that_cannot_be_written_is_an_error(readings: Path) -> None:
    with pytest.raises(OutputError):
        write_report(str(readings), Path("none/such.html"))


def test_a_run_is_examined_and_the_page_says_why_it_could_not_be(digits: Digits, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", images=digits.images[:400], labels=digits.labels[:400])
    config = train_config(tmp_path / "few.npz", "softmax", recipe={"lr": 1e-7, "epochs": 2})
    trainer.train(config, out=tmp_path / "run")
    events: list[object] = []
    page = build_page(str(tmp_path / "run"), events.append)
    assert "not_learning" in [finding.rule for finding in page.values["diagnosis"].findings]
    assert "Findings" not in render(build_page(str(tmp_path / "run"), events.append, with_findings=False))

    def reported() -> str:
        page = build_page(str(tmp_path / "run"), events.append)
        assert page.values["diagnosis"] is None and "no findings" in str(events[-1])
        return render(page)

    (tmp_path / "few.npz").unlink()
    assert "The run could not be examined: There is no file or folder" in reported()
    (tmp_path / "run" / RESUME_FILE).write_text("nothing")
    assert f"{RESUME_FILE} is not a checkpoint, or it is damaged" in reported()
    (tmp_path / "run" / RESUME_FILE).unlink()
    assert f"contains a model but no {RESUME_FILE}" in reported()
