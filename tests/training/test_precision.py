"""bfloat16 is taken where it is measured to be faster, and the run says so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from digitcli.training.events import Event, Notice
from digitcli.training.precision import choose_dtype
from torch import nn

from digitcli.errors import Interrupted
from digitcli.inference.checkpoint import read_header
from digitcli.training import precision, trainer
from digitcli.training.configuration import TrainConfig
from digitcli.training.run_folder import RESUME_FILE

CPU = torch.device("cpu")


class Material:
    """A batch that asks whether it is computed in bfloat16."""

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> torch.Tensor:
        return network(torch.ones(4, 3)).float().mean()


@pytest.mark.parametrize(("half", "chosen"), [(1.0, "bfloat16"), (1.85, "float32"), (4.0, "float32")])
def test_the_faster_is_chosen_and_near_ties_are_float32(
    monkeypatch: pytest.MonkeyPatch, half: float, chosen: str
) -> None:
    monkeypatch.setattr(
        precision, "_seconds", lambda network, material, device, bfloat16: half if bfloat16 else 2.0
    )
    assert choose_dtype(nn.Linear(3, 2), Material(), CPU) == (chosen, 2.0 / half)  # type: ignore[arg-type]


@pytest.mark.parametrize(("half", "patience", "steps"), [(1.0, 60.0, 13), (7.0, 60.0, 5), (1.0, 0.0, 3)])
def test_no_more_is_measured_than_it_takes(
    monkeypatch: pytest.MonkeyPatch, half: float, patience: float, steps: int
) -> None:
    """A step, a first round, and then five; one where bfloat16 is hopeless, none where there is no time."""
    taken: list[bool] = []

    def seconds(network: nn.Module, material: object, device: torch.device, bfloat16: bool) -> float:
        taken.append(bfloat16)
        return half if bfloat16 else 2.0

    monkeypatch.setattr(precision, "_seconds", seconds)
    choose_dtype(nn.Linear(3, 2), Material(), CPU, patience)  # type: ignore[arg-type]
    assert len(taken) == steps


def test_what_cannot_be_computed_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(network: nn.Module, material: object, device: torch.device, bfloat16: bool) -> float:
        if bfloat16:
            raise NotImplementedError("no kernel")
        return 1.0

    monkeypatch.setattr(precision, "_seconds", seconds)
    assert choose_dtype(nn.Linear(3, 2), Material(), CPU) == ("float32", 0.0)  # type: ignore[arg-type]


def test_measuring_leaves_the_network_as_it_is() -> None:
    network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    choose_dtype(network, Material(), CPU)  # type: ignore[arg-type]
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("faster", ["float32", "bfloat16"])
def test_a_run_keeps_what_was_decided(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: str
) -> None:
    monkeypatch.setattr("digitcli.training.setup.choose_dtype", lambda *given: (faster, 1.5))
    said: list[Event] = []
    config = TrainConfig(
        arch="softmax", data=str(few_digits), recipe={"epochs": 1, "dtype": "auto"}, device="cpu"
    )
    with pytest.raises(Interrupted):
        trainer.train(config, out=tmp_path / "run", on_event=said.append, stop_signal=lambda: 15)
    assert any(isinstance(event, Notice) and f"Trains in {faster}" in event.message for event in said)
    monkeypatch.setattr("digitcli.training.setup.choose_dtype", None)  # a run that goes on asks no more
    assert trainer.resume(tmp_path / "run", {}).dtype == faster


def test_a_run_whose_time_is_over_when_it_is_decided_takes_one_step(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*given: object) -> tuple[str, float]:
        time.sleep(0.01)
        return "float32", 0.1

    monkeypatch.setattr("digitcli.training.setup.choose_dtype", slow)
    config = TrainConfig(
        arch="softmax", data=str(few_digits), recipe={"dtype": "auto"}, device="cpu", time_seconds=0.01
    )
    assert trainer.train(config, out=tmp_path / "run").epochs == 1
    assert read_header(tmp_path / "run" / RESUME_FILE).training["steps_total"] == 1
