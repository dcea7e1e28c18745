"""`digitcli evaluate` as a person or a program meets it: processes, exit codes, streams."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digitcli.cli import evaluate as evaluation_command
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from tests.support.forked import in_background, run_digitcli_in_ascii, run_digitcli_on_a_full_disk
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


def test_several_models_by_position_and_by_option_are_one_list(
    digitcli: Run, model: str, data: str, tmp_path: Path
) -> None:
    names = [
        str(pointing_model(tmp_path / f"{name}.safetensors", seed=seed)) for seed, name in enumerate("ab")
    ]
    done = digitcli(
        "evaluate", model, "-m", names[0], "--model", names[1], "--data", data, "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"pointing@\w+\+a@\w+\+b@\w+", json.loads(done.stdout)["model"])


def test_in_a_pipe_there_is_plain_text_with_everything(digitcli: Run, model: str, data: str) -> None:
    done = digitcli("evaluate", model, "--data", data, env={"COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    assert re.search(r"accuracy +83\.33 %, 1 wrong; 95 % interval 43\.65 to 96\.99 %", done.stdout)
    assert re.search(r"^ +5 +66\.67 % +100\.00 % +80\.00 % +2 ", done.stdout, re.MULTILINE)
    assert re.search(r" 3( +·){3} +2 +· +1( +·){4} *$", done.stdout, re.MULTILINE)
    assert re.search(r"^5\? it is 3, \d\d\.\d %", done.stdout, re.MULTILINE)
    assert "\x1b" not in done.stdout + done.stderr and done.stderr == ""


def test_where_text_is_ascii_so_is_the_table(model: str, data: str) -> None:
    with in_background("evaluate", model, "--data", data, target=run_digitcli_in_ascii) as process:
        shown, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "accuracy" in shown
    assert shown.isascii() and "\\x" not in shown and "\\u" not in shown


@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal_shares_are_shaded_unless_colour_is_unwanted(
    on_terminal: Terminal, model: str, data: str, no_color: str
) -> None:
    code, shown = on_terminal("evaluate", model, "--data", data, NO_COLOR=no_color, COLUMNS="120")
    assert code == 0, shown
    assert "5? it is 3" in shown and "·" in shown
    assert bool(re.search(r"\x1b\[[0-9;]*[34][0-8][;m]", shown)) == (not no_color)


def test_pictures_stand_side_by_side_as_the_window_is_wide(
    result: EvaluationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    for width, columns in ((120, 4), (59, 2), (57, 1), (20, 1)):
        console = Console(width=width, record=True, force_terminal=False)
        monkeypatch.setattr(evaluation_command.console, "out", console)
        four = EvaluationResult(**{**vars(result), "mistakes": result.mistakes * 4})
        with console.capture() as captured:
            console.print(evaluation_command.draw_result(four))
        captions = [line for line in captured.get().splitlines() if "it is" in line]
        assert [line.count("it is") for line in captions][0] == columns
        assert max(map(len, captured.get().splitlines())) <= width


def test_a_heat_cell_shows_one_mistake_in_a_thousand_and_hides_none() -> None:
    shades = [
        evaluation_command._heat_cell(count, 1000, is_correct=False, width=4).style for count in (1, 10, 900)
    ]
    reds = [shade.bgcolor.triplet.red for shade in shades]
    assert reds == sorted(set(reds)) and reds[0] > 90
    assert evaluation_command._heat_cell(0, 0, is_correct=True, width=4).plain.strip() in ("·", ".")


def test_csv_has_a_row_an_image(digitcli: Run, model: str, data: str, tmp_path: Path) -> None:
    done = digitcli("evaluate", model, "--data", data, "--save", "answers.csv", "--mistakes", "0")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [int(row["predicted"]) for row in rows] == ANSWERS
    assert [int(row["label"]) for row in rows] == LABELS
    assert "it is" not in done.stdout


def test_a_missed_gate_is_code_8_after_the_result(digitcli: Run, model: str, data: str) -> None:
    done = digitcli("evaluate", model, "--data", data, "--min-accuracy", "0.84", "--format", "json")
    assert done.returncode == 8
    assert json.loads(done.stdout)["accuracy"] == 5 / 6
    assert "0.833333 is below --min-accuracy 0.84" in done.stderr


def test_a_gate_that_is_just_met_is_met(digitcli: Run, model: str, tmp_path: Path) -> None:
    half = as_npz(tmp_path / "half.npz", pointing_digits([1, 2], [1, 1]))
    assert digitcli("evaluate", model, "--data", half, "--min-accuracy", "0.5").returncode == 0


@pytest.mark.parametrize(("gate", "code"), [([], 4), (["--min-accuracy", "1"], 8)])
def test_unreadable_pictures_are_code_4_after_the_result_unless_the_gate_is_missed(
    digitcli: Run, model: str, tmp_path: Path, gate: list[str], code: int
) -> None:
    image = np.full((60, 60), 255, np.uint8)
    image[10:50, 28:32] = 0
    for digit in range(2):
        (tmp_path / "pictures" / str(digit)).mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / "pictures" / str(digit) / "one.png")
    (tmp_path / "pictures" / "1" / "[red]\x1b[2J.png").write_text("no picture")
    done = digitcli("evaluate", model, "--data", "pictures", "--format", "json", *gate)
    assert done.returncode == code, done.stderr
    result = json.loads(done.stdout)
    assert (result["n"], result["unreadable"]) == (2, 1)
    assert "[red]\\x1b[2J.png" in done.stderr and "\x1b" not in done.stderr


def test_training_digits_are_named_on_stderr(digitcli: Run, few_digits: Path) -> None:
    trained = digitcli("train", "-a", "softmax", "--data", few_digits, "-e", "1", "--out", "run")
    assert trained.returncode == 0, trained.stderr
    done = digitcli("evaluate", "run", "--data", few_digits, "--split", "train", "--format", "json")
    result = json.loads(done.stdout)
    assert result["overlap"] == result["n"] > 400
    assert "Note:" in done.stderr and "used to train run@" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--data", "mnits"], 2, "mnist"),
        (["--data", "none/such.npz"], 3, "none/such.npz"),
        (["cmn"], 5, "Did you mean cnn"),
        (["cnn", "-m", "none/such.safetensors"], 5, "none/such.safetensors"),
        (["--device", "gpu"], 2, "cuda"),
        (["--device", "cuda:99"], 6, "It has:"),
        (["--split", "half"], 2, "--split is 'half'"),
        (["--batch-size", "0"], 2, "--batch-size"),
        (["--mistakes", "-1"], 2, "--mistakes"),
        (["--min-accuracy", "99.5"], 2, "from 0 to 1"),
        (["--min-accuracy", "nan"], 2, "from 0 to 1"),
        (["--save", "result.txt"], 2, ".json or .csv"),
        (["--force"], 2, "--output"),
        (["--save", "none/such.json"], 7, "cannot be written"),
        (["--save", "/proc/result.json"], 7, "cannot be written"),
    ],
    ids=str,
)
def test_a_mistake_is_a_cause_a_remedy_and_an_exit_code(
    digitcli: Run, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    done = digitcli("evaluate", *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_model_is_code_5(digitcli: Run, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the kind")
    done = digitcli("evaluate", "model.safetensors")
    assert done.returncode == 5 and "not a checkpoint" in done.stderr


def test_a_file_that_is_there_is_replaced_by_force_alone(
    digitcli: Run, model: str, data: str, tmp_path: Path
) -> None:
    (tmp_path / "result.json").write_text("mine")
    refused = digitcli("evaluate", model, "--data", data, "--save", "result.json")
    assert refused.returncode == 7 and refused.stdout == "" and "--force" in refused.stderr
    assert (tmp_path / "result.json").read_text() == "mine"
    done = digitcli("evaluate", model, "--data", data, "--save", "result.json", "--force")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "result.json").read_text())["n"] == 6


def test_the_figures_are_shown_even_if_a_full_disk_keeps_them_from_being_saved(
    model: str, data: str, tmp_path: Path
) -> None:
    arguments = ("evaluate", model, "--data", data, "--format", "json", "--save", "result.json")
    with in_background(*arguments, target=run_digitcli_on_a_full_disk) as process:
        shown, errors = process.communicate()
    assert process.returncode == 7, errors
    assert json.loads(shown)["n"] == 6
    assert "cannot be written" in errors and not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_a_word_and_its_code(number: signal.Signals) -> None:
    script = (
        "import signal, sys\n"
        "from digitcli.cli import main\n"
        "from digitcli.evaluation import evaluate as report\n"
        f"report.evaluate = lambda *given, **named: signal.raise_signal({int(number)})\n"
        "sys.argv = ['digitcli', 'evaluate']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr.startswith("Stopped.")


def test_where_it_is_narrow_the_pairs_most_confused_are_listed(
    result: EvaluationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    for width in (40, 50, 62):
        console = Console(width=width, record=True, force_terminal=False)
        monkeypatch.setattr(evaluation_command.console, "out", console)
        with console.capture() as captured:
            console.print(evaluation_command.draw_result(result))
        assert re.search(r"is +read as +times", captured.get())
        assert re.search(r" 3 +5 +1 *$", captured.get(), re.MULTILINE)
        assert "…" not in captured.get() and max(map(len, captured.get().splitlines())) <= width


def test_the_figures_say_that_the_training_digits_are_unknown(
    result: EvaluationResult,
) -> None:
    figures = evaluation_command._figures(dataclasses.replace(result, overlap=None))
    assert figures["used in training"].startswith("not known")
    assert "used in training" not in evaluation_command._figures(dataclasses.replace(result, overlap=0))


def test_robustness_and_out_of_distribution_figures_are_shown(digitcli: Run, model: str, data: str) -> None:
    options = ("--data", data, "--robustness", "--ood", "--mistakes", "0")
    done = digitcli("evaluate", model, *options)
    assert done.returncode == 0, done.stderr
    for name in ("robustness", "gap", "worst", "fog", "zigzag", "noise", "clouds", "letters", "AUROC"):
        assert name in done.stdout, name
    record = json.loads(digitcli("evaluate", model, *options, "--format", "json").stdout)
    assert len(record["robustness"]["corruptions"]) == 15
    assert record["robustness"]["gap"] == pytest.approx(5 / 6 - record["robustness"]["mean"])
    assert {"name", "n", "auroc", "trained"} == record["ood"][0].keys()
    assert record["accuracy_without_label_errors"] is None


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--without-label-errors", "--split", "train"), 2),
        (("--without-label-errors", "--data", "six.npz"), 2),
    ],
)
def test_options_for_more_measurements_are_checked_at_once(
    digitcli: Run, model: str, data: str, options: tuple[str, ...], code: int
) -> None:
    done = digitcli("evaluate", model, *options)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_options_for_digits_are_refused_for_lines(digitcli: Run) -> None:
    for option in ("--robustness", "--without-label-errors", "--ood"):
        done = digitcli("evaluate", "reader", option)
        assert done.returncode == 2 and f"{option} is for" in done.stderr
