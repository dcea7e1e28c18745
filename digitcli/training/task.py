"""The interface between the training loop and a task; seeds, pools of batches, and tasks on scenes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from digitcli.architectures.recipe import Recipe
from digitcli.data.dataset import Dataset, Digits, Failure, split
from digitcli.inference.model_resolution import resolve_model
from digitcli.synthesis.scenes import SceneComposer, scene_composer
from digitcli.threads import set_up_worker
from digitcli.training.data_parallel import ONE_PROCESS, Processes
from digitcli.training.pools import StoredExamples
from digitcli.training.synthetic_strips import handwriting_digest

VALIDATION_SEED, TEST_SEED = (0, 1), (0, 2)  # parts of the seeds of held-out examples, which no pool has
Batch = TypeVar("Batch")
Example = TypeVar("Example")


@dataclass(frozen=True)
class FinalMetrics:
    """The final metrics of a trained network, and its errors. Accuracies are fractions from 0 to 1."""

    validation_accuracy: float
    temperature: float  # the divisor of the logits, fitted on the validation examples
    test_accuracy: float
    test_nll: float  # the negative log-likelihood of the test labels, in nats
    test_ece: float  # the expected calibration error, a fraction
    misread: tuple[int, ...]  # the indices of the test examples that the network reads wrongly


class TrainingTask(Protocol):
    """The examples of a run with their losses and metrics."""

    unit: str  # the name of one example, for example "digit" or "line"
    name: str  # of the dataset
    digest: str  # a hash of the dataset
    failures: tuple[Failure, ...]  # the files of the dataset that could not be read
    sizes: dict[str, int]  # the number of examples by split: train, validation, test and synthetic
    sources: dict[str, str]  # the hashes of further data that examples are made from, by name
    batch_size: int  # the number of examples of a step, over all processes
    steps: int  # of an epoch
    header: dict[str, Any]  # further fields of the checkpoint's header
    least_temperature: float  # if all validation examples are read correctly
    preparation_seconds: float  # in which further examples were made before the first step

    @property
    def train_hashes(self) -> Tensor | None:
        """Return a hash of each training digit (N,), by which evaluations find them; None if generated."""

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """Return the mean loss of this process's part of the batch.

        epoch, step: The numbers of complete epochs and of the epoch's complete steps.
        progress: The completed share of the run, from 0 to 1.
        """

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """Return the loss and the accuracy on the validation examples."""

    def validate_batch(self, network: nn.Module) -> float:
        """Return the accuracy on one batch of the validation examples."""

    def test(self, network: nn.Module) -> FinalMetrics:
        """Fit the temperature on the validation examples, then use the test examples, once."""


def seed_random(device: torch.device, seed: int) -> None:
    """Seed the random generators of the CPU and of this device.

    `torch.manual_seed` seeds every device, which takes 50 times as long.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def derive_seed(*parts: int) -> int:
    """Return a seed that depends on all parts.

    A seed for each step makes it unnecessary to save the state of random generators.
    """
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Pools(Protocol[Batch]):
    """An endless sequence of pools, each a list of batches."""

    def __getitem__(self, number: int, /) -> list[Batch]:
        """Compose a pool, which depends on its number."""


class PoolReader(Generic[Batch]):
    """Reads the pools of a run one after the other; each process takes every `processes.size`-th pool.

    pools: returns the pools; it is called when the first batch is asked for.
    workers: how many other processes compose, two pools ahead; with 0, this one does.
    """

    def __init__(self, pools: Callable[[], Pools[Batch]], workers: int, processes: Processes) -> None:
        self._pools, self.workers, self._processes = pools, workers, processes
        self._next: Iterator[list[Batch]] = iter(())
        self._number, self._pool = -1, list[Batch]()

    def batch(self, pool: int, index: int) -> Batch:
        """Return a batch of a pool of this process. Pools in their order cost least."""
        if pool != self._number:
            if pool != self._number + 1 or self._number < 0:
                self._next = iter(self._loader(first=pool))
            self._number, self._pool = pool, next(self._next)
        return self._pool[index]

    def _loader(self, first: int) -> DataLoader[list[Batch]]:
        return DataLoader(
            self._pools(),  # type: ignore[arg-type]
            batch_size=None,
            sampler=range(first * self._processes.size + self._processes.rank, 2**31, self._processes.size),
            collate_fn=_unchanged,
            num_workers=self.workers,
            multiprocessing_context="spawn" if self.workers else None,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # the global generator belongs to dropout and must not be advanced
        )


def _begin_worker(number: int) -> None:
    set_up_worker()


def _unchanged(pool: list[Batch]) -> list[Batch]:
    return pool


def _unchanged_example(example: Example, random: np.random.Generator) -> Example:
    return example


def in_turn(examples: Sequence[Example], size: int, random: np.random.Generator) -> list[list[Example]]:
    """Return batches of a size, in the order of the examples."""
    return [list(examples[start : start + size]) for start in range(0, len(examples), size)]


@dataclass(frozen=True)
class SceneKind(Generic[Example]):
    """What a `SceneTask` learns from and is measured by."""

    unit: str  # the name of one example
    epoch: int  # the number of examples that count as an epoch
    validation: int  # the numbers of examples to measure on
    test: int
    pool_batches: int  # the batches of a pool
    uses: int  # how often an example is used, since to compose it takes longer than to learn from it
    compose: Callable[[SceneComposer, np.random.Generator, int], list[Example]]
    loss: Callable[[nn.Module, Any, torch.device], Tensor]  # of a batch
    # Returns the loss and the accuracy on batches.
    measure: Callable[[nn.Module, list[list[Example]], torch.device], tuple[float, float]]
    networks: tuple[str, ...] = ()  # the shipped models with which examples are made
    # Changes an example at random at each use.
    change: Callable[[Example, np.random.Generator], Example] = _unchanged_example
    # Makes batches of a size of the examples of a pool.
    batches: Callable[[Sequence[Example], int, np.random.Generator], list[Any]] = in_turn
    # Composes what is learned from where that is not composed like the examples to measure on.
    compose_training: Callable[[SceneComposer, np.random.Generator, int], list[Example]] | None = None


@dataclass(frozen=True)
class ScenePools(Generic[Example]):
    """An endless sequence of pools of batches; pool n depends on nothing but the seed and n."""

    kind: SceneKind[Example]
    composer: SceneComposer
    batch_size: int
    seed: int
    stored: StoredExamples[Example] | None = None

    def __getitem__(self, number: int) -> list[Any]:
        """Compose the examples of a pool, and return batches in which each of them occurs `uses` times."""
        random, kind = np.random.default_rng(derive_seed(self.seed, number)), self.kind
        count = kind.pool_batches * self.batch_size // kind.uses
        if self.stored is None:
            examples = (kind.compose_training or kind.compose)(self.composer, random, count)
        else:
            examples = self.stored.take(number * count, count)
        batches: list[Any] = []
        for order in [random.permutation(count) for _ in range(kind.uses)]:
            changed = [kind.change(examples[index], random) for index in order]
            batches += kind.batches(changed, self.batch_size, random)
        return batches


class SceneTask(Generic[Example]):
    """A `TrainingTask` on examples of composed scenes.

    Those to validate and to test on have the digits of these splits, and held-out writers and fonts.
    """

    least_temperature = 1.0

    def __init__(
        self,
        kind: SceneKind[Example],
        dataset: Dataset,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        workers: int,
        processes: Processes = ONE_PROCESS,
        stored: StoredExamples[Example] | None = None,
    ) -> None:
        self.unit, self.name, self.failures = kind.unit, dataset.name, dataset.failures
        self.digest = stored.digest if stored else handwriting_digest(dataset)
        self.sizes = {"train": kind.epoch, "validation": kind.validation, "test": kind.test}
        self.sources = {name: resolve_model(name).sha256 for name in kind.networks}
        self.header: dict[str, Any] = {}
        self.batch_size = min(recipe.batch_size, kind.epoch)
        self.steps = max(kind.epoch // self.batch_size, recipe.min_epoch_steps)
        self.train_hashes = None  # examples are generated, and no evaluation can contain the same ones
        self.preparation_seconds = 0.0
        self._kind, self._splits, self._seed, self._device = kind, split(dataset), seed, device
        share = self.batch_size // processes.size  # of a step, for this process

        def pools() -> ScenePools[Example]:
            return ScenePools(kind, scene_composer(self._splits.train, "train"), share, seed, stored)

        self._pools = PoolReader(pools, workers, processes)

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """Return the loss of this process's part of the batch."""
        return self._kind.loss(network, self.batch(epoch, step), self._device)

    def batch(self, epoch: int, step: int) -> Any:
        """Return this process's part of the batch of a step."""
        return self._pools.batch(*divmod(epoch * self.steps + step, self._kind.pool_batches))

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """Return the loss and the accuracy on the validation examples."""
        return self._measure(network, self._validation)

    def validate_batch(self, network: nn.Module) -> float:
        """Return the accuracy on one batch of the validation examples."""
        return self._measure(network, self._validation[: self.batch_size])[1]

    def test(self, network: nn.Module) -> FinalMetrics:
        """Measure on the validation examples and on those to test on, once."""
        _, validation_accuracy = self.validate(network)
        loss, accuracy = self._measure(network, self._test)
        return FinalMetrics(validation_accuracy, 1.0, accuracy, loss, 0.0, ())

    def _measure(self, network: nn.Module, examples: Sequence[Example]) -> tuple[float, float]:
        batches = [
            list(examples[start : start + self.batch_size])
            for start in range(0, len(examples), self.batch_size)
        ]
        was_training = network.training
        with torch.inference_mode():
            measured = self._kind.measure(network.eval(), batches, self._device)
        network.train(was_training)
        return measured

    @functools.cached_property
    def _validation(self) -> list[Example]:
        return self._held_out(self._splits.validation, VALIDATION_SEED, self._kind.validation)

    @property
    def _test(self) -> list[Example]:
        return self._held_out(self._splits.test, TEST_SEED, self._kind.test)

    def _held_out(self, digits: Digits, seed: tuple[int, ...], count: int) -> list[Example]:
        random = np.random.default_rng(derive_seed(self._seed, *seed))
        return self._kind.compose(scene_composer(digits, "calibrate"), random, count)
