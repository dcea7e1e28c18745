from __future__ import annotations

import dataclasses
import pickle
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from digitcli.cli import exit_code_of_run
from digitcli.errors import ModelError
from digitcli.export.formats import FORMATS
from digitcli.inference import model_resolution
from digitcli.inference.checkpoint import read_checkpoint, read_header, write_checkpoint
from digitcli.inference.model_resolution import resolve_model, resolve_models, shipped_models
from tests.support.models import saved
from tests.support.pictures import drawn, encoded


def test_a_shipped_name_stands_for_its_checkpoint_and_its_graph() -> None:
    model = resolve_model("cnn")
    assert model.path == shipped_models()["cnn"] and model.header == read_header(model.path)
    assert model.graph_path == model.path.with_suffix(".onnx")
    assert re.fullmatch(r"cnn@[0-9a-f]{8}", model.id) and model.sha256.startswith(model.id[-8:])


def test_shipped_models_have_graphs_without_weights_and_fit_the_size_limit() -> None:
    models = resolve_models(shipped_models())
    for model in models:
        assert model.graph_path is not None
        assert model.graph_path.stat().st_size < max(40_000, 0.03 * model.path.stat().st_size)
    assert sum(model.path.stat().st_size for model in models) < 30_000_000


def test_a_file_and_its_run_folder_stand_for_the_same_model(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    path = saved(tmp_path / "run" / "model.safetensors")
    (tmp_path / "run" / "model.onnx").write_bytes(b"of another program")
    by_file, by_folder = resolve_models([path, str(path.parent)])
    assert by_file.path == by_folder.path == path
    assert by_file.id == by_folder.id and by_file.id.startswith("run@")
    assert by_file.graph_path is None
    path.unlink()  # what is resolved is not resolved again
    assert resolve_models([by_file]) == (by_file,) == (pickle.loads(pickle.dumps(by_file)),)


def test_a_damaged_shipped_model_leaves_the_graphs_of_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cnn.safetensors").write_bytes(b"damaged")
    shipped = {"cnn": tmp_path / "cnn.safetensors", "fast": shipped_models()["fast"]}
    monkeypatch.setattr(model_resolution, "shipped_models", lambda: shipped)
    header, tensors = read_checkpoint(shipped["fast"])
    start = {"sha256": resolve_model("fast").sha256}
    write_checkpoint(tmp_path / "own.safetensors", dataclasses.replace(header, start=start), tensors)
    assert resolve_model(tmp_path / "own.safetensors").graph_path == shipped["fast"].with_suffix(".onnx")


def test_a_shipped_model_is_the_same_under_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = resolve_model("cnn")
    shutil.copy(shipped.path, tmp_path / "copy.safetensors")
    monkeypatch.chdir(shipped.path.parent)
    for name in (shipped.path, "cnn.safetensors", tmp_path / "copy.safetensors"):
        model = resolve_model(name)
        assert (model.graph_path, model.shipped_as) == (shipped.graph_path, "cnn")


def test_an_adapted_model_runs_by_the_graph_of_the_model_that_it_started_from(tmp_path: Path) -> None:
    start = resolve_model("reader")
    header, tensors = read_checkpoint(start.path)
    header = dataclasses.replace(header, start={"sha256": start.sha256}, risk_companions=("a",))
    write_checkpoint(tmp_path / "reader.safetensors", header, tensors)
    (tmp_path / "adaptation.json").write_text('{"models": ["reader.safetensors"]}')
    assert resolve_model(tmp_path).graph_path == start.graph_path


def test_a_folder_of_several_adapted_models_stands_for_all_of_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        saved(tmp_path / f"{name}.safetensors")
    (tmp_path / "adaptation.json").write_text('{"models": ["a.safetensors", "b.safetensors"]}')
    assert [model.path.name for model in resolve_models(["cnn", tmp_path])] == [
        "cnn.safetensors", "a.safetensors", "b.safetensors",
    ]  # fmt: skip
    with pytest.raises(ModelError, match="holds 2 models"):
        resolve_model(tmp_path)


def test_a_folder_that_names_no_model_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        resolve_model(tmp_path)
    for text in ("", "{}", "[]", '{"models": []}', '{"models": ["../cnn"]}', '{"models": 1}'):
        (tmp_path / "adaptation.json").write_text(text)
        with pytest.raises(ModelError, match=r"adaptation\.json does not name"):
            resolve_model(tmp_path)


def test_an_exported_model_is_said_to_be_one(tmp_path: Path) -> None:
    """Every format but that of the Hugging Face hub, whose folder is a model of digitcli."""
    for row in FORMATS.values():
        path = tmp_path / f"fast{row.ending}"
        if row.files:
            for name in row.files:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(b"content")
        else:
            path.write_bytes(b"PK\x03\x04 content")
        if row.name == "hf":
            continue
        with pytest.raises(ModelError, match="is an exported model") as caught:
            resolve_model(path)
        assert caught.value.remedy == "Name the model that it was exported from."


def test_a_name_without_a_model_is_an_error_with_suggestions() -> None:
    for name, words in {
        "x" * 300: "",
        "a\0b": "",
        "cmm": "cnn",
        "lenet5": "runs/lenet5-1",
        "torchvision/resnet18": "runs/torchvision-resnet18-1",
    }.items():
        with pytest.raises(ModelError) as caught:
            resolve_model(name)
        assert words in caught.value.remedy
        assert ("is an architecture" in caught.value.remedy) == ("runs" in words)


@pytest.mark.parametrize("models", [[], ["-m", "cnn", "-m", "fast"]], ids=["default", "two classifiers"])
def test_predict_resolves_each_name_once_and_opens_each_model_file_at_most_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], models: list[str]
) -> None:
    """One time for the header, one time for the weights."""
    picture = tmp_path / "image.png"
    picture.write_bytes(encoded(drawn("5")))
    resolved: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    resolve = model_resolution._resolve

    def counting_resolve(name: str) -> model_resolution.ResolvedModel:
        resolved[name] += 1
        return resolve(name)

    def count_opened(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and counting and str(arguments[0]).endswith((".safetensors", ".onnx")):
            opened[Path(str(arguments[0])).name] += 1

    counting = True
    sys.addaudithook(count_opened)  # a hook cannot be removed, so `counting` turns it off
    monkeypatch.setattr(model_resolution, "_resolve", counting_resolve)
    monkeypatch.setattr(sys, "argv", ["digitcli", "predict", str(picture), "--device", "cpu", *models])
    try:
        assert exit_code_of_run() == 0
    finally:
        counting = False
    assert "5" in capfd.readouterr().out
    assert len(resolved) == (2 if models else 4) and set(resolved.values()) == {1}
    checkpoints = {name: count for name, count in opened.items() if name.endswith(".safetensors")}
    graphs: Counter[str] = Counter()  # a network opens one that is quantized or one that is not
    for name, count in opened.items():
        if name.endswith(".onnx"):
            graphs[name.replace(".int8", "")] += count
    loaded = {name.replace("safetensors", "onnx") for name, opens in checkpoints.items() if opens == 2}
    assert len(checkpoints) == len(resolved) and max(checkpoints.values()) == 2
    assert graphs == dict.fromkeys(loaded, 1)
    assert len(loaded) == (2 if models else 1)  # an easy picture needs no other network
