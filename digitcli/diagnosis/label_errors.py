"""Find wrong labels by confident learning, on probabilities of networks that never saw the digits.

Northcutt, Jiang & Chuang, "Confident learning: estimating uncertainty in dataset labels", 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from digitcli.data.dataset import Dataset, Digits
from digitcli.errors import InputError, counted
from digitcli.events import DigitsDone, OnEvent
from digitcli.inference.torch_runtime import infer
from digitcli.training.configuration import TrainConfig
from digitcli.training.loop import take_step
from digitcli.training.setup import prepare
from digitcli.training.trainer import separate_random_numbers

# Parts of the training digits, each of which is read by a network that was trained on the others.
FOLDS = 4
FOLD_SEED = 2026
# `fast` learns in seconds. Without label smoothing its probabilities are not held back from certainty.
ARCHITECTURE = "fast"
EPOCHS = 3
# The least steps of a training, which takes smaller batches and more epochs of few digits.
STEPS, SMALL_BATCH = 120, 64

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DoubtfulLabel:
    """A label that contradicts what networks say which were not trained on the digit.

    index: the number of the digit in its part of the dataset, from 0.
    label: the label that it has.
    suggestion: the digit that is likeliest.
    probability: the probability of the label.
    is_error: whether confident learning takes it for an error.
    """

    index: int
    label: int
    suggestion: int
    probability: float
    is_error: bool


def doubtful_labels(labels: npt.NDArray[np.int64], probabilities: Probabilities) -> list[DoubtfulLabel]:
    """Return the labels (N,) that are not the likeliest by probabilities (N, 10), the most doubtful first.

    The order is that of the distance of the two probabilities. Confident learning takes a label for an error
    if another digit is at least as likely as it is, in the mean, where it is the label.
    """
    usual = [float(probabilities[labels == digit, digit].mean()) for digit in np.unique(labels)]
    thresholds = np.full(10, np.inf)
    thresholds[np.unique(labels)] = usual
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggestions, of_label = probabilities.argmax(axis=1), probabilities[np.arange(len(labels)), labels]
    is_error = (confident.max(axis=1) >= 0) & (confident.argmax(axis=1) != labels)
    return [
        DoubtfulLabel(
            int(index),
            int(labels[index]),
            int(suggestions[index]),
            float(of_label[index]),
            bool(is_error[index]),
        )
        for index in np.argsort(of_label - probabilities.max(axis=1), kind="stable")
        if suggestions[index] != labels[index]
    ]


def out_of_sample_probabilities(
    dataset: Dataset, device: str = "auto", on_event: OnEvent = lambda event: None
) -> tuple[Probabilities, Probabilities | None]:
    """Return the probabilities of training digits (N, 10) by cross-validation, and those of test digits.

    Each of four networks is trained on three quarters of the training digits and reads the others. The test
    digits, if there are any, get the mean of the four; one that is also a training digit is only read by the
    network that was not trained on it.

    Raises:
        InputError: there are too few digits.
        The errors of `train`, except those of the run folder.
    """
    train, test = dataset.train, dataset.test
    firsts, original = _originals(train)
    if len(firsts) < 10 * FOLDS:
        count = counted(len(firsts), "different training digit")
        cause = f"{dataset.name} has {count}, too few for a cross-validation."
        raise InputError(cause, f"Give {10 * FOLDS} or more.")
    fold_of = (np.random.default_rng(FOLD_SEED).permutation(len(firsts)) % FOLDS)[original]
    of_train = np.empty((len(train), 10), np.float32)
    of_test = None if test is None else np.zeros((len(test), 10), np.float32)
    readers_of_test = None if test is None else _folds_without(test, train, fold_of)
    for fold in range(FOLDS):
        held_out = np.flatnonzero(fold_of == fold)
        network = _train(dataset.name, train.take(np.flatnonzero(fold_of != fold)), device)
        of_train[held_out] = _read(network, train.take(held_out))
        if test is not None and of_test is not None and readers_of_test is not None:
            of_test += readers_of_test[:, fold, None] * _read(network, test)
        on_event(DigitsDone(len(train) * (fold + 1) // FOLDS, len(train)))
    return of_train, of_test


def _originals(digits: Digits) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the places of different digits, and for each digit (N,) the number of the one that it copies.

    A network that has learned from a copy of a digit cannot judge its label.
    """
    _, firsts, copied = np.unique(digits.hashes(), return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    return firsts[order], np.argsort(order)[copied]


def _folds_without(test: Digits, train: Digits, fold_of: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """Return the share (N, F) with which the network of each fold counts for a test digit."""
    fold_of_hash = dict(zip(train.hashes().tolist(), fold_of.tolist(), strict=True))
    folds = np.array([fold_of_hash.get(hashed, -1) for hashed in test.hashes().tolist()])
    return np.where(folds[:, None] < 0, 1 / FOLDS, folds[:, None] == np.arange(FOLDS)).astype(np.float32)


def _train(name: str, digits: Digits, device: str) -> torch.nn.Module:
    """Train a network on digits, all but those that every training holds out for validation."""
    recipe: dict[str, Any] = {"epochs": EPOCHS, "label_smoothing": 0.0}
    if len(digits) * EPOCHS < STEPS * SMALL_BATCH:
        recipe |= {"batch_size": SMALL_BATCH, "epochs": -(-STEPS * SMALL_BATCH // len(digits))}
    config = TrainConfig(arch=ARCHITECTURE, recipe=recipe, device=device)
    with separate_random_numbers(config):
        setup, state = prepare(
            config, None, None, lambda event: None, lambda: None, dataset=Dataset(name, digits)
        )
        for state.epoch in range(setup.recipe.epochs):
            for state.step in range(setup.task.steps):
                take_step(setup, state)
    return state.weights()


def _read(network: torch.nn.Module, digits: Digits) -> Probabilities:
    return infer(network, digits.images).softmax(dim=1).numpy()
