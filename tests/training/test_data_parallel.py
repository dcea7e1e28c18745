"""Several processes train the same network as one process, and end when one of them dies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from digitcli.data.augmentation import AUGMENTATIONS, augment, mixup
from digitcli.errors import EnvironmentFault
from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE, read_checkpoint, read_header
from digitcli.inference.devices import rank_and_size
from digitcli.training import line_task, trainer
from digitcli.training.configuration import TrainConfig
from digitcli.training.data_parallel import ONE_PROCESS, Processes, joined_processes
from tests.support.augmentation import recipe_with
from tests.support.forked import ForkedProcess, in_background, run_digitcli
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
        few = replace(line_task.STRIPS, epoch=40, validation=8, test=8, pool_batches=4, networks=())
        patch.setattr(line_task, "STRIPS", few)
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


def assert_close(folder: Path, other: Path) -> None:
    """Check that two runs have the same weights up to the rounding of sums in another order."""
    (_, ours), (_, theirs) = (read_checkpoint(run / MODEL_FILE) for run in (folder, other))
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], atol=1e-5, rtol=0)


def test_two_processes_train_as_one_does_and_the_same_command_continues_them(
    digitcli: Run, few_digits: Path, tmp_path: Path
) -> None:
    """Use lenet5, which has neither batch normalization nor dropout."""
    command = ("--data", str(few_digits), "--epochs", "6", "--seed", "5", "--resume-or-start")
    done = digitcli("train", *SETTINGS, *command, "--out", "one")
    assert done.returncode == 0, done.stderr
    with train_in_two_processes(*command, "--out", "two") as processes:
        (printed, _), of_second = wait_for(processes)
    assert of_second == ("", "")
    expected = json.loads(printed)
    assert expected["test_accuracy"] == json.loads(done.stdout)["test_accuracy"]
    assert_close(tmp_path / "one", tmp_path / "two")
    with train_in_two_processes(*command, "--out", "killed") as processes:
        read_until("epoch 1/6", processes[0].stderr)
        processes[1].send_signal(signal.SIGKILL)
        _, errors = processes[0].communicate()
    assert processes[0].returncode == 6, errors
    assert "Process 0 of 2" in errors and "--resume" in errors and "Traceback" not in errors
    with train_in_two_processes(*command, "--out", "killed") as processes:
        (printed, _), _ = wait_for(processes)
    assert json.loads(printed)["test_nll"] == expected["test_nll"]


def test_both_processes_have_the_same_weights_of_a_line_network_with_stochastic_depth(
    strip_pool: Path, tmp_path: Path
) -> None:
    """Each process reads other lines, so the weights differ unless all gradients and buffers are averaged."""
    with two_processes(strip_pool, target=print_hash_of_weights) as processes:
        (first, _), (second, _) = wait_for(processes)
    assert first == second and int(first.split()[0]) > 3
    assert read_header(tmp_path / "run" / "model.safetensors").task == "line"


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


def test_processes_that_continue_after_different_steps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "gather", lambda self, steps: torch.tensor([[7], [steps]]))
    Processes(0, 2).check_equal(7)
    with pytest.raises(EnvironmentFault, match="different numbers of steps"):
        Processes(0, 2).check_equal(0)


def test_a_share_is_augmented_and_mixed_as_in_the_whole_batch() -> None:
    images = torch.rand(24, 1, 28, 28)
    recipe = recipe_with(*AUGMENTATIONS)
    torch.manual_seed(5)
    whole = augment(images, recipe)
    torch.manual_seed(5)
    mixed, weight = mixup(images, 0.4)
    for size in (2, 3, 4):
        for rank in range(size):
            torch.manual_seed(5)
            share = augment(images[rank::size], recipe, (rank, size))
            torch.testing.assert_close(share, whole[rank::size])
    torch.manual_seed(5)
    share, same_weight = mixup(images[1::3], 0.4)  # of even size
    assert weight == same_weight
    torch.testing.assert_close(share, mixed[1::3])


def test_torchrun_sets_the_rank_and_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR")
    for values, expected in {
        ("1", "4", "here"): (1, 4),
        ("1", "4", ""): (0, 1),
        ("x", "4", "here"): (0, 1),
        ("", "", ""): (0, 1),
    }.items():
        for name, value in zip(names, values, strict=True):
            monkeypatch.setenv(name, value)
        assert rank_and_size() == expected
    with joined_processes("cpu") as processes:
        assert processes == ONE_PROCESS and processes.is_first
        batch = torch.arange(4)
        assert processes.share(batch) is batch


def train_in_a_group(data: str) -> None:
    """Train in a group of processes that exists already, as Ray Train connects one."""
    torch.distributed.init_process_group("gloo")
    recipe = {"epochs": 1, "batch_size": 50, "dtype": "float32"}
    trainer.train(TrainConfig(arch="lenet5", data=data, device="cpu", recipe=recipe), out=Path("run"))
    print(torch.distributed.get_world_size())
    torch.distributed.destroy_process_group()


def test_processes_that_are_connected_already_train_together(few_digits: Path, tmp_path: Path) -> None:
    with two_processes(few_digits, target=train_in_a_group) as processes:
        (first, _), (second, _) = wait_for(processes)
    assert (first, second) == ("2\n", "2\n") and (tmp_path / "run" / "model.safetensors").exists()
