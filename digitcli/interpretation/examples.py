"""Explanation by examples: the nearest training digits, and the image changed until it is another digit."""

from __future__ import annotations

import contextlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.atomic_write import write_whole
from digitcli.data.dataset import split
from digitcli.data.loading import cache_folder
from digitcli.data.mnist import load_mnist
from digitcli.errors import OutputError
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import as_input, device_of
from digitcli.interpretation.activations import features
from digitcli.interpretation.explanation import Neighbour

# Training digits that are searched: the first of the training part. Digits that a network sees together.
SEARCHED, BATCH_SIZE = 2_000, 512
NEIGHBOURS = 3
# Relative difference up to which stored features are those that the network computes now: float32 on two
# devices differs by 1e-6, TF32 by 1e-3.
LARGEST_DIFFERENCE = 0.005
# Ink and paper are this far from 1 and 0, so that their logits are finite.
EDGE = 0.02
# Standard deviation in pixels by which a change is smoothed: about half the width of a stroke of MNIST.
SMOOTHING_PX = 1.0
# Steps of the search for a change, its rate, and the prices of a pixel of ink in logits: a lower one where
# the one before finds no change.
STEPS, RATE, PRICES = 250, 0.5, (0.02, 0.002)
# Margin in logits by which the other digit shall win.
MARGIN = 0.3


@dataclass(frozen=True)
class TrainingDigits:
    """N training digits of MNIST, and what the last layer of a network sees of them.

    images, labels: uint8 (N, 28, 28) and int64 (N,).
    numbers: their numbers among the 60,000 published training digits.
    features: float32 (N, F).
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]


class NeighbourSearch:
    """A search of the digits of MNIST's training part by the inputs of the last layer of a network.

    The features of the first 2,000 are stored in the cache folder. Caruana et al., "Case-based explanation of
    non-case-based learning methods", 1999.
    """

    def __init__(self, network: nn.Module, model: ResolvedModel) -> None:
        self._network = network
        path = cache_folder() / "features" / f"{model.id.rpartition('@')[2]}.npz"
        stored = _read(path, network)
        self._digits = stored or _see_training_digits(network)
        if stored is None:
            _write(path, self._digits)
        seen = self._digits.features
        self._scale = float(np.linalg.norm(seen - np.roll(seen, 1, axis=0), axis=1).mean())

    def nearest(self, image: npt.NDArray[np.uint8], count: int = NEIGHBOURS) -> tuple[Neighbour, ...]:
        """Return the nearest digits of an image, uint8 (28, 28), the nearest first."""
        digits = self._digits
        distances = np.linalg.norm(digits.features - _features_of(self._network, image[None]), axis=1)
        return tuple(
            Neighbour(
                int(digits.numbers[index]),
                int(digits.labels[index]),
                float(distances[index]) / self._scale,
                digits.images[index],
            )
            for index in np.argsort(distances, kind="stable")[:count]
        )


def _see_training_digits(network: nn.Module) -> TrainingDigits:
    """Show the first digits of the training part to a network."""
    parts = split(load_mnist())
    digits, numbers = parts.train.take(np.arange(SEARCHED)), parts.train_indices[:SEARCHED]
    return TrainingDigits(digits.images, digits.labels, numbers, _features_of(network, digits.images))


def _features_of(network: nn.Module, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the inputs of the last layer, float32 (N, F)."""
    device = device_of(network)
    batches: tuple[Tensor, ...] = torch.from_numpy(images.copy()).split(BATCH_SIZE)
    seen = [features(network, as_input(batch.to(device))).float().cpu() for batch in batches]
    return np.asarray(torch.cat(seen).numpy())


def _read(path: Path, network: nn.Module) -> TrainingDigits | None:
    """Read stored features; None if there are none, or damaged ones, or those of another version."""
    try:
        with np.load(path) as arrays:
            stored = TrainingDigits(**arrays)
        first = _features_of(network, stored.images[:1])
        is_known = stored.features.shape == (SEARCHED, first.shape[1])
        difference = np.linalg.norm(stored.features[:1] - first)  # of two devices, in the last bits
        return stored if is_known and difference <= LARGEST_DIFFERENCE * np.linalg.norm(first) else None
    except (OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile):
        return None


def _write(path: Path, digits: TrainingDigits) -> None:
    """Store features where that is possible: they only save time."""
    content = io.BytesIO()
    np.savez(content, **vars(digits))
    with contextlib.suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())


def counterfactual(network: nn.Module, image: Tensor, digit: int) -> Tensor | None:
    """Return an image (1, 1, 28, 28) with little ink added or erased, which is read as `digit`.

    None if none was found. Wachter, Mittelstadt & Russell, "Counterfactual explanations without opening the
    black box", 2017. So that the change looks drawn, it moves the edges of the ink: a smooth function is
    added to the logits of the ink, as in level-set methods (Osher & Sethian 1988).
    """
    found = (_redrawn(network, image, digit, price) for price in PRICES)
    return next((changed for changed in found if changed is not None), None)


def _redrawn(network: nn.Module, image: Tensor, digit: int, price: float) -> Tensor | None:
    kernel = _gaussian(SMOOTHING_PX).to(image)
    level = torch.log((image + EDGE) / (1 - image + EDGE))
    change = torch.zeros_like(image, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=RATE)
    best, least = None, float("inf")
    for _ in range(STEPS):
        smooth = F.conv2d(change, kernel, padding=kernel.shape[-1] // 2)
        changed = (image + (level + smooth).sigmoid() - level.sigmoid()).clamp(0, 1)
        margin = _margin(network(changed), digit)
        ink = (changed - image).abs().sum()
        stored = (255 * changed.detach()).round() / 255  # in 256 grey levels
        if ink < least and _margin(network(stored), digit) > 0:
            best, least = stored, float(ink.detach())
        loss = F.relu(MARGIN - margin).sum() + price * ink
        (change.grad,) = torch.autograd.grad(loss, change)
        optimizer.step()
    return best


def _margin(logits: Tensor, digit: int) -> Tensor:
    """Return the margin (N,) of a digit over the likeliest other one, in logits (N, 10)."""
    others = torch.cat([logits[:, :digit], logits[:, digit + 1 :]], dim=1)
    return logits[:, digit] - others.amax(dim=1)


def _gaussian(deviation_px: float) -> Tensor:
    """Return a kernel (1, 1, K, K) that adds up to 1."""
    reach = round(3 * deviation_px)
    places = torch.arange(-reach, reach + 1)
    row = torch.exp(-(places**2) / (2 * deviation_px**2))
    kernel = row[:, None] * row
    return (kernel / kernel.sum())[None, None]
