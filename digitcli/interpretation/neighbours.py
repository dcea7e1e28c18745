"""The training digits that a network sees as most similar to an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.inference.torch_runtime import as_input, device_of
from digitcli.interpretation.activations import features
from digitcli.interpretation.attribution import BATCH_SIZE
from digitcli.interpretation.explanation import Neighbour

# Training digits that are searched: the first of the training part, whose order is random.
SEARCHED = 2_000
NEIGHBOURS = 3


class NeighbourSearch:
    """A search of the digits of MNIST's training part by the inputs of the last layer of a network.

    Caruana et al., "Case-based explanation of non-case-based learning methods", 1999.
    """

    def __init__(self, network: nn.Module, search_all: bool = False) -> None:
        self._network = network
        mnist = load_mnist()
        training = split(mnist).train
        self._published = mnist.train.images
        self._digits = training if search_all else training.take(np.arange(SEARCHED))
        self._features = self._features_of(self._digits.images)
        self._scale = float((self._features - self._features.roll(1, dims=0)).norm(dim=1).mean())

    def nearest(self, image: npt.NDArray[np.uint8], count: int = NEIGHBOURS) -> tuple[Neighbour, ...]:
        """Return the nearest digits of an image, uint8 (28, 28), the nearest first."""
        distances = (self._features - self._features_of(image[None])).norm(dim=1)
        nearest = distances.topk(count, largest=False).indices
        return tuple(
            Neighbour(
                int((self._published == self._digits.images[index]).all(axis=(1, 2)).argmax()),
                int(self._digits.labels[index]),
                float(distances[index]) / self._scale,
                self._digits.images[index],
            )
            for index in nearest.tolist()
        )

    def _features_of(self, images: npt.NDArray[np.uint8]) -> Tensor:
        """Return the inputs of the last layer, float32 (N, F) on the CPU."""
        device = device_of(self._network)
        batches = torch.from_numpy(images.copy()).split(BATCH_SIZE)
        return torch.cat(
            [features(self._network, as_input(batch.to(device))).float().cpu() for batch in batches]
        )
