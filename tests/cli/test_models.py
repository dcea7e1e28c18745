from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from digitcli.architectures.registry import ARCHITECTURES
from digitcli.inference.model_resolution import resolve_models
from digitcli.inference.torch_runtime import write_ensemble
from tests.support.models import saved
from tests.support.processes import Run

KEYS = {"name", "family", "task", "paper", "parameters", "macs", "shipped", "size_bytes", "accuracy"}


def test_lists_every_architecture_with_the_keys_of_the_design(digitcli: Run) -> None:
    rows = json.loads(digitcli("models", "--format", "json").stdout)
    assert {row["name"] for row in rows} >= {row.name for row in ARCHITECTURES}
    assert all(row.keys() >= KEYS for row in rows)
    cnn = next(row for row in rows if row["name"] == "cnn")
    assert cnn["shipped"] and cnn["accuracy"] > 0.99 and cnn["parameters"] == 3_274_634
    shipped = json.loads(digitcli("models", "--shipped", "--format", "json").stdout)
    assert shipped == [row for row in rows if row["shipped"]]
    done = digitcli("models", "cnn", "--shipped")
    assert done.returncode == 2 and done.stdout == ""


@pytest.mark.parametrize("width", [60, 140])
def test_a_table_has_one_line_a_model(digitcli: Run, width: int) -> None:
    done = digitcli("models", env={"COLUMNS": str(width)})
    heading, *lines = done.stdout.splitlines()
    assert {row.name for row in ARCHITECTURES} <= {line.split()[0] for line in lines}
    assert len(lines) == len({line.split()[0] for line in lines}), "a name takes several lines"
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "accuracy" in heading and ("paper" in heading) == (width == 140)
    assert ("do not fit: paper" in done.stderr) == (width < 140)


def test_shows_the_layers_of_one(digitcli: Run) -> None:
    done = digitcli("models", "cnn")
    assert done.returncode == 0
    for words in ("Conv2d", "64 x 14 x 14", "10,035,200", "Krizhevsky", "stroke width", "temperature"):
        assert words in done.stdout, words


def test_shows_the_recipe_of_an_architecture(digitcli: Run) -> None:
    shown = digitcli("models", "softmax").stdout
    assert "20 epochs" in shown and re.search(r"augmentation +off", shown)


def test_shows_the_teacher_of_a_model(digitcli: Run, tmp_path: Path) -> None:
    path = saved(tmp_path / "own.safetensors", teacher={"cnn@1a2b3c4d": "1a2b3c4d"}, recipe={"epochs": 3})
    shown = digitcli("models", path).stdout
    assert re.search(r"teacher +cnn@1a2b3c4d", shown) and re.search(r"distillation +temperature", shown)
    assert "istillation" not in digitcli("models", "cnn").stdout


def test_shows_the_members_of_an_ensemble(digitcli: Run, tmp_path: Path) -> None:
    write_ensemble(tmp_path / "both.safetensors", resolve_models(["cnn", "fast"]))
    shown = digitcli("models", "both.safetensors").stdout
    assert re.search(r"0 +cnn +0 +3,274,634 +99\.\d\d % +99\.54 %", shown)
    assert re.search(r"1 +fast +0 +109,242 ", shown) and re.search(r"total +3,383,876", shown)
    assert "Hansen & Salamon" in shown and "None" not in shown and "Raises" not in shown
    record = json.loads(digitcli("models", "both.safetensors", "--format", "json").stdout)
    assert record["summary"]["parameters"] == 3_274_634 + 109_242
    assert [member["architecture"] for member in record["members"]] == ["cnn", "fast"]


def test_an_unknown_or_damaged_model_ends_with_code_5(digitcli: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    for name, words in (("cmm", "cnn"), ("none.safetensors", "cnn"), ("bad.safetensors", "not written by")):
        done = digitcli("models", name)
        assert done.returncode == 5 and words in done.stderr and "Traceback" not in done.stderr, name
