"""An ensemble: its members, and the model that averages their answers.

Members differ in their seeds and may differ in their architectures (Lakshminarayanan, Pritzel & Blundell,
"Simple and scalable predictive uncertainty estimation using deep ensembles", 2017).
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from digitcli.architectures.registry import ENSEMBLE, resolve_recipe
from digitcli.data.loading import load_dataset
from digitcli.errors import ModelError
from digitcli.inference.checkpoint import MEMBER_FOLDER, MODEL_FILE, RESUME_FILE, Header, read_header
from digitcli.inference.devices import choose_device
from digitcli.inference.model_resolution import resolve_models
from digitcli.inference.torch_runtime import load_model, write_ensemble
from digitcli.training.checks import member_configs
from digitcli.training.configuration import TrainConfig
from digitcli.training.digit_task import DigitTask
from digitcli.training.setup import TrainingSetup, count_parameters
from digitcli.training.start_model import load_original
from digitcli.training.state import TrainResult, check_same_data, check_same_models


def member_folders(config: TrainConfig, folder: Path) -> list[Path]:
    """Return the run folders of the members of an ensemble in the order of their training."""
    return [folder / MEMBER_FOLDER.format(number) for number in range(len(member_configs(config)))]


def is_trained(config: TrainConfig, folder: Path) -> bool:
    """Return whether a run is an ensemble whose members are finished, so that none needs a teacher."""
    try:
        states = [read_header(member / RESUME_FILE) for member in member_folders(config, folder)]
    except ModelError:
        return False
    return bool(states) and all(state.training.get("result") for state in states)


def check_same_as_first(setup: TrainingSetup, folder: Path) -> None:
    """Check that a new member of an ensemble learns from the same data and models as the first one.

    Raises:
        UsageError: they have changed since the first member was trained.
        ModelError: the state of the first member is damaged.
    """
    first = folder.with_name(MEMBER_FOLDER.format(0))
    if folder == first:
        return
    header = read_header(first / RESUME_FILE)
    check_same_data(header.dataset, setup.task)
    check_same_models("teacher", "--teacher", header.teacher, setup.task.header["teacher"])
    starts = [{each["model"]: each["sha256"]} if each else {} for each in (header.start, setup.start)]
    check_same_models("start model", "--from", *starts)


def combine(config: TrainConfig, folder: Path, results: Sequence[TrainResult]) -> TrainResult:
    """Write the model that averages the answers of trained members, unless it is there; return the result.

    Raises:
        UsageError: the data have changed since the first member was trained.
        The errors of `load_dataset` and of `load_model`.
    """
    header = _written_header(folder, results) or _average(config, folder, results)
    first = results[0]
    shared = ("device", "unreadable", "start", "original", "test_size", "original_test_size")
    return TrainResult(
        architecture=ENSEMBLE.name,
        run=str(folder),
        checkpoint=str(folder / MODEL_FILE),
        seed=config.seed,
        temperature=header.temperature,
        dtype=", ".join(dict.fromkeys(result.dtype for result in results)),
        data=config.data,
        members=tuple(results),
        **{name: vars(first)[name] for name in shared},
        **header.metrics,
    )


def _written_header(folder: Path, results: Sequence[TrainResult]) -> Header | None:
    """Return the header of the ensemble if it was written before, from these members."""
    try:
        header = read_header(folder / MODEL_FILE)
    except ModelError:
        return None
    members = [dataclasses.asdict(read_header(Path(str(result.checkpoint)))) for result in results]
    as_stored = json.loads(json.dumps(members))  # a header holds tuples, which JSON stores as lists
    return header if header.arguments.get("members") == as_stored else None


def _average(config: TrainConfig, folder: Path, results: Sequence[TrainResult]) -> Header:
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
    temperature, misread = measured.pop("temperature"), measured.pop("misread")
    metrics = {**measured, **_compare_with_best_member(misread, results)}
    metrics |= {name: sum(getattr(each, name) for each in results) for name in ("epochs", "train_seconds")}
    if config.start is not None:  # the accuracies before the training are those that a member has measured
        original = load_original(single)
        metrics["test_accuracy_before"] = results[0].test_accuracy_before
        metrics["original_accuracy"] = None if original is None else original.test_accuracy(network)
        metrics["original_accuracy_before"] = results[0].original_accuracy_before
    metrics["total_seconds"] = sum(each.total_seconds for each in results) + time.perf_counter() - started
    metrics["parameters"] = count_parameters(network)
    write_ensemble(folder / MODEL_FILE, models, temperature=temperature, metrics=metrics, seed=config.seed)
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
