"""`digitcli explain` as a person or a program meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.pictures import encoded, written
from tests.support.predictions import put
from tests.support.processes import Run


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path / "cache"))


def page_of(*lines: str) -> np.ndarray:
    papers = [written(line, 60)[0] for line in lines]
    width = max(paper.shape[1] for paper in papers)
    return np.vstack(
        [np.pad(each, ((0, 0), (0, width - each.shape[1])), constant_values=255) for each in papers]
    )


def test_a_digit_is_drawn_with_what_speaks_for_it_and_its_neighbours(digitcli: Run) -> None:
    put("4.png", "4")
    done = digitcli("explain", "fast", "4.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4.png: 4 with ")
    assert "--output" in done.stderr  # a pipe has no colours
    assert "+ and # stand for red" in done.stderr
    for caption in ("read as 4 with ", "speaks for 4 (occlusion)", "4, not ", "training digit #"):
        assert caption in done.stdout


def test_of_several_digits_the_central_one_is_explained_and_a_note_says_so(digitcli: Run) -> None:
    put("427.png", "427")
    put("4.png", "4")
    done = digitcli("explain", "fast", "4.png", "427.png", "-m", "saliency")
    assert done.returncode == 0 and "427.png: 2 with " in done.stdout
    assert "427.png shows 3 digits, of which the central one is explained." in done.stderr
    assert "digitcli explain reader 427.png" in done.stderr
    assert done.stderr.count(" shows ") == 1


def test_digits_close_together_are_explained_apart_and_touching_ones_as_a_line(digitcli: Run) -> None:
    Path("40713.png").write_bytes(encoded(written("40713", gap=0.2)[0]))
    Path("555.png").write_bytes(encoded(written("555", gap=-0.02)[0]))
    done = digitcli("explain", "fast", "40713.png", "555.png", "-m", "saliency")
    assert done.returncode == 4 and done.stdout.startswith("40713.png: 7 with "), done.stdout
    assert "40713.png shows 5 digits" in done.stderr and "The digits of 555.png touch." in done.stderr
    assert "digitcli explain reader 555.png" in done.stderr


def test_json_has_every_value_and_a_bad_picture_costs_only_itself(digitcli: Run) -> None:
    put("4.png", "4")
    Path("blank.png").write_bytes(encoded(np.full((90, 90), 255, np.uint8)))
    done = digitcli(
        "explain", "fast", "none.png", "4.png", "blank.png", "--test-digit", "0", "--counterfactual", "1",
        "--method", "saliency", "--format", "json",
    )  # fmt: skip
    assert done.returncode == 4
    assert "'none.png' does not exist" in done.stderr and "Nothing is written in blank.png" in done.stderr
    four, seven = json.loads(done.stdout)
    assert (four["file"], four["digit"]) == ("4.png", 4)
    assert (seven["file"], seven["digit"]) == ("test digit 0, a 7", 7)
    assert [change["kind"] for change in seven["changes"]] == ["counterfactual"]
    assert np.shape(seven["attributions"][0]["values"]) == (28, 28)


def test_the_drawing_is_saved_and_never_replaced_without_force(digitcli: Run) -> None:
    run = ("explain", "fast", "--test-digit", "0", "-m", "filters", "-o", "seven.html")
    done = digitcli(*run)
    assert done.returncode == 0 and "The explanations are in seven.html." in done.stderr
    assert "--output FILE draws colours" not in done.stderr
    before = Path("seven.html").read_text()
    assert before.startswith("<!doctype html>")
    again = digitcli(*run)
    assert again.returncode == 7 and "exists already" in again.stderr
    assert digitcli(*run, "--force").returncode == 0


def test_a_digit_of_a_line_is_drawn_and_saved(digitcli: Run) -> None:
    Path("27.png").write_bytes(encoded(written("27", 60)[0]))
    done = digitcli("explain", "reader", "27.png", "--position", "2", "--save", "27.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("27.png: 27 with ") and "; digit 2 of 2: 7 with " in done.stdout
    for caption in ("read as 27; the bar marks digit 2", "7, not "):
        assert caption in done.stdout and caption in Path("27.html").read_text()
    assert "speaks for 7 (occlusion)" in done.stdout
    assert "prototype" not in done.stdout


def test_the_answer_is_not_shown_against_itself(digitcli: Run) -> None:
    put("4.png", "4")
    for model in ("fast", "reader"):
        done = digitcli("explain", model, "4.png", "--against", "4", "-m", "saliency")
        assert "so it is shown against the likeliest other digit, " in done.stderr
        assert "4, not 4" not in done.stdout and "4, not " in done.stdout


def test_json_of_lines_has_every_value_and_a_bad_picture_costs_only_itself(digitcli: Run) -> None:
    Path("page.png").write_bytes(encoded(page_of("27", "13")))
    Path("blank.png").write_bytes(encoded(np.full((60, 240), 255, np.uint8)))
    done = digitcli(
        "explain", "reader", "none.png", "page.png", "blank.png", "-m", "saliency", "--against", "1",
        "--format", "json",
    )  # fmt: skip
    assert done.returncode == 4 and "'none.png' does not exist" in done.stderr
    assert "page.png has 2 lines; the longest is explained." in done.stderr
    assert "No number was found in blank.png" in done.stderr
    (page,) = json.loads(done.stdout)
    assert page["text"] == "27" and len(page["probabilities"]) == 11
    assert [each["against"] for each in page["attributions"]] == [None, 1]
    assert np.shape(page["attributions"][0]["values"])[0] == 40


def test_mistakes_have_a_cause_and_an_exit_code(digitcli: Run) -> None:
    put("4.png", "4")
    Path("white.png").write_bytes(encoded(np.full((300, 300), 255, np.uint8)))
    for arguments, code, cause in (
        (["fast"], 2, "No picture is named"),
        (["fast", "none.png"], 3, "'none.png' does not exist"),
        (["fast", "none.png", "neither.png"], 3, "No picture could be explained"),
        (["fast", "4.png", "-m", "shap"], 2, "--method is 'shap'"),
        (["fast", "4.png", "--save", "a.gif"], 2, "--output cannot write a.gif"),
        (["fast", "--test-digit", "10000"], 2, "--test-digit"),
        (["4.png", "fast"], 2, "4.png is a picture, not a model"),
        (["4.png"], 2, "digitcli explain cnn 4.png"),
        (["finder", "4.png"], 5, "pages, not single digits"),
        (["fast", "4.png", "--position", "1"], 2, "fast does not read lines"),
        (["reader", "4.png", "--position", "2"], 2, "read as 4, which has no digit 2"),
        (["reader", "4.png", "-m", "prototype"], 2, "--method prototype needs a model of single digits"),
        (["reader", "4.png", "--counterfactual", "9"], 2, "--counterfactual needs a model"),
        (["reader", "--test-digit", "3"], 2, "--test-digit needs a model of single digits"),
        (["reader", "none.png"], 3, "'none.png' does not exist"),
        (["reader", "white.png"], 3, "No number was found in white.png"),
        (["nothing", "4.png"], 5, "There is no model 'nothing'"),
    ):
        done = digitcli("explain", *arguments)
        assert done.returncode == code and cause in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr and done.stdout == "", arguments
