"""Several processes train the same network as one process, and end when one of them dies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from digitcli.data.augmentation import AUGMENTATIONS, augment, mixup
from digitcli.errors import EnvironmentFault
from digitcli.inference.checkpoint import RESUME_FILE, read_checkpoint, read_header
from digitcli.inference.devices import rank_and_size
from digitcli.training import trainer
from digitcli.training.configuration import TrainConfig
from digitcli.training.data_parallel import ONE_PROCESS, Processes, joined_processes
from tests.support.augmentation import recipe_with
from tests.support.forked import ForkedProcess, in_background, run_digitcli
from tests.support.models import saved
from tests.support.processes import Run, read_until

SETTINGS = ("--arch", "lenet5", "--batch-size", "50", "--device", "cpu", "--format", "json")


def print_hash_of_weights(data: str) -> None:
    """Train, and print a hash of all weights and buffers of the process: only the first writes a file."""
    states, prepare = [], trainer.prepare
    with pytest.MonkeyPatch.context() as patch:

        def prepare_and_keep(*arguments: Any) -> Any:
            setup, state = prepare(*arguments)
            states.append(state)
            return setup, state

        patch.setattr(trainer, "prepare", prepare_and_keep)
        recipe = {"epochs": 1, "batch_size": 8, "stochastic_depth": 0.5, "dropout": 0.5, "dtype": "float32"}
        trainer.train(TrainConfig(arch="reader", data=data, device="cpu", recipe=recipe), out=Path("run"))
    (state,) = states
    weights = b"".join(bytes(tensor.numpy().data) for tensor in state.network.state_dict().values())
    print(state.steps_total, hashlib.sha256(weights).hexdigest())


@contextlib.contextmanager
def two_processes(
    *arguments: str | Path, target: Callable[..., None] = run_digitcli
) -> Iterator[list[ForkedProcess]]:
    """Run a function in two processes as torchrun would start them; kill those that run at the end."""
    address = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    environments = [{**address, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(in_background(*arguments, target=target, **environment))
            for environment in environments
        ]


def train_in_two_processes(*arguments: str) -> contextlib.AbstractContextManager[list[ForkedProcess]]:
    return two_processes("train", *SETTINGS, *arguments)


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def wait_for(processes: list[ForkedProcess]) -> list[tuple[str, str]]:
    """Return what each process printed, after both have succeeded."""
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return outputs


def test_two_processes_train_the_same_weights_as_one(digitcli: Run, few_digits: Path, tmp_path: Path) -> None:
    """Use lenet5, which has neither batch normalization nor dropout."""
    shared = ("--data", str(few_digits), "--epochs", "2")
    done = digitcli("train", *SETTINGS, *shared, "--out", "one")
    assert done.returncode == 0, done.stderr
    with train_in_two_processes(*shared, "--out", "two") as processes:
        outputs = wait_for(processes)
    assert outputs[1] == ("", "")
    result = json.loads(outputs[0][0])
    assert result["test_accuracy"] == json.loads(done.stdout)["test_accuracy"]
    (_, ours), (_, theirs) = (read_checkpoint(tmp_path / run / "model.safetensors") for run in ("one", "two"))
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], atol=1e-5, rtol=0)


def test_two_processes_rehearse_and_freeze_as_one_does(
    digitcli: Run, few_digits: Path, other_digits: Path, tmp_path: Path
) -> None:
    saved(tmp_path / "start.safetensors", "lenet5")
    shared = (
        "--data",
        str(few_digits),
        "--epochs",
        "1",
        "--min-epoch-steps",
        "0",
        "--from",
        "start.safetensors",
    )
    shared += ("--original", str(other_digits), "--rehearse", "0.3", "--freeze", "1", "--layer-decay", "0.5")
    done = digitcli("train", *SETTINGS, *shared, "--out", "one")
    assert done.returncode == 0, done.stderr
    with train_in_two_processes(*shared, "--out", "two") as processes:
        wait_for(processes)
    (_, ours), (_, theirs), (_, start) = (
        read_checkpoint(tmp_path / file)
        for file in ("one/model.safetensors", "two/model.safetensors", "start.safetensors")
    )
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], atol=1e-5, rtol=0)
        assert torch.equal(theirs[name], start[name]) == name.startswith("1.")


def test_both_processes_have_the_same_weights_of_a_line_network_with_stochastic_depth(
    line_folder: Path, tmp_path: Path
) -> None:
    """Each process reads other lines, so the weights differ unless all gradients and buffers are averaged."""
    with two_processes(line_folder, target=print_hash_of_weights) as processes:
        (first, _), (second, _) = wait_for(processes)
    assert first == second and int(first.split()[0]) > 3
    assert read_header(tmp_path / "run" / "model.safetensors").task == "line"


def test_a_process_that_dies_ends_the_others_with_exit_code_6(few_digits: Path) -> None:
    endless = ("--data", str(few_digits), "--epochs", "100000", "--out", "run")
    with train_in_two_processes(*endless) as (first, second):
        read_until("epoch 2/", first.stderr)
        second.send_signal(signal.SIGKILL)
        _, errors = first.communicate()
    assert first.returncode == 6, errors
    assert "Process 0 of 2" in errors and "--resume" in errors and "Traceback" not in errors


def test_a_signal_to_any_process_stops_all_of_them_and_the_run_resumes(
    few_digits: Path, tmp_path: Path
) -> None:
    """Use batch normalization and dropout."""
    settings = ("--arch", "mlp", "--dropout", "0.3", "--data", str(few_digits))
    endless = (*settings, "--epochs", "100000", "--out", "run")
    with train_in_two_processes(*endless) as (first, second):
        read_until("epoch 1/", first.stderr)
        second.send_signal(signal.SIGTERM)
        errors = [process.communicate()[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [143, 143], errors
    epochs = read_header(tmp_path / "run" / RESUME_FILE).training["epoch"]
    more = ("--arch", "mlp", "--resume", "run", "--epochs", str(epochs + 1))
    with train_in_two_processes(*more) as processes:
        (result, _), _ = wait_for(processes)
    assert json.loads(result)["epochs"] == epochs + 1


def test_one_command_starts_a_run_of_two_processes_and_continues_it(few_digits: Path, tmp_path: Path) -> None:
    command = ("--data", str(few_digits), "--epochs", "12", "--seed", "5", "--resume-or-start")
    with train_in_two_processes(*command, "--out", "whole") as processes:
        (expected, _), _ = wait_for(processes)
    with train_in_two_processes(*command, "--out", "killed") as processes:
        read_until("epoch 1/12", processes[0].stderr)
        processes[1].send_signal(signal.SIGKILL)
        processes[0].communicate()
        assert processes[0].returncode == 6
    with train_in_two_processes(*command, "--out", "killed") as processes:
        (printed, _), _ = wait_for(processes)
    assert json.loads(printed)["test_nll"] == json.loads(expected)["test_nll"]


@pytest.mark.parametrize(("steps", "is_refused"), [([7, 7], False), ([7, 0], True)])
def test_processes_that_continue_after_different_steps_are_refused(
    monkeypatch: pytest.MonkeyPatch, steps: list[int], is_refused: bool
) -> None:
    monkeypatch.setattr(Processes, "gather", lambda self, *numbers: torch.tensor([[each] for each in steps]))
    with (
        pytest.raises(EnvironmentFault, match="different numbers of steps")
        if is_refused
        else contextlib.nullcontext()
    ):
        Processes(0, 2).check_equal(7)


def test_a_batch_without_equal_shares_is_refused_by_every_process(few_digits: Path) -> None:
    odd = ("--data", str(few_digits), "--batch-size", "25", "--out", "run")
    with train_in_two_processes(*odd) as processes:
        errors = [process.communicate()[1] for process in processes]
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
