"""`digitcli explain` as a person or a program meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.pictures import encoded
from tests.support.predictions import put
from tests.support.processes import Run


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path / "cache"))


def test_a_digit_is_drawn_with_what_speaks_for_it_and_its_neighbours(digitcli_process: Run) -> None:
    put("4.png", "4")
    done = digitcli_process("explain", "fast", "4.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4.png: 4 with ")
    assert "--save" in done.stderr  # a pipe has no colours
    for caption in ("read as 4", "4: occlusion", "4, not ", "a 4, #"):
        assert caption in done.stdout


def test_json_has_every_value_and_a_bad_picture_costs_only_itself(digitcli: Run) -> None:
    put("4.png", "4")
    Path("blank.png").write_bytes(encoded(np.full((90, 90), 255, np.uint8)))
    done = digitcli(
        "explain", "fast", "none.png", "4.png", "blank.png", "--test-digit", "0", "--counterfactual", "1",
        "--adversarial", "--method", "saliency", "--format", "json",
    )  # fmt: skip
    assert done.returncode == 4
    assert "'none.png' does not exist" in done.stderr and "Nothing is written in blank.png" in done.stderr
    four, seven = json.loads(done.stdout)
    assert (four["file"], four["digit"]) == ("4.png", 4)
    assert (seven["file"], seven["digit"]) == ("test digit 0, a 7", 7)
    assert [change["kind"] for change in seven["changes"]] == ["counterfactual", "adversarial"]
    assert np.shape(seven["attributions"][0]["values"]) == (28, 28)


def test_the_drawing_is_saved_and_never_replaced_without_force(digitcli: Run) -> None:
    run = ("explain", "fast", "--test-digit", "0", "-m", "filters", "--save", "seven.html")
    assert digitcli(*run).returncode == 0
    before = Path("seven.html").read_text()
    assert before.startswith("<!doctype html>")
    again = digitcli(*run)
    assert again.returncode == 7 and "exists already" in again.stderr
    assert digitcli(*run, "--force").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "cause"),
    [
        (["fast"], 2, "No picture is named"),
        (["fast", "none.png"], 3, "'none.png' does not exist"),
        (["fast", "none.png", "neither.png"], 3, "No picture could be read"),
        (["fast", "4.png", "-m", "shap"], 2, "There is no method 'shap'"),
        (["fast", "4.png", "-m", "attention"], 2, "There is no method 'attention'"),
        (["fast", "4.png", "--adversarial"], 2, "--adversarial needs a digit"),
        (["fast", "4.png", "--save", "a.gif"], 2, "--save cannot write a.gif"),
        (["fast", "--test-digit", "10000"], 2, "--test-digit"),
        (["fast", "4.png", "--layer", "1"], 2, "--layer chooses feature maps"),
        (["fast", "4.png", "-m", "feature-maps", "--layer", "x"], 2, "no feature maps of a layer 'x'"),
        (["fast", "4.png", "-m", "occlusion", "--all"], 2, "--all searches"),
        (["fast", "--class", "3", "--against", "2"], 2, "--class has a method of its own"),
        (["4.png", "fast"], 2, "4.png is a picture, not a model"),
        (["reader", "4.png"], 5, "lines, not single digits"),
        (["nothing", "4.png"], 5, "There is no model 'nothing'"),
    ],
)
def test_mistakes_have_a_cause_and_an_exit_code(
    digitcli: Run, arguments: list[str], code: int, cause: str
) -> None:
    put("4.png", "4")
    done = digitcli("explain", *arguments)
    assert done.returncode == code and cause in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
