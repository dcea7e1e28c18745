"""`digitcli train` from outside: processes, exit codes, streams; and its options."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from digitcli.architectures.recipe import AUGMENTATION, DISTILLATION, WITH_AUGMENT, Recipe
from digitcli.architectures.registry import ARCHITECTURES, resolve_recipe
from digitcli.cli.options import as_command, with_settings
from digitcli.cli.train import PANELS, TrainOptions, _check_fields, describe_recipe
from digitcli.data import augmentation
from digitcli.errors import UsageError
from digitcli.inference.checkpoint import RESUME_FILE
from digitcli.settings import setting, user_settings
from digitcli.training.configuration import TrainConfig
from tests.support.forked import ForkedProcess, in_background, run_digitcli_on_a_full_disk
from tests.support.processes import Run, read_until
from tests.support.terminal import Terminal

KEYS = {
    "architecture", "run", "checkpoint", "seed", "epochs", "train_seconds", "total_seconds",
    "validation_accuracy", "test_accuracy", "parameters", "device", "dtype",
}  # fmt: skip


def test_stdout_has_the_result_alone_as_json_or_as_plain_text(
    digitcli: Run, few_digits: Path, tmp_path: Path
) -> None:
    done = digitcli("train", "-a", "softmax", "--data", few_digits, "-e", "2", "--format", "json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() >= KEYS
    assert result["run"] == "runs/softmax-1" and (tmp_path / result["checkpoint"]).is_file()
    assert 0 <= result["test_accuracy"] <= 1
    assert "epoch 2/2" in done.stderr and "optimization" in done.stderr
    table = digitcli("train", "--resume", "runs/softmax-1")
    assert re.search(r"test +\d+\.\d\d %", table.stdout)
    assert "\x1b" not in table.stdout + done.stderr and "\r" not in done.stderr


def test_on_a_terminal_there_is_a_live_view(on_terminal: Terminal, few_digits: Path) -> None:
    arguments = ("train", "-a", "cnn", "--data", few_digits, "-e", "1", "-b", "16")
    code, shown = on_terminal(*arguments, NO_COLOR="")
    assert code == 0, shown
    assert "left" in shown and "images/s" in shown
    assert "\x1b[" in shown


MISTAKES = [
    (["--arch", "lenet"], 2, "Did you mean lenet5"),
    (["--data", "mnits"], 2, "mnist"),
    (["--data", "none/such.npz"], 3, "none/such.npz"),
    (["--optimizer", "luck"], 2, "optimizer"),
    (["--lr", "0"], 2, "--lr"),
    (["--epochs", "-1"], 2, "--epochs"),
    (["--device", "gpu"], 2, "cuda"),
    (["--device", "cuda:99"], 6, "It has:"),
    (["--time", "later"], 2, "--time"),
    (["--arch", "softmax", "--dropout", "0.5"], 2, "--dropout"),
    (["--elastic", "7"], 2, "--elastic is 7.0"),
    (["--out", "a", "--resume", "b"], 2, "Give one"),
    (["--resume", "b", "--dry-run"], 2, "--dry-run"),
    (["--resume", "none/such"], 3, "no run in none/such"),
    (["--resume", "run", "--from", "none/such"], 5, "none/such"),
    (["--resume-or-start"], 2, "--output"),
    (["--resume-or-start", "--out", "a", "--force"], 2, "--force"),
    (["--tensorboard", "tb", "--dry-run"], 2, "--tensorboard does not go together with --dry-run"),
    (["--arch", "sigmoid_mlp", "--label-smoothing", "0.1"], 2, "--label-smoothing"),
    (["--arch", "sigmoid_mlp", "--beta1", "0.8"], 2, "--beta1 has no effect"),
    (["--out", "x" * 300], 7, "cannot be written"),
    (["--fonts", "x" * 300, "--synthetic", "1"], 3, "no file or folder"),
    (["--momentum", "0.9"], 2, "--momentum has no effect without --optimizer sgd"),
    (["--config", "none.toml"], 2, "none.toml"),
    (["--teacher", "robbust"], 5, "Did you mean robust"),
    (["--teacher", "none.safetensors"], 5, "The teacher cannot be used"),
    (["--teacher", "reader"], 2, "reader is a model of lines"),
    (["--teacher", "cnn", "--distillation-temperature", "0"], 2, "--distillation-temperature is 0.0"),
    (["--from", "cmm"], 5, "cnn"),
    (["--from", "cnn", "--freeze", "4"], 2, "up to 3"),
    (["--from", "cnn", "--rehearse", "1"], 2, "--rehearse"),
    (["--out", "/proc/none"], 7, "/proc/none"),
]


def test_a_mistake_is_a_cause_a_remedy_and_an_exit_code(digitcli: Run, tmp_path: Path) -> None:
    for arguments, code, words in MISTAKES:
        done = digitcli("train", *arguments)
        assert done.returncode == code and words in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr and done.stdout == ""
        assert list(tmp_path.iterdir()) == []


def test_a_learning_rate_that_is_far_too_high_ends_with_its_exit_code(
    digitcli: Run, few_digits: Path, tmp_path: Path
) -> None:
    done = digitcli("train", "-a", "softmax", "--data", few_digits, "-e", "1", "--lr", "1e30")
    assert done.returncode == 9 and "diverged" in done.stderr and "--lr" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_one_command_starts_a_run_and_continues_it(digitcli: Run, few_digits: Path, tmp_path: Path) -> None:
    command = ("train", "-a", "softmax", "--data", few_digits, "-e", "2", "--seed", "7", "--format", "json")
    command += ("-o", "runs/job", "--resume-or-start")
    first = digitcli(*command)
    assert first.returncode == 0, first.stderr
    killed = tmp_path / "runs" / "killed"
    killed.mkdir()
    shutil.copy(tmp_path / "runs" / "job" / "config.json", killed)
    second, other = digitcli(*command), digitcli(*command, "--momentum", "0.5", "--optimizer", "sgd")
    assert second.returncode == 0 and "is finished" in second.stderr
    assert (
        other.returncode == 2
        and "started with another --optimizer (adamw), --momentum (0.0)." in other.stderr
    )
    started = digitcli(*command[:-3], "--out", killed, "--resume-or-start")
    assert started.returncode == 0 and "no saved state" in started.stderr
    results = [json.loads(done.stdout)["test_nll"] for done in (first, second, started)]
    assert len(set(results)) == 1


def test_tensorboard_gets_a_subfolder_for_each_run(digitcli: Run, few_digits: Path, tmp_path: Path) -> None:
    command = ("train", "-a", "softmax", "--data", few_digits, "-e", "1", "--tensorboard", "my logs")
    for name in ("softmax-1", "softmax-2"):
        done = digitcli(*command)
        assert done.returncode == 0 and "tensorboard --logdir 'my logs'" in done.stderr
        assert list((tmp_path / "my logs" / name).glob("events.out.tfevents.*"))
    again = digitcli("train", "--resume", "runs/softmax-1", "--tensorboard", "other")
    assert again.returncode == 0 and (tmp_path / "other" / "softmax-1").is_dir()  # with its saved figures


def test_settings_come_from_a_file_and_options_override_it(digitcli: Run, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('arch = "mlp"\nepochs = 7\nlr = 0.5\n')
    done = digitcli("train", "--config", "run.toml", "--lr", "0.25", "--print-config", "--format", "json")
    settings = json.loads(done.stdout)
    expected = {"arch": "mlp", "epochs": 7, "lr": 0.25, "dropout": 0.0}
    assert {name: settings[name] for name in expected} == expected
    (tmp_path / "run.toml").write_text("epoch = 7\n")
    done = digitcli("train", "--config", "run.toml")
    assert done.returncode == 2 and "epochs" in done.stderr
    done = digitcli("train", "--arch", "sigmoid_mlp", "--beta1", "0.9", "--print-config")  # the default
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True, kw_only=True)
class RecipeWithInversion(Recipe):
    """A recipe with one more augmentation, declared as CONTRIBUTING says."""

    inversion: float = setting(
        0.0,
        AUGMENTATION,
        "Exchange ink and paper in this fraction of the digits.",
        at_least=0,
        at_most=1,
        unit="fraction",
        requires=WITH_AUGMENT,
    )


def test_a_field_and_a_function_of_its_name_make_an_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "AUGMENTATIONS", dict(augmentation.AUGMENTATIONS))

    @augmentation.augmentation
    def inversion(images: torch.Tensor, value: float, share: tuple[int, int]) -> torch.Tensor:
        return 1 - images

    given: dict[str, Any] = {}
    app = typer.Typer()

    @with_settings(RecipeWithInversion, panels=PANELS, completions={})
    def command(options: TrainOptions, settings: dict[str, Any]) -> None:
        given.update(settings)

    app.command()(as_command(command))
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    words = " ".join(shown.replace("│", " ").split())
    assert "Exchange ink and paper in this fraction of the" in words and "--inversion FRACTION" in words
    assert CliRunner().invoke(app, ["--inversion", "0.5"]).exit_code == 0
    assert given == {"inversion": 0.5}
    with pytest.raises(UsageError, match="--inversion is 1.5"):
        RecipeWithInversion(inversion=1.5)
    recipe = RecipeWithInversion(augment=True, affine=False, stroke_width=False, **given)
    assert describe_recipe(recipe)[AUGMENTATION] == "inversion 0.5"
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(augmentation.augment(images, recipe), 1 - images)


def test_every_setting_has_an_option_in_the_panel_of_its_group(
    digitcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = digitcli("train", "--help").stdout
    headings = list(PANELS.values())
    for declared in user_settings(TrainConfig, Recipe):
        heading = PANELS[declared.group]
        following = headings[headings.index(heading) + 1 :][:1] or ["Output"]
        panel = shown[shown.index(f"─ {heading} ─") : shown.index(f"─ {following[0]} ─")]
        assert f"{declared.option} " in panel or f"{declared.option}," in panel, declared.name


def test_the_start_names_only_settings_that_are_on() -> None:
    for recipe in (resolve_recipe(row.name) for row in ARCHITECTURES):
        lines = describe_recipe(recipe)
        assert f"lr {recipe.lr}" in lines["optimization"]
        assert lines.get(AUGMENTATION, "off").startswith("stroke width, affine" if recipe.augment else "off")
        assert (AUGMENTATION in lines) == (recipe.loss != "ctc")
        assert "momentum" not in lines["optimization"]  # no recipe in the package has momentum
        assert ("beta1" in lines["optimization"]) == (recipe.optimizer != "sgd")
        assert DISTILLATION not in lines and DISTILLATION in describe_recipe(recipe, has_teacher=True)


@contextlib.contextmanager
def long_training(data: Path | str) -> Iterator[ForkedProcess]:
    """Train in the folder `run`, from the first steps to the end of the context."""
    with in_background("train", "-a", "softmax", "--data", data, "-e", "100000", "--out", "run") as process:
        read_until("epoch 1", process.stderr)
        yield process


def test_a_signal_saves_and_the_run_can_be_continued_from_any_folder(
    digitcli: Run, few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "few.npz").write_bytes(few_digits.read_bytes())
    (tmp_path / "elsewhere").mkdir()
    for number, code, folder in ((signal.SIGINT, 130, "."), (signal.SIGTERM, 143, "elsewhere")):
        monkeypatch.chdir(tmp_path)
        shutil.rmtree("run", ignore_errors=True)
        with long_training("few.npz") as process:
            process.send_signal(number)
            _, shown = process.communicate()
        assert process.returncode == code, shown
        assert "digitcli train --resume run" in shown and "Traceback" not in shown
        assert (tmp_path / "run" / RESUME_FILE).is_file()
        monkeypatch.chdir(tmp_path / folder)
        done = digitcli("train", "--resume", tmp_path / "run", "--patience", "1", "--format", "json")
        assert done.returncode == 0, done.stderr
        assert 0 <= json.loads(done.stdout)["test_accuracy"] <= 1


def test_the_options_of_a_continued_run_are_checked_against_its_architecture(tmp_path: Path) -> None:
    """The default architecture, which a new run would have, is not the one of the continued run."""
    (tmp_path / "letters.ttf").touch()
    fields = {"fonts": "letters.ttf", "recipe": {"stochastic_depth": 0.1}}
    assert _check_fields(fields, is_new=False).fonts == str(tmp_path / "letters.ttf")
    with pytest.raises(UsageError, match="--stochastic-depth"):
        _check_fields(fields, is_new=True)


def test_a_folder_in_use_is_refused_and_a_killed_run_can_be_continued(
    digitcli: Run, few_digits: Path, tmp_path: Path
) -> None:
    with long_training(few_digits) as process:
        done = digitcli("train", "-a", "softmax", "--data", few_digits, "--out", "run", "--force")
        assert done.returncode == 7 and "in use" in done.stderr
        process.kill()
    done = digitcli("train", "--resume", "run", "--patience", "1", "--format", "json")
    assert done.returncode == 0, done.stderr


def test_a_full_disk_is_an_output_error_and_keeps_the_saved_state(
    digitcli: Run, few_digits: Path, tmp_path: Path
) -> None:
    started = digitcli("train", "-a", "softmax", "--data", few_digits, "-e", "1", "--out", "run")
    assert started.returncode == 0, started.stderr
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    arguments = ("train", "-a", "mlp", "--data", few_digits, "-e", "1", "--out", "run", "--force")
    with in_background(*arguments, target=run_digitcli_on_a_full_disk) as process:
        _, shown = process.communicate()
    assert process.returncode == 7, shown
    assert "cannot be written" in shown and "Traceback" not in shown
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_closed_pipe_ends_with_141_and_prints_nothing(few_digits: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "digitcli", "train", "--print-config"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 141


def test_unreadable_pictures_give_exit_code_4_and_a_model(
    digitcli: Run, few_digits: Path, tmp_path: Path
) -> None:
    with np.load(few_digits) as arrays:
        for index in range(40):
            folder = tmp_path / "pictures" / str(arrays["labels"][index])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(arrays["images"][index]).save(folder / f"{index}.png")
    (tmp_path / "pictures" / "1" / "[red]\x1b[2J.png").write_text("no picture")
    done = digitcli("train", "-a", "softmax", "--data", "pictures", "-e", "1", "--format", "json")
    assert done.returncode == 4, done.stderr
    assert json.loads(done.stdout)["unreadable"] == 1
    again = digitcli("train", "--resume", json.loads(done.stdout)["run"])
    assert again.returncode == 4 and f"1 file of '{tmp_path / 'pictures'}' could not" in again.stderr
    assert "[red]\\x1b[2J.png" in done.stderr and "\x1b" not in done.stderr


def test_closing_the_terminal_saves_the_run(few_digits: Path, tmp_path: Path) -> None:
    """The kernel sends HUP when a terminal goes, shells send it again, and nobody reads stderr any more."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "digitcli", "train", "-a", "softmax", "--data", str(few_digits)]
    process = subprocess.Popen(
        [*command, "-e", "100000", "--out", "run"],
        stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    try:
        received = b""
        while b"epoch 2/" not in received:
            received += os.read(master, 65536)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 129
    finally:  # a process that is left behind slows other tests and fails one of them with a warning
        process.kill()
        process.wait()
    assert (tmp_path / "run" / RESUME_FILE).is_file()


def test_training_goes_on_if_nobody_reads_stderr(few_digits: Path) -> None:
    arguments = ("train", "-a", "softmax", "--data", few_digits, "-e", "3", "--format", "json")
    with in_background(*arguments) as process:
        process.close_stderr()
        shown, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(shown)["epochs"] == 3


def test_a_signal_before_the_first_step_stops_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    with in_background("train", "--data", "mnist", "--out", "run") as process:
        while not (tmp_path / "run").exists() and process.returncode is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate()
    assert process.returncode == 130, shown
    assert "Traceback" not in shown
    assert not (tmp_path / "run").exists() or (tmp_path / "run" / RESUME_FILE).exists()
