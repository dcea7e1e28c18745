"""Adapt the network that reads lines to labelled pictures, and find out whether it helps."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from digitcli.adaptation.adaptation import (
    FOLDS,
    INK_READER,
    LEAST_PICTURES,
    MOST_EPOCHS,
    Adaptation,
    FineTuning,
    PictureResult,
)
from digitcli.adaptation.calibrate import Answer, answer_pictures, numbers_of
from digitcli.adaptation.cross_validation import Setup, divide_into_folds, train_and_judge
from digitcli.adaptation.labelled_lines import find_lines_to_learn
from digitcli.data import DEFAULT_DATASET
from digitcli.data.dataset import Failure
from digitcli.data.label_tables import (
    LABELS,
    LabelledPicture,
    leave_copies_out,
    read_labelled_pictures,
    unlabelled_pictures,
)
from digitcli.errors import InputError, QualityError, UsageError, counted
from digitcli.events import AdaptationStage, Event, OnEvent, PicturesDone, StageProgress
from digitcli.inference.devices import choose_device
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, resolve_models
from digitcli.inference.predictor import load_line_recognizer, load_page_finder
from digitcli.recognition.line_reading import FINDER
from digitcli.recognition.models import DEFAULT_OF_KIND, complete_models
from digitcli.recognition.reader import Reader
from digitcli.synthesis.lines import Line
from digitcli.training.start_model import OriginalLines
from digitcli.training.synthetic_lines import compose
from digitcli.training.task import derive_seed

DEFAULT_SETTINGS = FineTuning()
# The synthetic lines to learn besides the labelled ones: each is used about twice in a training of 8 epochs,
# and they are composed in 12 seconds.
COMPOSED_LINES = 2_000
COMPOSED_AT_ONCE = 100
# A part of the seeds of the synthetic lines to learn, which no pool of `training.line_task` has.
_COMPOSED_SEED = (3, 0)


def adapt(
    folder: str | Path,
    models: Sequence[ModelLike] = (),
    *,
    settings: FineTuning = DEFAULT_SETTINGS,
    device: str = "auto",
    on_event: OnEvent = lambda event: None,
) -> Adaptation:
    """Fine-tune a network that reads lines on labelled pictures, and find out whether that helps.

    The folder is that of `read_labelled_pictures`, and the models are those of `Reader`. The one of the
    architecture `reader` is fine-tuned. Cross-validation chooses the number of epochs, and tells how many
    pictures are read correctly by networks that were not trained on them. `save_adaptation`
    writes the result.

    Raises:
        UsageError: the number of epochs is out of range, or there is no single network to adapt.
        InputError: there are no labels, or too few of the labelled pictures can be used.
        QualityError: all of them are read correctly already.
        ModelError, EnvironmentFault: see `Reader`.
        DivergedError: the loss is not finite.
    """
    started = time.perf_counter()
    if not 1 <= settings.epochs <= MOST_EPOCHS:
        raise UsageError(f"--epochs is {settings.epochs}.", f"It must be from 1 to {MOST_EPOCHS}.")
    listed = read_labelled_pictures(Path(folder))
    resolved = complete_models(resolve_models(models or [DEFAULT_OF_KIND["line"]]))
    start = model_to_adapt(resolved)
    reader = Reader(*resolved, device=device, min_confidence=0.0)
    answers, failures = _answer_usable(reader, listed, start.header.alphabet, on_event)
    if answers and all(answer.is_right for answer in answers):
        cause = f"All {len(answers)} labelled pictures that can be read are read correctly already."
        raise QualityError(cause, "There is nothing to learn from them; label pictures that are misread.")
    digest = _digest_of(answers)
    recognizer, finder = load_line_recognizer(start, device), load_page_finder(FINDER, device)
    examples = find_lines_to_learn(answers, recognizer, finder, on_event)
    _check_examples(examples, len(failures))
    folds = divide_into_folds([answer.picture.group for answer in answers], FOLDS, settings.seed)
    original = OriginalLines(DEFAULT_DATASET, settings.seed)
    composed = _compose_lines(original, settings.seed, on_event)
    setup = Setup(start, examples, folds, composed, settings, choose_device(device))
    _check_folds(setup)
    judged = train_and_judge(setup, answers, resolved, original, on_event)
    return Adaptation(
        folder=str(folder),
        model=reader.name,
        digest=digest,
        pictures=_results(answers, judged.answers, setup),
        unlabelled=len(unlabelled_pictures(Path(folder), listed)),
        failures=failures,
        lines=len(setup.lines),
        groups=folds.groups,
        divides_group=folds.divides_group,
        folds=folds.count,
        scores=judged.scores,
        choice=judged.choice,
        settings=settings,
        seconds=time.perf_counter() - started,
        adapted=judged.adapted,
    )


def model_to_adapt(models: Sequence[ResolvedModel]) -> ResolvedModel:
    """Return the model of a reader that is adapted: the only one that reads the ink of lines.

    Raises:
        UsageError: there is none, or there are several, or its weights are integers.
    """
    of_ink = [model for model in models if model.header.architecture == INK_READER]
    if len(of_ink) != 1:
        cause = f"{len(of_ink)} of the models are of the architecture {INK_READER}, which is adapted."
        raise UsageError(cause, "Name one such model with -m, or leave -m out.")
    (model,) = of_ink
    if model.header.weight_bits:
        cause = f"The weights of {model.name} are integers, which cannot be trained."
        raise UsageError(cause, "Adapt the model that it was made from, and compress the result.")
    return model


def _answer_usable(
    reader: Reader, listed: Sequence[LabelledPicture], alphabet: str, on_event: OnEvent
) -> tuple[list[Answer], tuple[Failure, ...]]:
    """Read the pictures that can be learned from; return the answers, and the pictures that are left out.

    A copy in another fold would be known by heart, and a label such as `?`, without any character that a
    network reads, would teach it that nothing is written there.
    """
    distinct, copies = leave_copies_out(listed)
    unusable = [each for each in distinct if each.text.strip() and not set(each.text) & set(alphabet)]
    cause = "Its text has no digit; leave the text of a picture without a number empty."
    unlabelled = tuple(Failure(each.file, "label", cause) for each in unusable)
    labelled = [each for each in distinct if each not in unusable]
    if not any(numbers_of(picture.text) for picture in labelled):
        cause = f"No row of {LABELS} has a digit in its text, so that there is no number to learn."
        raise InputError(cause, "Write the number of each picture into the column text.")

    def report(event: Event) -> None:
        if isinstance(event, PicturesDone):
            on_event(StageProgress(AdaptationStage.READ, event.done, event.n))

    answers, unreadable = answer_pictures(reader, labelled, report)
    return answers, (*copies, *unlabelled, *unreadable)


def _check_examples(examples: Sequence[Sequence[Line]], failures: int) -> None:
    usable = sum(map(bool, examples))
    if usable >= LEAST_PICTURES:
        return
    listed = counted(len(examples) + failures, "labelled picture")
    cause = f"Of {listed}, {usable} can be used; {LEAST_PICTURES} are needed."
    if unclear := len(examples) - usable:
        cause += f" In {unclear}, it cannot be told where the text stands."
    if failures:
        cause += f" {failures} are copies, have no digit in their text or cannot be read."
    raise InputError(cause, "Label more pictures of one number each; 100 or more are better.")


def _check_folds(setup: Setup) -> None:
    if not all(setup.lines_of(fold)[0] for fold in range(setup.folds.count)):
        cause = "The pictures that can be used are all of one group, and the other groups have none."
        raise InputError(cause, "Label more pictures of the other groups, or leave the column group out.")


def _compose_lines(original: OriginalLines, seed: int, on_event: OnEvent) -> list[Line]:
    """Compose the lines that are mixed with those of the pictures."""
    synthesizer = original.source.composer("train").lines
    random = np.random.default_rng(derive_seed(seed, *_COMPOSED_SEED))
    lines: list[Line] = []
    while len(lines) < COMPOSED_LINES:
        lines += compose(synthesizer, random, COMPOSED_AT_ONCE)
        on_event(StageProgress(AdaptationStage.COMPOSE, len(lines), COMPOSED_LINES))
    return lines


def _results(before: Sequence[Answer], after: Sequence[Answer], setup: Setup) -> tuple[PictureResult, ...]:
    return tuple(
        PictureResult(
            file=first.picture.file,
            fold=fold,
            lines=len(lines),
            right_before=first.is_right,
            right_after=second.is_right,
            confidence_before=first.confidence,
            confidence_after=second.confidence,
        )
        for first, second, fold, lines in zip(before, after, setup.folds.numbers, setup.examples, strict=True)
    )


def _digest_of(answers: Sequence[Answer]) -> str:
    """Return the SHA-256 of the pictures and their labels."""
    sha256 = hashlib.sha256()
    for picture in (answer.picture for answer in answers):
        sha256.update(hashlib.sha256(picture.path.read_bytes()).digest())
        sha256.update(f"{picture.text}\0{picture.group or ''}\0".encode())
    return sha256.hexdigest()
