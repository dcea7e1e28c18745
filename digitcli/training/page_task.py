"""The task of finding the lines of a page: composed scenes, the loss, and what is measured."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.data.dataset import Dataset, split
from digitcli.imaging.network_inputs import NEUTRAL, finder_input
from digitcli.page_format import STRIDE_PX
from digitcli.synthesis.scenes import PlacedScene, SceneComposer
from digitcli.training.data_parallel import ONE_PROCESS, Processes
from digitcli.training.page_targets import MAPS, WEIGHTS, CoreCounts, core_counts, draw_targets, page_loss
from digitcli.training.synthetic_lines import handwriting_digest, scene_composer
from digitcli.training.task import FinalMetrics, PoolReader, derive_seed

# The side of a training square, in pixels.
SIDE_PX = 256
# The number of squares that count as an epoch. Chosen by hand: composed squares have no natural epoch.
EPOCH_SQUARES = 8_000
# The numbers of squares to validate and to test on.
VALIDATION_SQUARES = 96
TEST_SQUARES = 400
# Batches of a pool, and how often a square is used: it takes three times as long to compose as to train on in
# bfloat16.
POOL_BATCHES = 32
USES = 4
_VALIDATION_SEED = (0, 1)
_TEST_SEED = (0, 2)


@dataclass(frozen=True)
class Squares:
    """Training squares: inputs, uint8 (N, 4, 256, 256), and targets, float32 (N, 9, 64, 64)."""

    inputs: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.float32]

    def batches(self, size: int) -> Iterator[Squares]:
        """Return batches of at most `size` squares in their order."""
        for start in range(0, len(self.inputs), size):
            yield Squares(self.inputs[start : start + size], self.targets[start : start + size])


@dataclass(frozen=True)
class SquarePools:
    """An endless sequence of pools of batches; pool n depends on nothing but the seed and n."""

    composer: SceneComposer
    batch_size: int
    seed: int

    def __getitem__(self, number: int) -> list[Squares]:
        """Compose the squares of a pool, and return batches in which each of them occurs `USES` times."""
        random = np.random.default_rng(derive_seed(self.seed, number))
        squares = compose_squares(self.composer, random, POOL_BATCHES * self.batch_size // USES)
        order = np.concatenate([random.permutation(len(squares.inputs)) for _ in range(USES)])
        return [
            Squares(squares.inputs[chosen], squares.targets[chosen])
            for chosen in order.reshape(-1, self.batch_size)
        ]


class PageTask:
    """A `TrainingTask` on squares of composed pages."""

    unit = "square"
    least_temperature = 1.0

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        workers: int,
        processes: Processes = ONE_PROCESS,
    ) -> None:
        self.name, self.failures = dataset.name, dataset.failures
        self.digest = handwriting_digest(dataset)
        self.sizes = {"train": EPOCH_SQUARES, "validation": VALIDATION_SQUARES, "test": TEST_SQUARES}
        self.sources: dict[str, str] = {}
        self.header: dict[str, Any] = {}
        self.batch_size = min(recipe.batch_size, EPOCH_SQUARES)
        self.steps = max(EPOCH_SQUARES // self.batch_size, recipe.min_epoch_steps)
        self.train_hashes = None  # squares are generated, and no evaluation can contain the same ones
        self.preparation_seconds = 0.0
        self._splits, self._seed, self._device, self._processes = split(dataset), seed, device, processes
        self._pools = PoolReader(self._compose_pools, workers, 2, processes)

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """Return the loss of this process's part of the batch."""
        number, index = divmod(epoch * self.steps + step, POOL_BATCHES)
        batch = self._pools.batch(number, index)
        return page_loss(network(_to_input(batch, self._device)).float(), _to_targets(batch, self._device))

    @property
    def _share(self) -> int:
        """The number of squares of a step that this process takes."""
        return self.batch_size // self._processes.size

    def _compose_pools(self) -> SquarePools:
        composer = scene_composer(self._splits.train, held_out=False)
        return SquarePools(composer, self._share, self._seed)

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """Return the loss and the F-measure of the cells of numbers in the validation squares."""
        return self._measure(network, self._validation_squares)

    def validate_batch(self, network: nn.Module) -> float:
        """Return the F-measure in one batch of the validation squares."""
        return self._measure(network, next(self._validation_squares.batches(self.batch_size)))[1]

    def test(self, network: nn.Module) -> FinalMetrics:
        """Measure on squares of the test digits and of held-out writers and fonts, once."""
        _, validation_accuracy = self.validate(network)
        composer = scene_composer(self._splits.test, held_out=True)
        random = np.random.default_rng(derive_seed(self._seed, *_TEST_SEED))
        loss, accuracy = self._measure(network, compose_squares(composer, random, TEST_SQUARES))
        return FinalMetrics(
            validation_accuracy=validation_accuracy,
            temperature=1.0,
            test_accuracy=accuracy,
            test_nll=loss,
            test_ece=0.0,
            misread=(),
        )

    def _measure(self, network: nn.Module, squares: Squares) -> tuple[float, float]:
        counts, losses = CoreCounts(0, 0, 0), []
        was_training = network.training
        network.eval()
        with torch.inference_mode():
            for batch in squares.batches(self.batch_size):
                outputs, targets = (
                    network(_to_input(batch, self._device)).float(),
                    _to_targets(batch, self._device),
                )
                losses.append(float(page_loss(outputs, targets)))
                counts += core_counts(outputs, targets)
        network.train(was_training)
        return float(np.mean(losses)), counts.f_measure

    @functools.cached_property
    def _validation_squares(self) -> Squares:
        composer = scene_composer(self._splits.validation, held_out=True)
        random = np.random.default_rng(derive_seed(self._seed, *_VALIDATION_SEED))
        return compose_squares(composer, random, VALIDATION_SQUARES)


def compose_squares(composer: SceneComposer, random: np.random.Generator, count: int) -> Squares:
    """Compose squares with their targets."""
    squares = Squares(
        np.full((count, 4, SIDE_PX, SIDE_PX), NEUTRAL, np.uint8),
        np.zeros((count, MAPS, SIDE_PX // STRIDE_PX, SIDE_PX // STRIDE_PX), np.float32),
    )
    squares.targets[:, WEIGHTS:] = 1
    for page, maps in zip(squares.inputs, squares.targets, strict=True):
        for placed in composer.square(random, SIDE_PX):
            _place(page, maps, placed)
    return squares


def _place(page: npt.NDArray[np.uint8], maps: npt.NDArray[np.float32], placed: PlacedScene) -> None:
    """Put a scene and its targets at its place, cut to whole cells of the maps."""
    x0, y0 = (-(-start // STRIDE_PX) for start in (placed.x, placed.y))
    x1, y1 = (placed.x + placed.width) // STRIDE_PX, (placed.y + placed.height) // STRIDE_PX
    rows, columns = y1 - y0, x1 - x0
    if rows < 2 or columns < 2:
        return
    picture = placed.scene.picture
    inputs = finder_input(picture, placed.height, placed.width)[:, : rows * STRIDE_PX, : columns * STRIDE_PX]
    page[:, y0 * STRIDE_PX : y1 * STRIDE_PX, x0 * STRIDE_PX : x1 * STRIDE_PX] = inputs
    targets = draw_targets(placed.scene.labels, placed.width / picture.shape[1], placed.height, placed.width)
    maps[:, y0:y1, x0:x1] = targets[:, :rows, :columns]


def _to_input(batch: Squares, device: torch.device) -> Tensor:
    inputs = torch.from_numpy(batch.inputs).to(device).float().div_(255)
    return inputs.contiguous(memory_format=torch.channels_last)


def _to_targets(batch: Squares, device: torch.device) -> Tensor:
    return torch.from_numpy(batch.targets).to(device)
