"""Take from digitcli what both frameworks share: digits, recipe, initial weights and order of the batches.

A run of `digitcli train` follows from its seed. The examples begin their runs in TensorFlow with the same
weights and see the same digits in the same order, so that two runs differ only by rounding and by the random
numbers of dropout. The augmentation of `cnn` and the moving average of its weights are turned off, because
TensorFlow does not have them in the same form.

    python examples/tensorflow/same_run.py
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from digitcli import TrainConfig
from digitcli.architectures.recipe import Recipe
from digitcli.data.dataset import Digits, Splits, split
from digitcli.data.mnist import load_mnist
from digitcli.training.digit_task import DigitTask
from digitcli.training.setup import prepare

# What the recipes of digitcli have and TensorFlow does not have in the same form.
CHANGES = {"sigmoid_mlp": {}, "cnn": {"augment": False, "ema_decay": 0.0, "dtype": "float32"}}

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SameRun:
    """A run before its first step.

    config: the settings with which `digitcli.train` makes the same run.
    recipe: how the network is trained.
    network: the PyTorch network with its initial weights.
    digits: 55,000 digits for training, 5,000 for validation and 10,000 for the test.
    task: the task of this run in digitcli, which knows the order of the digits.
    """

    config: TrainConfig
    recipe: Recipe
    network: nn.Module
    digits: Splits
    task: DigitTask

    @property
    def steps(self) -> int:
        """The number of steps of the whole run."""
        return self.recipe.epochs * self.task.steps

    def order(self, epoch: int) -> Labels:
        """Return the indices of the training digits (steps, batch size) in the order of an epoch."""
        batches = [self.task.indices(epoch, step) for step in range(self.task.steps)]
        return torch.stack(batches).numpy()


def same_run(arch: str, seed: int = 0, **changes: object) -> SameRun:
    """Prepare a run of digitcli on the CPU; `changes` are settings of its recipe, for example `epochs=1`."""
    config = TrainConfig(arch=arch, seed=seed, device="cpu", recipe={**CHANGES[arch], **changes})
    setup, state = prepare(config)
    return SameRun(config, setup.recipe, state.network, split(load_mnist()), setup.task)


def as_images(digits: Digits) -> Images:
    """Return images (N, 28, 28, 1), float32 with ink 1: TensorFlow puts the channels last, PyTorch first."""
    return digits.images[..., np.newaxis] / np.float32(255)


if __name__ == "__main__":
    run = same_run("sigmoid_mlp")
    digits, recipe = run.digits, run.recipe
    print("training, validation, test:", len(digits.train), len(digits.validation), len(digits.test))
    print("images:", as_images(digits.train).shape)
    print("first batch of the first epoch:", run.order(epoch=0)[0])
    print(f"{run.steps:,} steps by {recipe.optimizer}, learning rate {recipe.lr}, loss {recipe.loss}")
