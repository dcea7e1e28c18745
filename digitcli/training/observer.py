"""The interface between the training loop and something that watches it, for example TensorBoard."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from digitcli.events import Event
from digitcli.training.state import TrainResult


class Observer(Protocol):
    """Something that watches a run and changes nothing in it: no weights, gradients, modes or random numbers.

    The methods that are called in every step must not wait for the device.
    """

    def gradients_ready(self) -> None:
        """See the gradients of a step, before they are clipped. A step that a CUDA graph replays has none."""

    def step_taken(self, loss: Tensor) -> None:
        """See the loss of a step, a number on the device."""

    def on_event(self, event: Event) -> None:
        """See an event of the run."""

    def run_done(self, network: nn.Module, result: TrainResult) -> None:
        """See the trained network and its result."""
