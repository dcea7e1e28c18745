"""What a run is trained on and judged by, the same to the loop whether it is digits or lines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from digitcli.data.dataset import Failure


@dataclass(frozen=True)
class Judgement:
    """What a trained network is worth; accuracies are fractions, the NLL is in nats, `misread` are the test
    examples that it reads wrongly, by their place.
    """

    validation_accuracy: float
    temperature: float
    test_accuracy: float
    test_nll: float
    test_ece: float
    misread: tuple[int, ...]


class Material(Protocol):
    """Examples to train on, to choose by and to judge by, `unit` being what one is called."""

    unit: str
    name: str
    digest: str
    failures: tuple[Failure, ...]
    sizes: dict[str, int]  # train, validation, test, drawn
    sources: dict[str, str]  # digests of what examples are drawn from beside the dataset
    batch_size: int
    steps: int  # an epoch
    header: dict[str, Any]  # what a checkpoint says of it beside its dataset

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """The loss of the next batch, a step of an epoch; `progress` of the run is from 0 to 1."""

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """The loss and the accuracy on what is held out to choose by."""

    def try_out(self, network: nn.Module) -> float:
        """The accuracy on one batch of that."""

    def judge(self, network: nn.Module) -> Judgement:
        """Fit the temperature on what is held out, then use the test examples: once."""

    def hashes(self) -> Tensor | None:
        """What resume files keep of the training digits (N,), so that evaluation can tell seen from new."""


def seed_random(device: torch.device, seed: int) -> None:
    """Seed what this device draws from; `torch.manual_seed` seeds them all, which takes 50 times as long."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def derive_seed(*parts: int) -> int:
    """A seed that follows from all parts, so that no random state need be kept."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
