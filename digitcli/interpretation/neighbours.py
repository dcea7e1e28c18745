"""The training digits that a network sees as most similar to an image."""

from __future__ import annotations

import contextlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digitcli.atomic_write import write_whole
from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.data.torchvision_datasets import cache_folder
from digitcli.errors import OutputError
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import as_input, device_of
from digitcli.interpretation.activations import features
from digitcli.interpretation.attribution import BATCH_SIZE
from digitcli.interpretation.explanation import Neighbour

# Training digits that are searched: the first of the training part.
SEARCHED = 2_000
NEIGHBOURS = 3
# Relative difference up to which stored features are those that the network computes now: float32 on two
# devices differs by 1e-6, TF32 by 1e-3.
LARGEST_DIFFERENCE = 0.005


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

    def __init__(self, network: nn.Module, model: ResolvedModel, search_all: bool = False) -> None:
        self._network = network
        path = cache_folder() / "features" / f"{model.id.rpartition('@')[2]}.npz"
        stored = None if search_all else _read(path, network)
        self._digits = stored or _see_training_digits(network, None if search_all else SEARCHED)
        if stored is None and not search_all:
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


def _see_training_digits(network: nn.Module, count: int | None) -> TrainingDigits:
    """Show the first digits of the training part, or all for None, to a network."""
    mnist = load_mnist()
    training = split(mnist).train
    digits = training.take(np.arange(len(training) if count is None else count))
    place = {hashed: number for number, hashed in enumerate(mnist.train.hashes().tolist())}
    numbers = np.array([place[hashed] for hashed in digits.hashes().tolist()])
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
        has_shape = stored.features.shape == (SEARCHED, first.shape[1])
        is_usable = has_shape and _are_same(stored.features[:1], first)
    except (OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile):
        return None
    return stored if is_usable else None


def _are_same(features: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> bool:
    """Compare features of the same digits; those of two devices differ in the last bits."""
    return bool(np.linalg.norm(features - others) <= LARGEST_DIFFERENCE * np.linalg.norm(others))


def _write(path: Path, digits: TrainingDigits) -> None:
    """Store features where that is possible: they only save time."""
    content = io.BytesIO()
    np.savez(content, **vars(digits))
    with contextlib.suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())
