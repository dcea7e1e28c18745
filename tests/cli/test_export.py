"""`digitcli export` as a person or a program meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from digitcli.export import export as exporting
from digitcli.export import formats
from tests.support.exports import model_of, quantized_model_of
from tests.support.processes import Run


def test_people_see_the_parity_and_programs_get_json(digitcli: Run) -> None:
    model_of("softmax")
    done = digitcli("export", "softmax.safetensors", "--to", "hf")
    assert done.returncode == 0 and "the answers to all 10,000 test digits equal" in done.stdout, done.stderr
    assert Path("softmax-hf/config.json").exists()
    done = digitcli(
        "export", "softmax.safetensors", "--to", "hf", "-o", "other", "--no-verify", "--format", "json"
    )
    record = json.loads(done.stdout)
    assert (record["path"], record["format"], record["dtype"]) == ("other", "hf", "float32")
    assert record["parity"] is None and record["rounding"] is None
    assert record["size_bytes"] == sum(file.stat().st_size for file in Path("other").iterdir())
    assert record["model"].startswith("softmax@")


def test_integers_and_memory_are_told(digitcli: Run) -> None:
    model_of("lenet1")
    done = digitcli("export", "lenet1.safetensors", "--to", "c", "--dtype", "int8", "--no-verify")
    assert done.returncode == 0, done.stderr
    assert "12,352 bytes in static buffers" in done.stdout and "not checked" in done.stdout
    assert "int8_t" in Path("lenet1-c/digit_model.c").read_text()


def test_a_note_tells_that_integers_become_floats(digitcli: Run) -> None:
    quantized_model_of("softmax", 4)
    arguments = ("export", "softmax-int4.safetensors", "--no-verify", "--force")
    note = "The weights are stored as floats; --dtype int8 keeps the 4-bit integers."
    assert note in digitcli(*arguments, "--to", "c").stderr
    assert json.loads(digitcli(*arguments, "--to", "c", "--format", "json").stdout)["notes"] == [note]
    for others in (("--to", "c", "--dtype", "int8"), ("--to", "hf")):
        done = digitcli(*arguments, *others)
        assert done.returncode == 0 and "Note:" not in done.stderr, done.stderr


def test_a_missing_package_is_told_before_the_work(digitcli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, format in (("tensorflow", "saved_model"), ("onnxscript", "onnx")):
        with monkeypatch.context() as patch:
            patch.setattr(formats.importlib.util, "find_spec", lambda asked, name=name: asked != name or None)
            patch.setattr(exporting, "export", lambda *arguments, **options: pytest.fail("it has begun"))
            done = digitcli("export", "fast", "--to", format)
        assert done.returncode == 6 and f"there is no {name}" in done.stderr, done.stderr
        assert "pip install" in done.stderr and done.stdout == ""


def test_the_name_of_the_output_tells_the_format(digitcli: Run) -> None:
    model_of("softmax")
    done = digitcli("export", "softmax.safetensors", "-o", "own.html", "--no-verify")
    assert done.returncode == 0 and "to own.html" in done.stdout, done.stderr
    shown = digitcli("export", "softmax.safetensors", "--to", "html", "-o", "-", "--no-verify")
    assert shown.stdout == Path("own.html").read_text() and "to -" in shown.stderr


def test_mistakes_have_a_cause_and_an_exit_code(digitcli: Run) -> None:
    model_of("softmax")
    Path("there.onnx").touch()
    Path("there").mkdir()
    Path("there", "notes.txt").touch()
    before = sorted(Path().iterdir())
    for arguments, code, cause in [
        (["none"], 5, "There is no model 'none'"),
        (["softmax.safetensors", "--to", "htm"], 2, "--to is 'htm'.\nDid you mean html?"),
        (["softmax.safetensors", "--dtype", "int8"], 2, "--to tflite or c"),
        (["softmax.safetensors", "-o", "model.pt"], 2, "End it in .onnx, .pt2, .tflite, .html, or"),
        (["softmax.safetensors", "-o", "there.onnx"], 7, "exists already"),
        (["softmax.safetensors", "--to", "onnx", "-o", "a.tflite"], 2, "Name a file that ends in .onnx"),
        (["softmax.safetensors", "--to", "hf", "-o", "-"], 7, "cannot be written to standard output"),
        (["softmax.safetensors", "-o", "-", "--format", "json"], 2, "both write to standard output"),
        (["softmax.safetensors", "--to", "c", "-o", "there"], 7, "holds other files"),
        (["reader", "--to", "html"], 2, "cannot hold reader"),
        (["softmax.safetensors", "--to", "c", "-o", "there.onnx"], 7, "not a folder"),
        (["softmax.safetensors", "--to", "c", "-o", "nowhere/out"], 7, "cannot be written"),
    ]:
        done = digitcli("export", *arguments)
        assert done.returncode == code and cause in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr and done.stdout == ""
        assert sorted(Path().iterdir()) == before
