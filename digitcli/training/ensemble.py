"""Train an ensemble: its members, one after the other, and the model that averages their answers."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from digitcli.architectures.registry import ENSEMBLE, resolve_recipe
from digitcli.data.loading import load_dataset
from digitcli.errors import Interrupted, ModelError, UsageError, quoted
from digitcli.inference.checkpoint import (
    MEMBER_FOLDER,
    MODEL_FILE,
    RESUME_FILE,
    Header,
    read_checkpoint,
    read_header,
)
from digitcli.inference.devices import choose_device
from digitcli.inference.ensemble import write_ensemble
from digitcli.inference.model_resolution import resolve_model, resolve_models
from digitcli.inference.torch_runtime import load_model
from digitcli.training import run_folder
from digitcli.training.configuration import TrainConfig, member_configs, resolve_teachers
from digitcli.training.digit_task import DigitTask
from digitcli.training.network import count_parameters
from digitcli.training.original import load_original
from digitcli.training.resume import check_same_data, check_same_models
from digitcli.training.state import MemberResult, TrainingState, TrainResult
from digitcli.training.task import TrainingTask


@dataclass(frozen=True)
class Member:
    """A member of an ensemble.

    title: A sentence for the person who waits for it.
    config: Its settings.
    folder: Its run folder.
    start: The run folder of the snapshot from whose state it starts; None for a new network.
    first: The run folder of the first member, whose data it shares; None for the first member itself.
    """

    title: str
    config: TrainConfig
    folder: Path
    start: Path | None
    first: Path | None = None


TrainMember = Callable[[Member], TrainResult]  # trains a member, or continues it


def train_ensemble(config: TrainConfig, folder: Path, train_member: TrainMember) -> TrainResult:
    """Train the members that are not finished yet, and write the model that averages their answers.

    Members differ in their seeds and may differ in their architectures (Lakshminarayanan, Pritzel & Blundell,
    "Simple and scalable predictive uncertainty estimation using deep ensembles", 2017). Snapshots are states
    of one network at the ends of the cycles of its learning rate (Huang et al., "Snapshot ensembles: train 1,
    get M for free", 2017). Differences: a cycle has the warm-up and the schedule of the recipe, and digits in
    an order of its own.

    Raises:
        Interrupted: a member was interrupted.
        UsageError: a member is to learn from other data than the first one.
        The errors of `trainer.train`.
    """
    results: list[TrainResult] = []
    for member in members_of(config, folder):
        try:
            results.append(train_member(member))
        except Interrupted as stop:
            cause = f"{member.folder.name}: {stop.cause}"
            remedy = f"Continue with: digitcli train --resume {quoted(folder)}"
            raise Interrupted(stop.exit_code - 128, cause, remedy) from stop
    header = _finished_header(folder, results) or _combine(config, folder, results)
    return _result(config, folder, header, results)


def is_trained(config: TrainConfig, folder: Path) -> bool:
    """Return whether every member is finished, so that none needs a teacher, a start model or a device."""
    try:
        states = [read_header(member.folder / RESUME_FILE) for member in members_of(config, folder)]
    except ModelError:
        return False
    return all(state.training.get("result") for state in states)


def check_sources_stay(config: TrainConfig, folder: Path) -> None:
    """Check that a new run does not replace a model from which it learns.

    Raises:
        UsageError: a teacher or the start model is a file of an earlier run in the folder.
    """
    replaced = {(folder / file).resolve() for file in run_folder.files_to_be_replaced(folder)}
    if not replaced:
        return
    starts = [] if config.start is None else [resolve_model(config.start)]
    for model in (*resolve_teachers(config.teacher), *starts):
        if model.path.resolve() in replaced:
            cause = f"The run would replace the model {model.name}, from which it learns."
            raise UsageError(cause, "Choose another --out.")


def check_same_sources(config: TrainConfig, folder: Path) -> None:
    """Check that the members to come learn from the same models as the first one, if that has begun.

    Raises:
        UsageError: a teacher or the start model is another one.
    """
    try:
        first = read_header(folder / MEMBER_FOLDER.format(0) / RESUME_FILE)
    except ModelError:
        return
    teachers = {model.id: model.sha256 for model in resolve_teachers(config.teacher)}
    check_same_models("teacher", "--teacher", first.teacher, teachers)
    start = None if config.start is None else resolve_model(config.start)
    stored = {first.start["model"]: first.start["sha256"]} if first.start else {}
    check_same_models("start model", "--from", stored, {start.id: start.sha256} if start else {})


def begin_member(member: Member, task: TrainingTask, state: TrainingState) -> None:
    """Check that a new member has the data of the first one, and let a snapshot take the state of the last.

    Raises:
        UsageError: the data have changed since the first member was trained.
        ModelError: the state of another member is damaged.
    """
    if member.first is not None:
        check_same_data(read_header(member.first / RESUME_FILE).dataset, task)
    if member.start is not None:
        state.continue_from(read_checkpoint(member.start / RESUME_FILE)[1])


def accuracies_before(member: Member | None) -> dict[str, float]:
    """Return the accuracies of the start model if the first member has measured them."""
    if member is None or member.first is None:
        return {}
    result = read_header(member.first / RESUME_FILE).training.get("result") or {}
    names = ("test_accuracy_before", "original_accuracy_before")
    return {name: result[name] for name in names if result.get(name) is not None}


def members_of(config: TrainConfig, folder: Path) -> list[Member]:
    """Return the members of an ensemble in the order of their training."""
    configs = member_configs(config)
    folders = [folder / MEMBER_FOLDER.format(number) for number in range(len(configs))]
    members = []
    for number, single in enumerate(configs):
        start = folders[number - 1] if config.snapshots and number else None
        kind = f"{single.arch}, seed {single.seed}" if start is None else f"the continuation of {start}"
        title = f"Member {number + 1} of {len(configs)}, in {folders[number]}: {kind}."
        members.append(Member(title, single, folders[number], start, folders[0] if number else None))
    return members


def _finished_header(folder: Path, results: Sequence[TrainResult]) -> Header | None:
    """Return the header of the ensemble if it was written before, from these members."""
    try:
        header = read_header(folder / MODEL_FILE)
    except ModelError:
        return None
    members = [dataclasses.asdict(read_header(Path(str(result.checkpoint)))) for result in results]
    as_stored = json.loads(json.dumps(members))  # a header holds tuples, which JSON stores as lists
    return header if header.arguments.get("members") == as_stored else None


def _combine(config: TrainConfig, folder: Path, results: Sequence[TrainResult]) -> Header:
    """Calibrate the average on the validation digits, test it once, and write it."""
    started = time.perf_counter()
    models = resolve_models(str(result.checkpoint) for result in results)
    network = load_model(*models, device=config.device)
    single = member_configs(config)[0]
    recipe = replace(resolve_recipe(single.arch, **single.recipe), synthetic=0.0)
    task = DigitTask(single, recipe, load_dataset(single.data), choose_device(single.device))
    of_members = read_header(folder / MEMBER_FOLDER.format(0) / RESUME_FILE).dataset
    check_same_data({name: of_members.get(name) for name in ("digest", "corrections")}, task)
    measured = dataclasses.asdict(task.test(network))
    metrics = {name: value for name, value in measured.items() if name not in ("temperature", "misread")}
    metrics |= _compare_with_best_member(measured["misread"], results)
    metrics |= {name: sum(getattr(each, name) for each in results) for name in ("epochs", "train_seconds")}
    if config.start is not None:
        metrics |= _compare_with_start(single, network, results[0])
    total_seconds = sum(each.total_seconds for each in results) + time.perf_counter() - started
    write_ensemble(
        folder / MODEL_FILE,
        models,
        temperature=measured["temperature"],
        metrics={**metrics, "total_seconds": total_seconds, "parameters": count_parameters(network)},
        seed=config.seed,
    )
    return read_header(folder / MODEL_FILE)


def _compare_with_best_member(misread: Sequence[int], results: Sequence[TrainResult]) -> dict[str, Any]:
    """Return the metrics that tell whether an ensemble is better than its best member, see `TrainResult`.

    The best one is chosen by the test examples, so that its accuracy is rather too high than too low.
    """
    errors = [set(result.misread or ()) for result in results]
    best = min(range(len(errors)), key=lambda number: len(errors[number]))
    return {
        "best_member": best,
        "gained": len(errors[best] - set(misread)),
        "lost": len(set(misread) - errors[best]),
    }


def _compare_with_start(config: TrainConfig, network: nn.Module, member: TrainResult) -> dict[str, Any]:
    """Return the metrics that an ensemble has too if its members started from a model.

    The accuracies before the training are those that a member has measured.
    """
    original = load_original(config)
    return {
        "test_accuracy_before": member.test_accuracy_before,
        "original_accuracy": None if original is None else original.test_accuracy(network),
        "original_accuracy_before": member.original_accuracy_before,
    }


def _result(config: TrainConfig, folder: Path, header: Header, results: Sequence[TrainResult]) -> TrainResult:
    first = results[0]
    return TrainResult(
        architecture=ENSEMBLE.name,
        run=str(folder),
        checkpoint=str(folder / MODEL_FILE),
        seed=config.seed,
        temperature=header.temperature,
        device=first.device,
        dtype=", ".join(dict.fromkeys(result.dtype for result in results)),
        unreadable=first.unreadable,
        data=config.data,
        start=first.start,
        original=first.original,
        test_size=first.test_size,
        original_test_size=first.original_test_size,
        members=tuple(
            MemberResult(
                architecture=result.architecture,
                seed=result.seed,
                checkpoint=str(result.checkpoint),
                validation_accuracy=result.validation_accuracy,
                test_accuracy=result.test_accuracy,
                test_nll=result.test_nll,
            )
            for result in results
        ),
        **header.metrics,
    )
