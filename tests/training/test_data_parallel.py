"""Several processes train the same network as one process, and end when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from digitcli.data.augmentation import AUGMENTATIONS, augment, mixup
from digitcli.inference.checkpoint import RESUME_FILE, read_checkpoint, read_header
from digitcli.inference.devices import rank_and_size
from digitcli.training.data_parallel import ONE_PROCESS, joined_processes
from tests.support.augmentation import recipe_with
from tests.support.processes import Run

SETTINGS = ("--arch", "lenet5", "--batch-size", "50", "--device", "cpu", "--format", "json")


def start(rank: int, size: int, port: int, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start one of the processes that torchrun would start."""
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    return subprocess.Popen(
        [sys.executable, "-m", "digitcli", "train", *SETTINGS, *arguments],
        cwd=folder,
        env={
            **os.environ,
            **{name: str(value) for name, value in variables.items()},
            "MASTER_ADDR": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_epoch(process: subprocess.Popen[str], number: int) -> None:
    """Wait until the first process reports that an epoch is done."""
    assert process.stderr is not None
    while f"epoch {number}/" not in (line := process.stderr.readline()):
        assert line, "the process ended"


def test_two_processes_train_the_same_weights_as_one(digitcli: Run, few_digits: Path, tmp_path: Path) -> None:
    """Use lenet5, which has neither batch normalization nor dropout."""
    shared = ("--data", str(few_digits), "--epochs", "2")
    done = digitcli("train", *SETTINGS, *shared, "--out", "one")
    assert done.returncode == 0, done.stderr
    port = free_port()
    processes = [start(rank, 2, port, tmp_path, *shared, "--out", "two") for rank in (0, 1)]
    outputs = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[1] == ("", "")
    result = json.loads(outputs[0][0])
    assert result["test_accuracy"] == json.loads(done.stdout)["test_accuracy"]
    (_, ours), (_, theirs) = (read_checkpoint(tmp_path / run / "model.safetensors") for run in ("one", "two"))
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], atol=1e-5, rtol=0)


def test_a_process_that_dies_ends_the_others_with_exit_code_6(few_digits: Path, tmp_path: Path) -> None:
    port = free_port()
    endless = ("--data", str(few_digits), "--epochs", "100000", "--out", "run")
    first, second = (start(rank, 2, port, tmp_path, *endless) for rank in (0, 1))
    wait_for_epoch(first, 2)
    second.send_signal(signal.SIGKILL)
    _, errors = first.communicate(timeout=60)
    second.communicate(timeout=10)
    assert first.returncode == 6, errors
    assert "Process 0 of 2" in errors and "--resume" in errors and "Traceback" not in errors


def test_a_signal_to_any_process_stops_all_of_them_and_the_run_resumes(
    few_digits: Path, tmp_path: Path
) -> None:
    """Use mlp, which has batch normalization and dropout."""
    endless = ("--arch", "mlp", "--data", str(few_digits), "--epochs", "100000", "--out", "run")
    port = free_port()
    first, second = (start(rank, 2, port, tmp_path, *endless) for rank in (0, 1))
    wait_for_epoch(first, 1)
    second.send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=60)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [143, 143], errors
    epochs = read_header(tmp_path / "run" / RESUME_FILE).training["epoch"]
    arguments = ("--arch", "mlp", "--resume", "run", "--epochs", str(epochs + 1))
    port = free_port()
    processes = [start(rank, 2, port, tmp_path, *arguments) for rank in (0, 1)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert json.loads(outputs[0][0])["epochs"] == epochs + 1


def test_a_batch_without_equal_shares_is_refused_by_every_process(few_digits: Path, tmp_path: Path) -> None:
    port = free_port()
    odd = ("--data", str(few_digits), "--batch-size", "25", "--out", "run")
    processes = [start(rank, 2, port, tmp_path, *odd) for rank in (0, 1)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], errors
    assert all("multiple of 2" in text for text in errors)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_share_is_augmented_as_in_the_whole_batch(size: int) -> None:
    images = torch.rand(24, 1, 28, 28)
    recipe = recipe_with(*AUGMENTATIONS)
    torch.manual_seed(5)
    whole = augment(images, recipe)
    for rank in range(size):
        torch.manual_seed(5)
        share = augment(images[rank::size], recipe, (rank, size))
        torch.testing.assert_close(share, whole[rank::size])


def test_a_share_of_even_size_is_mixed_as_in_the_whole_batch() -> None:
    images = torch.rand(24, 1, 28, 28)
    torch.manual_seed(5)
    whole, weight = mixup(images, 0.4)
    torch.manual_seed(5)
    share, same_weight = mixup(images[1::3], 0.4)
    assert weight == same_weight
    torch.testing.assert_close(share, whole[1::3])


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "here"}, (1, 4)),
        ({"RANK": "1", "WORLD_SIZE": "4"}, (0, 1)),
        ({"RANK": "x", "WORLD_SIZE": "4", "MASTER_ADDR": "here"}, (0, 1)),
    ],
)
def test_torchrun_sets_the_rank_and_the_number_of_processes(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: tuple[int, int]
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert rank_and_size() == expected


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with joined_processes("cpu") as processes:
        assert processes == ONE_PROCESS and processes.is_first
        batch = torch.arange(4)
        assert processes.share(batch) is batch
