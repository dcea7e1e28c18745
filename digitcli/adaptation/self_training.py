"""Adapt the network that reads lines to pictures without labels, from what it reads in them for certain.

Lee, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks", 2013.
Xie et al., "Self-training with noisy student improves ImageNet classification", 2020: the network learns its
own answers from varied lines.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from digitcli.adaptation.adapt import as_progress, compose_lines, digest_of, model_to_adapt
from digitcli.adaptation.cross_validation import copied_weights, score_lines
from digitcli.adaptation.examples import PictureLines, find_lines_to_learn
from digitcli.adaptation.final_network import Remembering, counter, header_of, move_back
from digitcli.adaptation.networks import trained_epochs
from digitcli.adaptation.results import AdaptedModel
from digitcli.adaptation.self_training_results import PictureReadTwice, SelfTraining
from digitcli.adaptation.settings import (
    FOLDS,
    INK_READER,
    LEAST_PICTURES,
    SELF_TRAINING_EPOCHS,
    FineTuning,
    check_settings,
)
from digitcli.data import DEFAULT_DATASET
from digitcli.data.dataset import Failure
from digitcli.data.labelled_pictures import (
    LABELS,
    LabelledPicture,
    leave_copies_out,
    read_labelled_pictures,
    unlabelled_pictures,
)
from digitcli.errors import InputError
from digitcli.events import AdaptationStage, OnEvent
from digitcli.inference.checkpoint import write_checkpoint
from digitcli.inference.devices import choose_device
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, resolve_model, resolve_models
from digitcli.inference.predictor import load_line_recognizer, load_page_finder
from digitcli.inference.torch_runtime import open_network
from digitcli.recognition.calibrate import MAX_ERROR, numbers_of, read_one_page_each
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.line_crops import FINDER
from digitcli.recognition.models import DEFAULT_OF_KIND, complete_models
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Reading
from digitcli.training.line_task import line_logits
from digitcli.training.start_model import OriginalLines

DEFAULT_SETTINGS = FineTuning()


@dataclass(frozen=True)
class Training:
    """The training of a network on its own readings.

    epochs: the number of epochs; 0 if none of them makes the labels likelier.
    most_epochs: the most epochs, of which labelled pictures chose; None if the number was given.
    final: the network; None without an epoch, or if it forgets too much.
    """

    epochs: int
    most_epochs: int | None
    final: Remembering | None

    def figures(self) -> dict[str, Any]:
        """Return the fields of a `SelfTraining` that say how the network was trained."""
        final = self.final
        return {
            "epochs": self.epochs if final else 0,
            "most_epochs": self.most_epochs,
            "forgets": bool(self.epochs) and final is None,
            "share": final.share if final else 0.0,
            "composed_before": final.composed_before if final else None,
            "composed_after": final.composed_after if final else None,
        }


def adapt_unlabelled(
    folder: str | Path,
    models: Sequence[ModelLike] = (),
    *,
    settings: FineTuning = DEFAULT_SETTINGS,
    fixed_epochs: int = SELF_TRAINING_EPOCHS,
    constraints: Constraints | None = None,
    device: str = "auto",
    on_event: OnEvent = lambda event: None,
) -> SelfTraining:
    """Fine-tune the network that reads lines on what it reads for certain in pictures without labels.

    A reading is learned if its confidence is above the threshold for the share of wrong answers that
    `predict` recommends (`MAX_ERROR`), if it meets the constraints, and if the network reads the same in
    every crop that it would learn from. The models are those of `Reader`. Where `labels.csv` labels a part of
    the pictures, that part is not learned from: it shows whether the self-training helps. If it has
    `LEAST_PICTURES` or more, it also chooses the number of epochs, up to that of the settings; otherwise
    there are `fixed_epochs`. `save_adaptation` writes the result.

    Raises:
        UsageError: a value is out of range, or there is no single network to adapt.
        InputError: there are no pictures without a label, or too few of them are read for certain.
        ModelError, EnvironmentFault: see `Reader`.
        DivergedError: the loss is not finite.
    """
    started = time.perf_counter()
    for epochs in (settings.epochs, fixed_epochs):
        check_settings(dataclasses.replace(settings, epochs=epochs), FOLDS)
    listed, labels, copies = _list_pictures(Path(folder))
    resolved = complete_models(resolve_models(models or [DEFAULT_OF_KIND["line"]]))
    start, chosen_device = model_to_adapt(resolved), choose_device(device)
    reader = Reader(*resolved, device=device, max_error=MAX_ERROR, constraints=constraints)
    read = list(read_one_page_each(reader, listed, as_progress(AdaptationStage.READ, on_event)))
    pictures = [picture for picture, each in zip(listed, read, strict=True) if isinstance(each, Reading)]
    before = [each for each in read if isinstance(each, Reading)]
    examples, judging = _find_targets(pictures, before, labels, start, device, on_event)
    training = _train(start, examples, judging, settings, fixed_epochs, chosen_device, on_event)
    final, after = training.final, before
    if final is not None:
        after = _read_again(pictures, start, final, resolved, constraints, device, on_event)
    result = SelfTraining(
        folder=str(folder),
        model=reader.name,
        digest=digest_of(pictures),
        pictures=_compare(before, after, labels, examples),
        failures=(*copies, *(each for each in read if isinstance(each, Failure))),
        threshold=reader.thresholds.alone,
        page_threshold=reader.thresholds.page,
        evidence=reader.thresholds.evidence,
        **training.figures(),
        settings=dataclasses.asdict(settings),
        seconds=time.perf_counter() - started,
    )
    if final is None or result.is_worse:
        return result
    settings = dataclasses.replace(settings, epochs=training.epochs)
    model = _adapted_model(start, final, settings, chosen_device, result, resolved)
    return dataclasses.replace(result, models=(model,))


def _adapted_model(
    start: ResolvedModel,
    final: Remembering,
    settings: FineTuning,
    device: torch.device,
    result: SelfTraining,
    models: Sequence[ResolvedModel],
) -> AdaptedModel:
    dataset = {"name": "unlabelled pictures", "pictures": result.learned, "train": result.lines}
    return AdaptedModel(INK_READER, header_of(start, settings, device, dataset, models), final.tensors)


def _list_pictures(
    folder: Path,
) -> tuple[list[LabelledPicture], dict[str, str], tuple[Failure, ...]]:
    """Return the pictures of a folder, the digits that the table gives for a part of them, and the copies.

    The text of a picture without a label is empty. Copies are left out: what is judged must not be learned.
    """
    labelled = read_labelled_pictures(folder) if (folder / LABELS).exists() else ()
    unlabelled = [
        LabelledPicture(path.relative_to(folder).as_posix(), path, "")
        for path in unlabelled_pictures(folder, labelled)
    ]
    if not unlabelled:
        cause = f"{folder} holds no pictures without a label."
        raise InputError(cause, "Add pictures, or leave --unlabelled out to learn from labels.")
    pictures, copies = leave_copies_out([*labelled, *unlabelled])
    return pictures, {picture.file: numbers_of(picture.text) for picture in labelled}, copies


def _find_targets(
    pictures: Sequence[LabelledPicture],
    readings: Sequence[Reading],
    labels: Mapping[str, str],
    start: ResolvedModel,
    device: str,
    on_event: OnEvent,
) -> tuple[list[PictureLines], list[PictureLines]]:
    """Return the lines of the pictures without a label whose readings may be learned, with these readings.

    Return also the lines of the pictures with a label, which are not learned from.
    """
    confident = [
        dataclasses.replace(picture, text=reading.text or "")
        for picture, reading in zip(pictures, readings, strict=True)
        if reading.status == "read" and picture.file not in labels
    ]
    labelled = [picture for picture in pictures if picture.file in labels]
    recognizer, finder = load_line_recognizer(start, device), load_page_finder(FINDER, device)
    rotations = {reading.file: reading.rotation for reading in readings}
    examples = find_lines_to_learn(
        confident, recognizer, finder, on_event, rotations=rotations, only_agreeing=True
    )
    used, unlabelled = sum(bool(example.lines) for example in examples), len(pictures) - len(labelled)
    if used < LEAST_PICTURES:
        cause = (
            f"Of {unlabelled} pictures without a label, {len(confident)} are read with enough confidence, "
            f"and {used} of these alike in every crop, but self-training needs {LEAST_PICTURES}."
        )
        remedy = "Give more pictures, check the constraints if you gave any, or label pictures to learn from."
        raise InputError(cause, remedy)
    return examples, find_lines_to_learn(labelled, recognizer, finder, rotations=rotations)


def _train(
    start: ResolvedModel,
    examples: Sequence[PictureLines],
    judging: Sequence[PictureLines],
    settings: FineTuning,
    fixed_epochs: int,
    device: torch.device,
    on_event: OnEvent,
) -> Training:
    """Train for the number of epochs that makes labels likeliest; for a fixed one if there are few labels."""
    can_choose = sum(bool(example.lines) for example in judging) >= LEAST_PICTURES
    most = settings.epochs if can_choose else fixed_epochs
    settings = dataclasses.replace(settings, epochs=most)
    lines = [line for example in examples for line in example.lines]
    original = OriginalLines(DEFAULT_DATASET, None, settings.seed)
    composed = compose_lines(original, settings.seed, on_event)
    on_step = counter(AdaptationStage.TRAIN_ALL, most * settings.steps_of_epoch(len(lines)), on_event)
    networks = trained_epochs(start, lines, composed, settings, device, on_step)
    weights = [copied_weights(network) for network in networks]
    epochs = _choose_epochs(start, weights, judging, device) if can_choose else most
    final = move_back(start, weights[epochs - 1], device, original) if epochs else None
    return Training(epochs, most if can_choose else None, final)


def _choose_epochs(
    start: ResolvedModel,
    weights: Sequence[Mapping[str, Tensor]],
    judging: Sequence[PictureLines],
    device: torch.device,
) -> int:
    """Return the number of epochs after which the labels are likeliest (see `EpochScore`), or 0."""
    network, alphabet = open_network(start).to(device), start.header.alphabet
    lines = [line for example in judging for line in example.lines]
    scores = []
    for epochs, state in enumerate([copied_weights(network), *weights]):
        network.load_state_dict(state)
        texts = [line.digits for line in lines]
        scores.append(score_lines(epochs, line_logits(network, lines), texts, alphabet))
    return min(scores, key=lambda score: score.nll).epochs


def _read_again(
    pictures: Sequence[LabelledPicture],
    start: ResolvedModel,
    final: Remembering,
    models: Sequence[ResolvedModel],
    constraints: Constraints | None,
    device: str,
    on_event: OnEvent,
) -> list[Reading]:
    """Read pictures by the adapted network and the other models, with the thresholds that there were before.

    Raises:
        InputError: a picture cannot be read any more.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{INK_READER}.safetensors"
        write_checkpoint(path, start.header, final.tensors)  # which thresholds count depends on its risk
        adapted = dataclasses.replace(resolve_model(path), name=start.name)  # and on its name
        replaced = [adapted if model is start else model for model in models]
        reader = Reader(*replaced, device=device, max_error=MAX_ERROR, constraints=constraints)
        readings = []
        for each in read_one_page_each(reader, pictures, as_progress(AdaptationStage.READ_AGAIN, on_event)):
            if isinstance(each, Failure):
                cause = f"{each.file} could be read at first, but not again: {each.cause}"
                raise InputError(cause, "Leave the folder unchanged until the command has ended.")
            readings.append(each)
    return readings


def _compare(
    before: Sequence[Reading],
    after: Sequence[Reading],
    labels: Mapping[str, str],
    examples: Sequence[PictureLines],
) -> tuple[PictureReadTwice, ...]:
    lines = {example.picture.file: len(example.lines) for example in examples}
    return tuple(
        PictureReadTwice(
            file=first.file,
            label=labels.get(first.file),
            lines=lines.get(first.file, 0),
            text_before=first.text,
            text_after=second.text,
            confidence_before=first.confidence,
            confidence_after=second.confidence,
            answered_before=first.status == "read",
            answered_after=second.status == "read",
        )
        for first, second in zip(before, after, strict=True)
    )
