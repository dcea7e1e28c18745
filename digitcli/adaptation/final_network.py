"""The network that comes out of an adaptation: train it on all pictures, and judge it on held-out ones."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from digitcli.adaptation.cross_validation import (
    CrossValidation,
    Setup,
    copied_weights,
    cross_validate,
    interpolated,
    score_interpolated,
)
from digitcli.adaptation.folds import Folds
from digitcli.adaptation.networks import recipe_of, trained_epochs
from digitcli.adaptation.results import AdaptedModel, Choice, EpochScore
from digitcli.adaptation.settings import INK_READER, FineTuning
from digitcli.data.labelled_pictures import LabelledPicture
from digitcli.errors import InputError
from digitcli.evaluation.calibration import risk_table
from digitcli.events import AdaptationStage, OnEvent, StageProgress
from digitcli.inference.checkpoint import Header, library_versions, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import open_network
from digitcli.recognition.calibrate import Answer, answer_pictures
from digitcli.recognition.reader import Reader
from digitcli.recognition.thresholds import companions_of
from digitcli.training.start_model import OriginalLines, describe_start_model

# The largest loss of accuracy on 1,000 composed lines. It is about two standard errors of their accuracy
# (0.86 percentage points), and six of the difference between two networks (see `training.original`), so that
# a network which loses more has clearly become worse at other pictures.
LARGEST_LOSS = 0.02
# More than the rounding of a difference of two shares, and less than one line.
ROUNDING = 1e-9
# The shares of the way from the weights before to those after the training, the first that forgets little is
# taken. Wortsman et al., "Robust fine-tuning of zero-shot models", 2022.
SHARES = (1.0, 0.75, 0.5, 0.25)


@dataclass(frozen=True)
class Trained:
    """The final network: how it was chosen, and its weights."""

    choice: Choice
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Remembering:
    """A network that was fine-tuned, and reads composed lines nearly as well as before.

    share: how far its weights are from those before the training towards those after it, from 0 to 1.
    composed_before, composed_after: the share of composed lines that are read rightly before and after.
    tensors: its weights.
    """

    share: float
    composed_before: float
    composed_after: float
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Judged:
    """The final network, judged by those of the folds, which read pictures that they were not trained on.

    scores: the scores of the held-out lines by the number of epochs.
    choice: how the network was chosen, see `Adaptation`.
    answers: the answers to the held-out pictures; those before where no network was chosen.
    models: the network, if more pictures are read rightly with it.
    """

    scores: tuple[EpochScore, ...]
    choice: Choice | None
    answers: Sequence[Answer]
    models: tuple[AdaptedModel, ...] = ()


def train_and_judge(
    setup: Setup,
    answers: Sequence[Answer],
    models: Sequence[ResolvedModel],
    original: OriginalLines,
    device: str,
    on_event: OnEvent,
) -> Judged:
    """Adapt the network that reads lines, and find out whether more pictures are read rightly with it.

    answers: what the models of the reader read before the adaptation.

    Raises:
        The errors of `cross_validate` and `read_held_out`.
    """
    validation = cross_validate(setup, counter(AdaptationStage.TRAIN, setup.steps, on_event))
    trained = train_on_all(setup, validation, original, on_event)
    if trained is None:
        return Judged(validation.scores, None, answers)
    with tempfile.TemporaryDirectory() as folder:
        networks = write_fold_networks(setup, validation, trained, Path(folder))
        folds = [[network if model is setup.start else model for model in models] for network in networks]
        pictures = [answer.picture for answer in answers]
        after = read_held_out(pictures, setup.folds, folds, device, on_event)
    helps = sum(answer.is_right for answer in after) > sum(answer.is_right for answer in answers)
    adapted = (adapted_model(setup, trained, after, models),) if helps else ()
    return Judged(validation.scores, trained.choice, after, adapted)


def train_on_all(
    setup: Setup, validation: CrossValidation, original: OriginalLines, on_event: OnEvent
) -> Trained | None:
    """Train on all lines for the best number of epochs; None if it is 0, or the network forgets too much."""
    epochs = validation.best.epochs
    if not epochs:
        return None
    settings = dataclasses.replace(setup.settings, epochs=epochs)
    on_step = counter(AdaptationStage.TRAIN_ALL, epochs * settings.steps_of_epoch(len(setup.lines)), on_event)
    for network in trained_epochs(  # noqa: B007
        setup.start, setup.lines, setup.composed, settings, setup.device, on_step
    ):
        pass
    final = move_back(setup.start, copied_weights(network), setup.device, original)
    if final is None:
        return None
    score = score_interpolated(setup, validation, epochs, final.share)
    choice = Choice(epochs, final.share, final.composed_before, final.composed_after, score)
    return Trained(choice, final.tensors)


def move_back(
    start: ResolvedModel, adapted: Mapping[str, Tensor], device: torch.device, original: OriginalLines
) -> Remembering | None:
    """Move weights back towards those before the training if they lose more than `LARGEST_LOSS` on composed
    lines; None if they lose as much at every share of the way.
    """
    network = open_network(start).to(device)
    weights, before = copied_weights(network), original.test_accuracy(network)
    for share in SHARES:
        tensors = interpolated(weights, adapted, share)
        network.load_state_dict(tensors)
        after = original.test_accuracy(network)
        if before - after <= LARGEST_LOSS + ROUNDING:
            return Remembering(share, before, after, tensors)
    return None


def write_fold_networks(
    setup: Setup, validation: CrossValidation, trained: Trained, folder: Path
) -> list[ResolvedModel]:
    """Write the network of each fold, as it is after the epochs of the final one, to a folder."""
    choice = trained.choice
    header = dataclasses.replace(setup.start.header, temperature=choice.score.temperature)
    start = copied_weights(open_network(setup.start))
    models = []
    for fold, weights in enumerate(validation.weights):
        path = folder / f"{INK_READER}-{fold}.safetensors"
        write_checkpoint(path, header, interpolated(start, weights[choice.epochs - 1], choice.share))
        models.append(resolve_model(path))
    return models


def read_held_out(
    pictures: Sequence[LabelledPicture],
    folds: Folds,
    models_of_folds: Sequence[Sequence[ResolvedModel]],
    device: str,
    on_event: OnEvent,
) -> list[Answer]:
    """Read the pictures of each fold by its models, which were not trained on them.

    Raises:
        InputError: a picture has vanished since the cross-validation.
    """
    answers: dict[int, Answer] = {}
    count = counter(AdaptationStage.TEST, len(pictures), on_event)
    for fold, models in enumerate(models_of_folds):
        held_out = folds.held_out(fold)
        reader = Reader(*models, device=device, min_confidence=0.0)
        read, failures = answer_pictures(reader, [pictures[each] for each in held_out], lambda event: count())
        if failures:
            cause = f"{failures[0].file} could be read before the training, but cannot any more."
            raise InputError(cause, "Leave the pictures as they are while digitcli adapt runs.")
        answers |= dict(zip(held_out, read, strict=True))
    return [answers[index] for index in range(len(pictures))]


def adapted_model(
    setup: Setup, trained: Trained, answers: Sequence[Answer], models: Sequence[ResolvedModel]
) -> AdaptedModel:
    """Return the final network with its temperature and the risk of the reader that it belongs to.

    answers: what the networks of the folds read in the pictures that were held out.
    models: the models of the reader, with this network as it was before.
    """
    settings = dataclasses.replace(setup.settings, epochs=trained.choice.epochs)
    dataset = {"name": "labelled pictures", "pictures": len(setup.examples), "train": len(setup.lines)}
    header = dataclasses.replace(
        header_of(setup.start, settings, setup.device, dataset, models),
        temperature=trained.choice.score.temperature,
        risk=_risk(answers),
    )
    return AdaptedModel(INK_READER, header, trained.tensors)


def header_of(
    start: ResolvedModel,
    settings: FineTuning,
    device: torch.device,
    dataset: dict[str, Any],
    models: Sequence[ResolvedModel],
) -> Header:
    """Return the header of a network that was adapted, with the temperature of its start and no risk."""
    return Header(
        architecture=start.header.architecture,
        arguments=start.header.arguments,
        task=start.header.task,
        alphabet=start.header.alphabet,
        recipe=dataclasses.asdict(recipe_of(start, settings, device)),
        seed=settings.seed,
        dataset=dataset,
        start=describe_start_model(start, None),
        temperature=start.header.temperature,
        risk_companions=companions_of(start, models),
        versions=library_versions(),
    )


def _risk(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the risk table of answers, with one more that is wrong and has the highest confidence.

    The further answer makes the table careful: few right answers do not show that none is wrong.
    """
    given = [(answer.confidence, answer.is_right) for answer in answers if answer.confidence is not None]
    confidences, is_right = [1.0, *(each for each, _ in given)], [False, *(each for _, each in given)]
    return risk_table(confidences, is_right)


def counter(stage: AdaptationStage, n: int, on_event: OnEvent) -> Callable[[], None]:
    """Return a function that reports the progress of a stage each time that it is called."""
    numbers = itertools.count(1)
    return lambda: on_event(StageProgress(stage, next(numbers), n))
