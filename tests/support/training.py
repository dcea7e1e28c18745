"""Short training runs and their comparison."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE, read_checkpoint, read_header
from digitcli.training.configuration import TrainConfig, with_start

RECIPE = {"epochs": 3, "batch_size": 64}


def train_config(data: Path, arch: str = "mlp", **changes: Any) -> TrainConfig:
    recipe = {**RECIPE, **changes.pop("recipe", {})}
    return TrainConfig(**{"arch": arch, "data": str(data), "device": "cpu", "recipe": recipe, **changes})


def fine_tuning(start: str, **fields: Any) -> TrainConfig:
    """Return the settings of a run that starts from a model."""
    return TrainConfig(**with_start({"start": start, **fields}))


def stop_after(steps: int, number: int = signal.SIGINT) -> Callable[[], int | None]:
    """Return a stop signal that comes after this many steps."""
    taken = 0

    def stop_signal() -> int | None:
        nonlocal taken
        taken += 1
        return int(number) if taken >= steps else None

    return stop_signal


def read_weights(folder: Path, file: str = MODEL_FILE) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / file)[1]


def assert_same_run(folder: Path, other: Path) -> None:
    for file in (MODEL_FILE, RESUME_FILE):
        ours, theirs = read_weights(folder, file), read_weights(other, file)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), (file, name)
    figures = ("epoch", "lr", "train_loss", "validation_loss", "validation_accuracy")
    histories = [
        [[row[name] for name in figures] for row in read_header(run / RESUME_FILE).training["history"]]
        for run in (folder, other)
    ]
    assert histories[0] == histories[1]
    headers = [read_header(run / MODEL_FILE) for run in (folder, other)]
    for name in ("recipe", "temperature", "dataset", "arguments"):
        assert getattr(headers[0], name) == getattr(headers[1], name)
    assert headers[0].metrics["test_accuracy"] == headers[1].metrics["test_accuracy"]
