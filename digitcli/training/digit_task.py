"""The task of reading single digits: its losses by labels and by teachers, validation and test.

All training digits are on the device and are taken in a new order each epoch. Distillation: a network learns
the answers of trained models besides the labels (Hinton, Vinyals & Dean, "Distilling the knowledge in a
neural network", 2015).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.averaging import Ensemble
from digitcli.architectures.recipe import Recipe
from digitcli.data.augmentation import augment, mixup
from digitcli.data.dataset import Dataset, Digits, concatenate, split, worst_fault
from digitcli.data.label_tables import apply_corrections, describe_corrections, digest_of, read_corrections
from digitcli.data.mnist import DIGEST as MNIST_DIGEST
from digitcli.errors import UsageError, quoted
from digitcli.evaluation.calibration import fit_temperature
from digitcli.evaluation.metrics import accuracy, ece, nll
from digitcli.evaluation.splits import count_overlap, training_hashes
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.inference.torch_runtime import as_input, infer, open_network, place_network
from digitcli.synthesis.characters import NO_DIGIT, synthesize_characters
from digitcli.synthesis.glyphs import hash_fonts, render_letters
from digitcli.threads import usable_cores
from digitcli.training.configuration import TrainConfig
from digitcli.training.data_parallel import ONE_PROCESS, Processes
from digitcli.training.task import FinalMetrics, derive_seed, seed_random

TEACHER_BATCH = 500  # digits that a teacher answers at once, where its answers are kept; chosen by hand
_REHEARSAL = -1  # a part of the seeds of the order of rehearsed digits, which no order of new digits has


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return half the squared distance between the sigmoid of the logits and the one-hot labels.

    Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", 1986.
    """
    targets = F.one_hot(labels, logits.shape[-1])
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return 0.5 * (exact.sigmoid() - targets).square().sum(dim=-1).mean()


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the margin loss of the capsules' lengths, which are the sigmoid of the logits.

    The length of the label's capsule should be above 0.9 and the others, which count half, below 0.1.

    Sabour, Frosst & Hinton, "Dynamic routing between capsules", 2017.
    """
    lengths = logits.float().sigmoid()
    targets = F.one_hot(labels, logits.shape[-1])
    short, long = (0.9 - lengths).clamp(min=0).square(), (lengths - 0.1).clamp(min=0).square()
    return (targets * short + 0.5 * (1 - targets) * long).sum(dim=-1).mean()


def cross_entropy_with_no_digit(label_smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a cross-entropy with one more label, "no digit", whose target is ten equal probabilities.

    Hendrycks, Mazeika & Dietterich, "Deep anomaly detection with outlier exposure", 2019.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        digits = logits.shape[-1]
        targets = torch.eye(digits + 1, digits, device=logits.device)
        targets[digits] = 1 / digits
        return F.cross_entropy(logits, targets[labels], label_smoothing=label_smoothing)

    return loss


def loss_function(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the recipe's loss; label smoothing applies to the cross-entropy (Szegedy et al., 2016)."""
    if recipe.loss == "squared_error":
        return squared_error
    if recipe.loss == "margin":
        return margin
    if recipe.synthetic:
        return cross_entropy_with_no_digit(recipe.label_smoothing)
    return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)


def load_teacher(models: Sequence[ResolvedModel], device: torch.device) -> nn.Module:
    """Return a network whose logits (N, 10) are the logarithms of the models' mean calibrated probabilities.

    Raises:
        ModelError: a checkpoint is damaged or does not fit its architecture.
        EnvironmentFault: the device computes wrongly.
    """
    networks = [open_network(model) for model in models]
    ensemble = Ensemble(networks, [model.header.temperature for model in models])
    return place_network(ensemble, device)


@torch.no_grad()
def soft_targets(teacher: nn.Module, images: Tensor, temperature: float) -> Tensor:
    """Return the probabilities (N, 10) that a teacher gives images (N, 1, 28, 28) at a temperature."""
    logits: Tensor = teacher(images)
    return (logits.float() / temperature).softmax(dim=-1)


def distillation_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the mean Kullback-Leibler divergence of answers from soft targets, times squared temperature.

    The gradient of the divergence shrinks with the square of the temperature, so that without the factor the
    weight of the labels would depend on the temperature.

    Args:
        logits: the logits of the network that learns (N, 10).
        targets: the probabilities of the teacher at the same temperature (N, 10).
        temperature: the divisor of the logits.
    """
    answers = (logits.float() / temperature).log_softmax(dim=-1)
    return temperature**2 * F.kl_div(answers, targets, reduction="batchmean")


class DigitTask:
    """A `TrainingTask` on a dataset of single digits.

    `teachers` are the models whose answers the network learns, besides the labels. `original` are the digits
    on which the start model was trained. If the recipe rehearses, a share of each batch comes from them.
    """

    unit = "digit"
    least_temperature = 1.0

    def __init__(
        self,
        config: TrainConfig,
        recipe: Recipe,
        dataset: Dataset,
        device: torch.device,
        processes: Processes = ONE_PROCESS,
        teachers: Sequence[ResolvedModel] = (),
        original: Digits | None = None,
    ) -> None:
        splits = split(dataset)
        self.sources: dict[str, str] = {}
        self.notes: list[str] = []
        is_held_out = splits.holds_validation_out
        if not is_held_out:
            self.notes.append("Each class has one training digit, so the validation digits are these, too.")
        if config.corrections is not None:
            corrections = read_corrections(dataset, Path(config.corrections))
            given, splits = splits, apply_corrections(splits, corrections)
            self.notes += describe_corrections(given, splits, corrections)
            self.sources["corrections"] = digest_of(Path(config.corrections))
        if processes.is_first and dataset.digest != MNIST_DIGEST:
            digits = concatenate(splits.train, splits.validation) if is_held_out else splits.train
            if fault := worst_fault(digits, splits.test if dataset.test is not None else None):
                self.notes.append(f"{fault} To see more, run: digitcli doctor {quoted(config.data)}")
        self._splits, self._original = splits, original
        self.validation = splits.validation
        self._config, self._recipe, self._processes = config, recipe, processes
        self.name, self.digest, self.failures = dataset.name, dataset.digest, dataset.failures
        self.sizes = {
            "train": len(splits.train),
            "validation": len(splits.validation) if is_held_out else 0,
            "test": len(splits.test),
        }
        started = time.perf_counter()
        examples = self._with_synthetic_characters(splits.train) if recipe.synthetic else splits.train
        self.preparation_seconds = time.perf_counter() - started
        self._examples = len(examples)
        self._new_size, self._rehearsed_size = _parts_of_batch(recipe, len(examples), original)
        self.batch_size = self._new_size + self._rehearsed_size
        steps_of_pass = len(examples) // self._new_size  # a pass leaves out what does not fill a batch
        self.steps = max(steps_of_pass, recipe.min_epoch_steps)
        self.header: dict[str, Any] = {"teacher": {model.id: model.sha256 for model in teachers}}
        self._teacher = load_teacher(teachers, device) if teachers else None
        self._dataset = dataset
        if note := self.describe_overlap("a teacher", teachers):
            self.notes.append(note)
        if original is not None and self._rehearsed_size:
            examples = concatenate(examples, original)
        self._images = torch.from_numpy(examples.images).to(device)  # N, 28, 28, uint8
        self._labels = torch.from_numpy(examples.labels).to(device)  # N
        self._order = functools.lru_cache(maxsize=3)(self._draw_order)

    def _with_synthetic_characters(self, digits: Digits) -> Digits:
        """Add the recipe's share of synthetic characters, in the writing styles of these digits."""
        self.sizes["synthetic"] = max(1, round(self._recipe.synthetic * len(digits)))
        fonts = None if self._config.fonts is None else Path(self._config.fonts)
        if fonts is not None:
            self.sources["fonts"] = hash_fonts(fonts)
        characters = synthesize_characters(
            digits,
            render_letters(fonts),
            derive_seed(self._config.seed),
            self.sizes["synthetic"],
            max(1, usable_cores() // self._processes.size),
        )
        return concatenate(digits, characters)

    def describe_overlap(self, role: str, models: Sequence[ResolvedModel]) -> str | None:
        """Return a sentence if models from which the network learns were trained on held-out digits.

        role: what the models are for the run. None may also mean that their training digits are not known.
        """
        held_out = concatenate(self._splits.validation, self._splits.test)
        overlap = count_overlap(held_out, self._dataset, models) if models else None
        if not overlap:
            return None
        cause = f"Of the validation and test digits, {overlap:,} were used to train {role}"
        return f"{cause}, so the accuracy on new digits is probably lower."

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """Return the mean loss of this process's part of the batch."""
        rank = self._processes.rank
        seed = derive_seed(self._config.seed, epoch, step, rank) if rank else None
        return self.loss_of(network, self.indices(epoch, step), seed)

    def indices(self, epoch: int, step: int) -> Tensor:
        """Return the indices of the digits that this process uses in a step."""
        number, place = divmod(step, self._examples // self._new_size)
        order = self._order(self._examples, epoch, *([number] if number else []))
        batch = order[place * self._new_size :][: self._new_size]
        if self._rehearsed_size:
            batch = torch.cat([batch, self._rehearsed_indices(epoch * self.steps + step)])
            # The augmentation takes the halves of a batch for alike.
            batch = batch[self._order(len(batch), _REHEARSAL, epoch, step)]
        return self._processes.share(batch)

    def _rehearsed_indices(self, steps: int) -> Tensor:
        """Return the indices of the original digits of a step, after this number of steps in all."""
        count = len(self._labels) - self._examples
        number, place = divmod(steps, count // self._rehearsed_size)
        order = self._order(count, _REHEARSAL, number)
        return self._examples + order[place * self._rehearsed_size :][: self._rehearsed_size]

    def loss_of(self, network: nn.Module, indices: Tensor, seed: int | None = None) -> Tensor:
        """Return the mean loss of the digits at these indices (B,).

        A `seed` gives the network other random numbers than the augmentation has, so that every process has
        its own dropout while all processes augment by the same random numbers.
        """
        labels = self._labels[indices]  # (B,)
        images, weight = self.augmented(indices)
        if seed is not None:
            seed_random(images.device, seed)
        loss, logits = loss_function(self._recipe), network(images)
        if weight is None:
            by_labels = loss(logits, labels)
        else:
            others = labels.roll(len(labels) // 2)
            by_labels = weight * loss(logits, labels) + (1 - weight) * loss(logits, others)
        if self._teacher is None:
            return by_labels
        targets = self._soft_targets(self._teacher, images, indices, weight)
        by_teacher = distillation_loss(logits, targets, self._recipe.distillation_temperature)
        teacher_weight = self._recipe.distillation_weight
        return teacher_weight * by_teacher + (1 - teacher_weight) * by_labels

    def _soft_targets(
        self, teacher: nn.Module, images: Tensor, indices: Tensor, weight: Tensor | None
    ) -> Tensor:
        """Return the teacher's probabilities (B, 10) for the images that the network sees.

        Digits that are not augmented are the same in every epoch, and so are the answers to them. A letter
        gets ten equal probabilities, as from its label, since a teacher may take it for a digit. An image
        that mixup has blended from a digit and a letter gets a blend of both.
        """
        if not self._recipe.augment:
            targets = self._targets_of_all[indices]
        else:
            targets = soft_targets(teacher, images, self._recipe.distillation_temperature)
        if not self._recipe.synthetic:
            return targets
        letters = (self._labels[indices] == NO_DIGIT).float()  # B, the share of each image that is a letter
        if weight is not None:
            letters = torch.lerp(letters.roll(len(letters) // 2), letters, weight)
        return torch.lerp(targets, torch.full_like(targets, 1 / targets.shape[-1]), letters[:, None])

    @functools.cached_property
    def _targets_of_all(self) -> Tensor:
        """The teacher's probabilities (N, 10) for all training digits without augmentation."""
        assert self._teacher is not None
        temperature = self._recipe.distillation_temperature
        parts = self._images.split(TEACHER_BATCH)
        return torch.cat([soft_targets(self._teacher, as_input(part), temperature) for part in parts])

    def augmented(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the digits at these indices as the network sees them, (B, 1, 28, 28).

        Where the recipe mixes pairs, also return the weight of each pair's first. The random numbers are
        those of PyTorch's global generator.
        """
        recipe = self._recipe
        share = self._processes.rank, self._processes.size
        images = augment(as_input(self._images[indices]), recipe, share)
        return mixup(images, recipe.mixup) if recipe.augment and recipe.mixup else (images, None)

    def _draw_order(self, count: int, *parts: int) -> Tensor:
        """Return the order of `count` digits (count,) in one pass over them, which `parts` number."""
        random = np.random.default_rng(derive_seed(self._config.seed, *parts))
        return torch.from_numpy(random.permutation(count)).to(self._labels.device)

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """Return the training loss and the accuracy on the validation digits, without augmentation."""
        answers = _answers(network, self.validation)
        return float(loss_function(self._recipe)(*answers)), accuracy(*answers)

    def validate_batch(self, network: nn.Module) -> float:
        """Return the accuracy on one batch of the validation digits."""
        batch = np.arange(min(self._recipe.batch_size, len(self.validation)))
        return accuracy(*_answers(network, self.validation.take(batch)))

    def test(self, network: nn.Module) -> FinalMetrics:
        """Fit the temperature on the validation digits, then use the test digits, once."""
        answers = _answers(network, self.validation)
        temperature = fit_temperature(*answers, self.least_temperature)
        logits, labels = _answers(network, self._splits.test)
        return FinalMetrics(
            validation_accuracy=accuracy(*answers),
            temperature=temperature,
            test_accuracy=accuracy(logits, labels),
            test_nll=nll(logits, labels, temperature),
            test_ece=ece(logits, labels, temperature),
            misread=tuple((logits.argmax(-1) != labels).nonzero().flatten().tolist()),
        )

    @functools.cached_property
    def train_hashes(self) -> Tensor:
        """Return the hash of each training digit (N,), those of the start model included if known."""
        digits = self._splits.train
        digits = digits if self._original is None else concatenate(digits, self._original)
        return torch.from_numpy(digits.hashes())

    def add_hashes_of(self, start: ResolvedModel) -> bool:
        """Add the hashes of the digits of a start model, and tell whether all of them are known."""
        hashes = training_hashes(start, self._dataset)
        known = [torch.from_numpy(each) for each in hashes if each is not None]
        self.train_hashes = torch.cat([self.train_hashes, *known]).unique()
        return len(known) == len(hashes)


def _answers(network: nn.Module, digits: Digits) -> tuple[Tensor, Tensor]:
    """Return the logits of digits and their labels."""
    return infer(network, digits.images), torch.from_numpy(digits.labels)


def _parts_of_batch(recipe: Recipe, examples: int, original: Digits | None) -> tuple[int, int]:
    """Return the number of new and of original digits in a batch; a small dataset makes both smaller.

    Robins, "Catastrophic forgetting, rehearsal and pseudorehearsal", 1995.

    Raises:
        UsageError: the batch is too small for digits of both kinds.
    """
    if not recipe.rehearse or original is None:
        return min(recipe.batch_size, examples), 0
    rehearsed = round(recipe.rehearse * recipe.batch_size)
    new = recipe.batch_size - rehearsed
    if examples < new:
        new, rehearsed = examples, max(1, round(examples * recipe.rehearse / (1 - recipe.rehearse)))
    rehearsed = min(rehearsed, len(original))
    if not new or not rehearsed:
        cause = f"--rehearse is {recipe.rehearse}, but a batch of {recipe.batch_size} is too small"
        raise UsageError(f"{cause} to be shared.", "Choose a larger --batch-size.")
    return new, rehearsed
