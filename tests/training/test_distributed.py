"""Several processes train one network as one would; each is told of the others' end."""

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
from digitcli.training.distributed import ALONE, joined

from digitcli.architectures.recipe import Recipe
from digitcli.data.augmentation import augment, mixup
from digitcli.inference.checkpoint import read_checkpoint
from digitcli.inference.devices import rank_and_size
from tests.support.processes import Run

SETTINGS = ("--arch", "lenet5", "--batch-size", "50", "--device", "cpu", "--format", "json")


def start(rank: int, size: int, port: int, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """One of the processes that torchrun would start."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    return subprocess.Popen(
        [sys.executable, "-m", "digitcli", "train", *SETTINGS, *arguments],
        cwd=folder,
        env={
            **os.environ,
            **{name: str(value) for name, value in told.items()},
            "MASTER_ADDR": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def test_two_processes_train_as_one_does(digitcli: Run, few_digits: Path, tmp_path: Path) -> None:
    """lenet5 has neither batch norm nor dropout; it is augmented, averaged and clipped as usual."""
    shared = ("--data", str(few_digits), "--epochs", "2")
    done = digitcli("train", *SETTINGS, *shared, "--out", "one")
    assert done.returncode == 0, done.stderr
    port = free_port()
    several = [start(rank, 2, port, tmp_path, *shared, "--out", "two") for rank in (0, 1)]
    answers = [process.communicate(timeout=100) for process in several]
    assert [process.returncode for process in several] == [0, 0], answers
    assert answers[1] == ("", "")
    result = json.loads(answers[0][0])
    assert result["test_accuracy"] == json.loads(done.stdout)["test_accuracy"]
    (_, ours), (_, theirs) = (read_checkpoint(tmp_path / run / "model.safetensors") for run in ("one", "two"))
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], atol=1e-5, rtol=0)


def test_a_process_that_dies_ends_the_others(few_digits: Path, tmp_path: Path) -> None:
    port = free_port()
    endless = ("--data", str(few_digits), "--epochs", "100000", "--out", "run")
    first, second = (start(rank, 2, port, tmp_path, *endless) for rank in (0, 1))
    assert first.stderr is not None
    while "epoch 2/" not in (line := first.stderr.readline()):
        assert line, second.communicate(timeout=10)
    second.send_signal(signal.SIGKILL)
    _, said = first.communicate(timeout=60)
    second.communicate(timeout=10)
    assert first.returncode == 6, said
    assert "Process 0 of 2" in said and "--resume" in said and "Traceback" not in said


def test_a_batch_without_equal_shares_is_refused_by_every_process(few_digits: Path, tmp_path: Path) -> None:
    port = free_port()
    odd = ("--data", str(few_digits), "--batch-size", "25", "--out", "run")
    several = [start(rank, 2, port, tmp_path, *odd) for rank in (0, 1)]
    said = [process.communicate(timeout=60)[1] for process in several]
    assert [process.returncode for process in several] == [2, 2], said
    assert all("multiple of 2" in text for text in said)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_shares_are_augmented_as_in_the_whole_batch(size: int) -> None:
    images = torch.rand(24, 1, 28, 28)
    recipe = Recipe(augment=True, elastic=1.0, random_lines=0.5, random_convolution=0.5, random_erasing=0.5)
    torch.manual_seed(5)
    whole = augment(images, recipe)
    for rank in range(size):
        torch.manual_seed(5)
        share = augment(images[rank::size], recipe, (rank, size))
        torch.testing.assert_close(share, whole[rank::size])


def test_shares_of_even_size_are_mixed_as_in_the_whole_batch() -> None:
    images = torch.rand(24, 1, 28, 28)
    torch.manual_seed(5)
    whole, weight = mixup(images, 0.4)
    torch.manual_seed(5)
    share, same_weight = mixup(images[1::3], 0.4)
    assert weight == same_weight
    torch.testing.assert_close(share, whole[1::3])


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "here"}, (1, 4)),
        ({"RANK": "1", "WORLD_SIZE": "4"}, (0, 1)),
        ({"RANK": "x", "WORLD_SIZE": "4", "MASTER_ADDR": "here"}, (0, 1)),
    ],
)
def test_torchrun_tells_who_is_who(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], expected: tuple[int, int]
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert rank_and_size() == expected


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with joined("cpu") as processes:
        assert processes == ALONE and processes.leads
        assert processes.of_leader(0.5) == 0.5
        batch = torch.arange(4)
        assert processes.share(batch) is batch
