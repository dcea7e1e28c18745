"""`digitcli evaluate` as a person or a program meets it: processes, exit codes, streams."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from digitcli.cli import evaluate as evaluation_command
from digitcli.evaluation import evaluate as evaluation
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from tests.support.forked import (
    in_background,
    run_digitcli,
    run_digitcli_in_ascii,
    run_digitcli_on_a_full_disk,
)
from tests.support.models import EVALUATION_KEYS, as_npz, pointing_digits, pointing_model
from tests.support.processes import Run
from tests.support.terminal import Terminal

LABELS, ANSWERS = [3, 3, 3, 5, 5, 7], [3, 3, 5, 5, 5, 7]


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(pointing_model(tmp_path / "pointing.safetensors"))


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Six digits; the model reads five of them."""
    return as_npz(tmp_path / "six.npz", pointing_digits(LABELS, ANSWERS))


@pytest.fixture
def result(model: str, data: str) -> EvaluationResult:
    return evaluate(model, data, device="cpu")


def test_json_goes_to_stdout_alone_and_has_the_keys_of_the_design(
    digitcli: Run, model: str, data: str, tmp_path: Path
) -> None:
    done = digitcli("evaluate", model, "--data", data, "--format", "json", "--save", "same.json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result) == EVALUATION_KEYS
    assert (result["n"], result["accuracy"], result["data"]) == (6, 5 / 6, data)
    assert done.stderr == ""
    assert (tmp_path / "same.json").read_text() == done.stdout
    refused = digitcli("evaluate", model, "--data", data, "-o", "same.json")
    assert refused.returncode == 7 and refused.stdout == "" and "--force" in refused.stderr
    missed = digitcli(
        "evaluate", model, "--data", data, "-o", "same.json", "--force", "--min-accuracy", "0.84",
        "--format", "json",
    )  # fmt: skip
    assert missed.returncode == 8 and json.loads(missed.stdout) == result
    assert "0.833333 is below --min-accuracy 0.84" in missed.stderr


def test_in_a_pipe_there_is_plain_text_with_everything(digitcli: Run, model: str, data: str) -> None:
    done = digitcli("evaluate", model, "--data", data, "-o", "answers.csv", env={"COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    assert re.search(r"accuracy +83\.33 %, 1 wrong; 95 % interval 43\.65 to 96\.99 %", done.stdout)
    assert re.search(r"^ +5 +66\.67 % +100\.00 % +80\.00 % +2 ", done.stdout, re.MULTILINE)
    assert re.search(r" 3( +·){3} +2 +· +1( +·){4} *$", done.stdout, re.MULTILINE)
    assert re.search(r"^5\? it is 3, \d\d\.\d %", done.stdout, re.MULTILINE)
    assert "\x1b" not in done.stdout + done.stderr and done.stderr == ""
    assert len(Path("answers.csv").read_text().splitlines()) == 7


def test_where_text_is_ascii_so_is_the_table(model: str, data: str) -> None:
    with in_background("evaluate", model, "--data", data, target=run_digitcli_in_ascii) as process:
        shown, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "accuracy" in shown
    assert shown.isascii() and "\\x" not in shown and "\\u" not in shown


@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal_answers_are_coloured_unless_colour_is_unwanted(
    on_terminal: Terminal, model: str, data: str, no_color: str
) -> None:
    code, shown = on_terminal("evaluate", model, "--data", data, NO_COLOR=no_color, COLUMNS="120")
    assert code == 0, shown
    assert "5? it is 3" in shown and "·" in shown
    assert bool(re.search(r"\x1b\[[0-9;]*[34][0-8][;m]", shown)) == (not no_color)


def test_a_gate_that_is_just_met_is_met(digitcli: Run, model: str, tmp_path: Path) -> None:
    half = as_npz(tmp_path / "half.npz", pointing_digits([1, 2], [1, 1]))
    done = digitcli("evaluate", model, "--data", half, "--min-accuracy", "0.5", "--mistakes", "0")
    assert done.returncode == 0 and "it is" not in done.stdout


def test_unreadable_pictures_are_code_4_after_the_result_unless_the_gate_is_missed(
    digitcli: Run, model: str, tmp_path: Path
) -> None:
    image = np.full((60, 60), 255, np.uint8)
    image[10:50, 28:32] = 0
    for digit in range(2):
        (tmp_path / "pictures" / str(digit)).mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / "pictures" / str(digit) / "one.png")
    (tmp_path / "pictures" / "1" / "[red]\x1b[2J.png").write_text("no picture")
    for gate, code in (((), 4), (("--min-accuracy", "1"), 8)):
        done = digitcli("evaluate", model, "--data", "pictures", "--format", "json", *gate)
        assert done.returncode == code, done.stderr
        result = json.loads(done.stdout)
        assert (result["n"], result["unreadable"]) == (2, 1)
        assert "[red]\\x1b[2J.png" in done.stderr and "\x1b" not in done.stderr


MISTAKES = {
    ("--data", "mnits"): (2, "mnist"),
    ("--data", "none/such.npz"): (3, "none/such.npz"),
    ("cmn",): (5, "Did you mean cnn"),
    ("cnn", "none/such.safetensors"): (5, "none/such.safetensors"),
    ("damaged.safetensors",): (5, "not a checkpoint"),
    ("cnn", "fast", "cnn"): (2, "named twice"),
    ("--device", "gpu"): (2, "cuda"),
    ("--device", "cuda:99"): (6, "It has:"),
    ("--split", "half"): (2, "--split is 'half'"),
    ("--mistakes", "-1"): (2, "--mistakes"),
    ("--min-accuracy", "99.5"): (2, "from 0 to 1"),
    ("--min-accuracy", "nan"): (2, "from 0 to 1"),
    ("--save", "result.txt"): (2, ".json or .csv"),
    ("--save", "result.csv.gz"): (2, ".json or .csv"),
    ("--force",): (2, "--output"),
    ("--save", "none/such.json"): (7, "cannot be written"),
    ("--save", "/proc/result.json"): (7, "cannot be written"),
    ("reader", "--robustness"): (2, "--robustness is for"),
    ("reader", "--ood"): (2, "--ood is for"),
    ("reader", "cnn"): (2, "cannot be averaged"),
    ("reader", "-o", "x.svg"): (2, ".json or .csv"),
}


def test_a_mistake_is_a_cause_a_remedy_and_an_exit_code(digitcli: Run, tmp_path: Path) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing of the kind")
    for arguments, (code, words) in MISTAKES.items():
        done = digitcli("evaluate", *arguments)
        assert done.returncode == code and words in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr and done.stdout == ""
        assert [path.name for path in tmp_path.iterdir()] == ["damaged.safetensors"]


def test_the_figures_are_shown_even_if_a_full_disk_keeps_them_from_being_saved(
    model: str, data: str, tmp_path: Path
) -> None:
    arguments = ("evaluate", model, "--data", data, "--format", "json", "--save", "result.json")
    with in_background(*arguments, target=run_digitcli_on_a_full_disk) as process:
        shown, errors = process.communicate()
    assert process.returncode == 7, errors
    assert json.loads(shown)["n"] == 6
    assert "cannot be written" in errors and not (tmp_path / "result.json").exists()


def test_a_signal_ends_it_with_a_word_and_its_code() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with in_background("evaluate", target=partial(_run_into_a_signal, number)) as process:
            shown, errors = process.communicate()
        assert (process.returncode, shown) == (128 + number, "") and errors.startswith("Stopped.")


def _run_into_a_signal(number: int, *arguments: str) -> None:
    evaluation.evaluate = lambda *given, **named: signal.raise_signal(number)  # type: ignore[assignment]
    run_digitcli(*arguments)


def test_the_tables_fit_the_window(result: EvaluationResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures stand side by side; where it is narrow, the matrix is left out, and a line says so."""
    four = dataclasses.replace(result, mistakes=result.mistakes * 4)
    for width, columns in ((120, 4), (59, 2), (57, 1), (40, 1), (20, 1)):
        console = Console(width=width, record=True, force_terminal=False)
        monkeypatch.setattr(evaluation_command.console, "out", console)
        with console.capture() as captured:
            console.print(evaluation_command.draw_result(four))
        shown = captured.get()
        captions = [line for line in shown.splitlines() if "it is" in line]
        assert captions[0].count("it is") == columns
        assert ("…" not in shown or width == 20) and max(map(len, shown.splitlines())) <= width
        assert ("too narrow for the confusion matrix" in " ".join(shown.split())) == (width < 100)


def test_the_figures_say_that_the_training_digits_are_unknown(
    result: EvaluationResult,
) -> None:
    figures = evaluation_command._figures(dataclasses.replace(result, overlap=None))
    assert figures["used in training"].startswith("not known")
    assert "used in training" not in evaluation_command._figures(dataclasses.replace(result, overlap=0))


def test_robustness_and_out_of_distribution_figures_are_shown(digitcli: Run, model: str, data: str) -> None:
    options = ("--data", data, "--robustness", "--ood", "--mistakes", "0", "-o", "result.json")
    done = digitcli("evaluate", model, *options)
    assert done.returncode == 0, done.stderr
    for name in ("robustness", "gap", "worst", "fog", "zigzag", "noise", "clouds", "letters", "AUROC"):
        assert name in done.stdout, name
    record = json.loads(Path("result.json").read_text())
    assert len(record["robustness"]["corruptions"]) == 15
    assert record["robustness"]["gap"] == pytest.approx(5 / 6 - record["robustness"]["mean"])
    assert {"name", "n", "auroc", "trained"} == record["ood"][0].keys()
