"""The network that comes out of an adaptation: train it on all pictures, and judge it on held-out ones."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from digitcli.adaptation.adaptation import INK_READER, AdaptedModel, Choice, EpochScore
from digitcli.adaptation.calibrate import Answer, answer_pictures
from digitcli.adaptation.cross_validation import (
    CrossValidation,
    Folds,
    Setup,
    copied_weights,
    cross_validate,
    interpolated,
    score_interpolated,
)
from digitcli.adaptation.line_fine_tuning import recipe_of, trained_epochs
from digitcli.data.label_tables import LabelledPicture
from digitcli.errors import InputError
from digitcli.evaluation.calibration import risk_table
from digitcli.events import AdaptationStage, OnEvent, StageProgress
from digitcli.inference.checkpoint import Header, library_versions, write_checkpoint
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import open_network
from digitcli.recognition.reader import Reader
from digitcli.recognition.thresholds import companions_of
from digitcli.training.start_model import OriginalLines, describe_start_model

# The largest loss of accuracy on 1,000 synthetic lines. It is about two standard errors of their accuracy
# (0.86 percentage points), and six of the difference between two networks (see `training.start_model`), so
# that a network which loses more has clearly become worse at other pictures.
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
class Judged:
    """The final network, judged by those of the folds, which read pictures that they were not trained on.

    scores: the scores of the held-out lines by the number of epochs.
    choice: how the network was chosen, see `Adaptation`.
    answers: the answers to the held-out pictures; those before where no network was chosen.
    models: the network, if more pictures are read correctly with it.
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
    """Adapt the network that reads lines, and find out whether more pictures are read correctly with it.

    answers: what the models of the reader read before the adaptation.

    Raises:
        The errors of `cross_validate` and `read_held_out`.
    """
    validation = cross_validate(setup, _counter(AdaptationStage.TRAIN, setup.steps, on_event))
    trained = train_on_all(setup, validation, original, on_event)
    if trained is None:
        return Judged(validation.scores, None, answers)
    with tempfile.TemporaryDirectory() as folder:
        networks = _write_fold_networks(setup, validation, trained, Path(folder))
        folds = [[network if model is setup.start else model for model in models] for network in networks]
        pictures = [answer.picture for answer in answers]
        after = read_held_out(pictures, setup.folds, folds, device, on_event)
    helps = sum(answer.is_right for answer in after) > sum(answer.is_right for answer in answers)
    adapted = (_adapted_model(setup, trained, after, models),) if helps else ()
    return Judged(validation.scores, trained.choice, after, adapted)


def train_on_all(
    setup: Setup, validation: CrossValidation, original: OriginalLines, on_event: OnEvent
) -> Trained | None:
    """Train on all lines for the best number of epochs; None if it is 0, or the network forgets too much.

    Weights that lose more than `LARGEST_LOSS` on synthetic lines are moved back towards those before.
    """
    epochs = validation.best.epochs
    if not epochs:
        return None
    settings = dataclasses.replace(setup.settings, epochs=epochs)
    on_step = _counter(
        AdaptationStage.TRAIN_ALL, epochs * settings.steps_of_epoch(len(setup.lines)), on_event
    )
    for network in trained_epochs(  # noqa: B007
        setup.start, setup.lines, setup.composed, settings, setup.device, on_step
    ):
        pass
    start, adapted = open_network(setup.start).to(setup.device), copied_weights(network)
    weights, before = copied_weights(start), original.test_accuracy(start)
    for share in SHARES:
        tensors = interpolated(weights, adapted, share)
        start.load_state_dict(tensors)
        after = original.test_accuracy(start)
        if before - after <= LARGEST_LOSS + ROUNDING:
            score = score_interpolated(setup, validation, epochs, share)
            return Trained(Choice(epochs, share, before, after, score), tensors)
    return None


def _write_fold_networks(
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
    count = _counter(AdaptationStage.TEST, len(pictures), on_event)
    for fold, models in enumerate(models_of_folds):
        held_out = folds.held_out(fold)
        reader = Reader(*models, device=device, min_confidence=0.0)
        read, failures = answer_pictures(reader, [pictures[each] for each in held_out], lambda event: count())
        if failures:
            cause = f"{failures[0].file} could be read before the training, but cannot any more."
            raise InputError(cause, "Leave the pictures as they are while digitcli adapt runs.")
        answers |= dict(zip(held_out, read, strict=True))
    return [answers[index] for index in range(len(pictures))]


def _adapted_model(
    setup: Setup, trained: Trained, answers: Sequence[Answer], models: Sequence[ResolvedModel]
) -> AdaptedModel:
    """Return the final network with its temperature and the risk of the reader that it belongs to.

    answers: what the networks of the folds read in the pictures that were held out.
    models: the models of the reader, with this network as it was before.
    """
    start, settings = setup.start, dataclasses.replace(setup.settings, epochs=trained.choice.epochs)
    header = Header(
        architecture=start.header.architecture,
        arguments=start.header.arguments,
        task=start.header.task,
        alphabet=start.header.alphabet,
        recipe=dataclasses.asdict(recipe_of(start, settings, setup.device)),
        seed=settings.seed,
        dataset={"name": "labelled pictures", "pictures": len(setup.examples), "train": len(setup.lines)},
        start=describe_start_model(start, None),
        temperature=trained.choice.score.temperature,
        risk=_risk(answers),
        risk_companions=companions_of(start, models),
        versions=library_versions(),
    )
    return AdaptedModel(INK_READER, header, trained.tensors)


def _risk(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the risk table of answers, with one more that is wrong and has the highest confidence.

    The further answer makes the table careful: few right answers do not show that none is wrong.
    """
    given = [(answer.confidence, answer.is_right) for answer in answers if answer.confidence is not None]
    confidences, is_right = [1.0, *(each for each, _ in given)], [False, *(each for _, each in given)]
    return risk_table(confidences, is_right)


def _counter(stage: AdaptationStage, n: int, on_event: OnEvent) -> Callable[[], None]:
    """Return a function that reports the progress of a stage each time that it is called."""
    numbers = itertools.count(1)
    return lambda: on_event(StageProgress(stage, next(numbers), n))
