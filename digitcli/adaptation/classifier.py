"""Fine-tune the classifier of single digits on those of pictures, as `train --from ... --rehearse` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from digitcli.adaptation.digit_examples import PictureDigits
from digitcli.adaptation.folds import Folds
from digitcli.adaptation.settings import LEAST_PICTURES
from digitcli.architectures.registry import ENSEMBLE
from digitcli.data import DEFAULT_DATASET
from digitcli.data.dataset import Digits, concatenate, split
from digitcli.data.loading import load_dataset
from digitcli.evaluation.calibration import fit_temperature
from digitcli.evaluation.metrics import accuracy
from digitcli.events import AdaptationStage, Event, OnEvent, StageProgress, StepDone
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import infer, open_network
from digitcli.training.configuration import TrainConfig
from digitcli.training.state import TrainResult
from digitcli.training.trainer import train
from digitcli.training.transfer import ARGUMENTS_OF_RECIPES, EPOCHS, with_start

# The share of a batch that is taken from MNIST, so that the network does not forget: as many as of the
# pictures, as for lines (`settings.COMPOSED_SHARE`).
REHEARSED_SHARE = 0.5
# The settings of its own training that a classifier keeps: the letters that it has learned to reject, and how
# sure it is taught to be.
KEPT_SETTINGS = ("synthetic", "label_smoothing")
# The digits of MNIST that stand for a digit that no picture shows, so that the network goes on reading it.
DIGITS_OF_MISSING_CLASS = 10


@dataclass(frozen=True)
class ClassifierSetup:
    """Everything that is needed to adapt a classifier.

    start: the classifier to fine-tune.
    examples, folds: the digits to learn from, by picture, and the folds of these pictures.
    seed, device: as for `train`.
    folder: where the runs are written.
    on_event: the callback for events.
    """

    start: ResolvedModel
    examples: Sequence[PictureDigits]
    folds: Folds
    seed: int
    device: str
    folder: Path
    on_event: OnEvent

    def digits_of(self, fold: int) -> tuple[Digits, Digits]:
        """Return the digits to train on and the held-out digits of a fold."""
        pairs = list(zip(self.examples, self.folds.numbers, strict=True))
        return (
            concatenate(*(example.digits for example, number in pairs if number != fold)),
            concatenate(*(example.digits for example, number in pairs if number == fold)),
        )


@dataclass(frozen=True)
class FoldClassifiers:
    """The classifiers of a cross-validation.

    models: the classifier of each fold, which was not trained on the pictures of the fold.
    temperature: the divisor of the logits that calibrates them on the held-out digits.
    accuracy_before, accuracy_after: the share of the digits that the start model reads rightly, and that the
        classifier of their fold does.
    """

    models: tuple[ResolvedModel, ...]
    temperature: float
    accuracy_before: float
    accuracy_after: float


def classifier_to_adapt(
    models: Sequence[ResolvedModel], examples: Sequence[PictureDigits], folds: Folds
) -> ResolvedModel | None:
    """Return the classifier of a reader that these pictures can adapt; None if there is none.

    It must be the only one, and a single network. At least `LEAST_PICTURES` pictures must show a single
    digit: only there the classifier decides; beside others of a number it gives no more than a second
    opinion. And each fold must leave digits to train on.
    """
    of_digits = [model for model in models if model.header.task == "digit"]
    single = sum(example.is_of_one_digit for example in examples)
    pairs = list(zip(examples, folds.numbers, strict=True))
    folds_with_digits = {number for example, number in pairs if len(example.digits)}
    if len(of_digits) != 1 or single < LEAST_PICTURES or len(folds_with_digits) < 2:
        return None
    (model,) = of_digits
    is_trainable = not model.header.arguments.keys() - set(ARGUMENTS_OF_RECIPES)
    return model if model.header.architecture != ENSEMBLE.name and is_trainable else None


def cross_validate_classifier(setup: ClassifierSetup) -> FoldClassifiers:
    """Train a classifier for each fold on the digits of the others.

    Raises:
        The errors of `train`.
    """
    before, after, labels, checkpoints = list[torch.Tensor](), list[torch.Tensor](), list[np.ndarray](), []
    start = open_network(setup.start)
    for fold in range(setup.folds.count):
        training, held_out = setup.digits_of(fold)
        counter = _counted(AdaptationStage.TRAIN_DIGITS, fold, setup.folds.count, setup.on_event)
        test = held_out if len(held_out) else training  # a fold may hold touching digits only
        result = _fine_tune(setup, training, test, f"fold-{fold}", counter)
        checkpoints.append(resolve_model(str(result.checkpoint)))
        if len(held_out):
            before.append(infer(start, held_out.images))
            after.append(infer(open_network(checkpoints[-1]), held_out.images))
            labels.append(held_out.labels)
    logits, truth = torch.cat(after), np.concatenate(labels)
    temperature = fit_temperature(logits, truth, setup.start.header.temperature)
    return FoldClassifiers(
        tuple(_with_temperature(model, temperature) for model in checkpoints),
        temperature,
        accuracy(torch.cat(before), truth),
        accuracy(logits, truth),
    )


def train_classifier_on_all(setup: ClassifierSetup, temperature: float) -> tuple[ResolvedModel, TrainResult]:
    """Train the classifier on the digits of all pictures; return also its result on the test digits of MNIST.

    Raises:
        The errors of `train`.
    """
    digits = concatenate(*(example.digits for example in setup.examples))
    counter = _counted(AdaptationStage.TRAIN_DIGITS_OF_ALL, 0, 1, setup.on_event)
    result = _fine_tune(setup, digits, split(load_dataset(DEFAULT_DATASET)).test, "all", counter)
    dataset = {"name": "labelled pictures", "pictures": len(setup.examples), "train": len(digits)}
    return _with_temperature(resolve_model(str(result.checkpoint)), temperature, dataset), result


def _fine_tune(
    setup: ClassifierSetup, digits: Digits, test: Digits, name: str, on_event: OnEvent
) -> TrainResult:
    data, header = setup.folder / f"{name}.npz", setup.start.header
    training = _with_every_class(digits)
    np.savez(
        data, images=training.images, labels=training.labels, test_images=test.images, test_labels=test.labels
    )
    kept = {setting: header.recipe[setting] for setting in KEPT_SETTINGS if setting in header.recipe}
    fields = {
        "start": str(setup.start.path),
        "data": str(data),
        "original": DEFAULT_DATASET,
        "seed": setup.seed,
        "device": setup.device,
        "recipe": {"rehearse": REHEARSED_SHARE, **kept},
    }
    return train(TrainConfig(**with_start(fields)), out=setup.folder / name, on_event=on_event)


def _with_every_class(digits: Digits) -> Digits:
    """Add digits of MNIST to those that lack a class, which can neither be learned nor composed then."""
    mnist = split(load_dataset(DEFAULT_DATASET)).train
    missing = sorted({*range(10)} - {*digits.labels.tolist()})
    places = [np.flatnonzero(mnist.labels == digit)[:DIGITS_OF_MISSING_CLASS] for digit in missing]
    return concatenate(digits, *(mnist.take(each) for each in places))


def _with_temperature(
    model: ResolvedModel, temperature: float, dataset: dict[str, object] | None = None
) -> ResolvedModel:
    """Write another temperature, and another description of the data, into a checkpoint."""
    header, tensors = read_checkpoint(model.path, model.sha256)
    changed = dataclasses.replace(header, temperature=temperature, dataset=dataset or header.dataset)
    write_checkpoint(model.path, changed, tensors)
    return resolve_model(model.path)


def _counted(stage: AdaptationStage, run: int, runs: int, on_event: OnEvent) -> Callable[[Event], None]:
    """Return a callback that reports the steps of one of several runs as the progress of a stage."""

    def report(event: Event) -> None:
        if isinstance(event, StepDone):
            steps = EPOCHS * event.steps
            done = run * steps + (event.epoch - 1) * event.steps + event.step
            on_event(StageProgress(stage, done, runs * steps))

    return report
