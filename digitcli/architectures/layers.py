"""Layers and the recipe mark that the families share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

from digitcli.config import Recipe

MNIST_MEAN, MNIST_DEVIATION = 0.1307, 0.3081
Builder = TypeVar("Builder", bound=Callable[..., nn.Module])


def trained_with(**choices: Any) -> Callable[[Builder], Builder]:
    """Mark a function that builds a network with the recipe it is trained by."""

    def mark(builder: Builder) -> Builder:
        builder.recipe = Recipe(**choices)  # type: ignore[attr-defined]
        return builder

    return mark


class Normalise(nn.Module):
    """Shift and scale ink in [0, 1] to mean 0 and deviation 1 over MNIST's training pixels."""

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return (images - MNIST_MEAN) / MNIST_DEVIATION
