"""Single digits to train on: all of them on the device, a permutation of them an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.data.augmentation import augment, mixup
from digitcli.data.dataset import Dataset, concatenate, split
from digitcli.evaluation.calibration import fit_temperature
from digitcli.evaluation.metrics import accuracy, ece, nll
from digitcli.inference.devices import usable_cores
from digitcli.inference.torch_runtime import as_input, infer
from digitcli.synthesis.characters import synthesize_characters
from digitcli.synthesis.letters import hash_fonts, render_letters
from digitcli.training.configuration import TrainConfig
from digitcli.training.distributed import ALONE, Processes
from digitcli.training.losses import loss_function
from digitcli.training.task import Judgement, derive_seed, seed_random


class DigitMaterial:
    """A dataset split into what is trained on, chosen by and judged by, see `Material`."""

    unit = "digit"

    def __init__(
        self,
        config: TrainConfig,
        recipe: Recipe,
        dataset: Dataset,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        splits = split(dataset)
        self.name, self.digest, self.failures = dataset.name, dataset.digest, dataset.failures
        self.sizes = {
            "train": len(splits.train),
            "validation": len(splits.validation),
            "test": len(splits.test),
        }
        self.sources: dict[str, str] = {}
        learnt = splits.train
        if recipe.synthetic:
            self.sizes["synthetic"] = max(1, round(recipe.synthetic * len(splits.train)))
            fonts = None if config.fonts is None else Path(config.fonts)
            self.sources = {} if fonts is None else {"fonts": hash_fonts(fonts)}
            drawn = synthesize_characters(
                splits.train,
                render_letters(fonts),
                derive_seed(config.seed),
                self.sizes["synthetic"],
                max(1, usable_cores() // processes.size),
            )
            learnt = concatenate(learnt, drawn)
        self.batch_size = min(recipe.batch_size, len(learnt))
        self.steps = len(learnt) // self.batch_size  # what fills no batch waits for another epoch
        self.header: dict[str, Any] = {}
        self._splits, self._recipe, self._seed, self._processes = splits, recipe, config.seed, processes
        self._images = torch.from_numpy(learnt.images).to(device)
        self._labels = torch.from_numpy(learnt.labels).to(device)
        self._order: tuple[int, Tensor] | None = None  # an epoch and its permutation

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """The mean over a batch."""
        rank = self._processes.rank
        seed = derive_seed(self._seed, epoch, step, rank) if rank else None
        return self.loss_of(network, self.indices(epoch, step), seed)

    def indices(self, epoch: int, step: int) -> Tensor:
        """Which digits this process trains on in a step."""
        whole = self._permutation(epoch)[step * self.batch_size :][: self.batch_size]
        return self._processes.share(whole)

    def loss_of(self, network: nn.Module, indices: Tensor, seed: int | None = None) -> Tensor:
        """The mean over the digits at those indices; what the network draws follows from its own seed."""
        images, labels = as_input(self._images[indices]), self._labels[indices]  # (B, 1, 28, 28), (B,)
        images, weight = self._changed(images)
        if seed is not None:  # the others' dropout is not that of the first process
            seed_random(images.device, seed)
        loss, logits = loss_function(self._recipe), network(images)
        if weight is None:
            return loss(logits, labels)
        return weight * loss(logits, labels) + (1 - weight) * loss(logits, labels.roll(len(labels) // 2))

    def _changed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The images augmented as the recipe says, and the weight of the first of each two that are mixed."""
        recipe = self._recipe
        images = augment(images, recipe, (self._processes.rank, self._processes.size))
        return mixup(images, recipe.mixup) if recipe.augment and recipe.mixup else (images, None)

    def _permutation(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            random = np.random.default_rng(derive_seed(self._seed, epoch))
            order = torch.from_numpy(random.permutation(len(self._labels))).to(self._labels.device)
            self._order = epoch, order
        return self._order[1]

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """The loss that is trained, of digits as they are, and the accuracy."""
        logits = infer(network, self._splits.validation.images)
        labels = torch.from_numpy(self._splits.validation.labels)
        return float(loss_function(self._recipe)(logits, labels)), accuracy(logits, labels)

    def try_out(self, network: nn.Module) -> float:
        """The accuracy on a batch of the validation digits."""
        logits = infer(network, self._splits.validation.images[: self._recipe.batch_size])
        return accuracy(logits, torch.from_numpy(self._splits.validation.labels[: len(logits)]))

    def judge(self, network: nn.Module) -> Judgement:
        """Temperature from the validation digits, the rest from the test digits."""
        validation, test = self._splits.validation, self._splits.test
        logits, labels = infer(network, validation.images), torch.from_numpy(validation.labels)
        temperature = fit_temperature(logits, labels)
        test_logits, test_labels = infer(network, test.images), torch.from_numpy(test.labels)
        return Judgement(
            validation_accuracy=accuracy(logits, labels),
            temperature=temperature,
            test_accuracy=accuracy(test_logits, test_labels),
            test_nll=nll(test_logits, test_labels, temperature),
            test_ece=ece(test_logits, test_labels, temperature),
            misread=tuple((test_logits.argmax(-1) != test_labels).nonzero().flatten().tolist()),
        )

    def hashes(self) -> Tensor:
        """Of the training digits."""
        return torch.from_numpy(self._splits.train.hashes())
