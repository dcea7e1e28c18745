"""Check that the settings of a run fit together, and find what they name. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from digitcli.architectures.recipe import DISTILLATION, Recipe
from digitcli.architectures.registry import TORCHVISION, find_architecture, resolve_recipe
from digitcli.errors import InputError, ModelError, UsageError
from digitcli.inference.model_resolution import ResolvedModel, check_distinct, resolve_model, shipped_models
from digitcli.settings import option_name, settings_of
from digitcli.training.configuration import ARGUMENTS_OF_RECIPES, TrainConfig, check_architecture

DATASETS_WITHOUT_DIGITS = ("fashion-mnist", "kmnist")
LOSS_OF_TASK = {"line": "ctc", "page": "text_regions", "gaps": "binary_cross_entropy"}  # where there is one


def check_config(config: TrainConfig, recipe: Recipe | None = None, *, is_new: bool = True) -> None:
    """Check that the settings of a run, or those of each member of an ensemble, fit together.

    recipe: the recipe of the run, by default that of its settings.
    is_new: whether the run starts from its start model, if it has one, and not from its saved state.

    Raises:
        UsageError: two settings contradict each other, or a value is out of range.
        ModelError: a plug-in cannot be imported, or there is no such teacher or start model.
    """
    recipe = recipe or resolve_recipe(config.arch, **config.recipe)
    for cause, remedy in _contradictions(config, recipe):
        raise UsageError(cause, remedy)
    if config.start is not None and is_new:
        _check_start(config, recipe, resolve_model(config.start))
    resolve_teachers(config.teacher)


def check_single(config: TrainConfig) -> None:
    """Check that the settings are not those of an ensemble, for which a `UsageError` is raised."""
    if config.members is not None:
        cause = "The settings are those of an ensemble, but one network is needed here."
        raise UsageError(cause, "Leave --members out.")


def member_configs(config: TrainConfig) -> list[TrainConfig]:
    """Return the settings of each member of an ensemble; their seeds count up from that of the ensemble."""
    return [replace(config, members=None, seed=config.seed + number) for number in range(config.members or 0)]


def _contradictions(config: TrainConfig, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield a cause and a remedy for everything in the settings that does not fit."""
    arch, task, initialization = config.arch, find_architecture(config.arch).task, recipe.initialization
    if config.members is not None and task != "digit":
        cause = f"The task of '{arch}' is {task}s, but ensembles are for single digits."
        yield cause, "Name an architecture of the task digit."
    if config.pretrained and not arch.startswith(TORCHVISION):
        yield f"Architecture '{arch}' has no pretrained weights.", "Leave --pretrained out."
    if config.pretrained and config.start is not None:
        yield "--from and --pretrained both name the weights to start from.", "Give one of them."
    for option, has_weights in (("--pretrained", config.pretrained), ("--from", config.start is not None)):
        if has_weights and initialization != "default":
            cause = f"--initialization {initialization} would overwrite the weights of {option}."
            yield cause, f"Leave --initialization or {option} out."
    of_digits = {
        "--synthetic": recipe.synthetic,
        "--corrections": config.corrections,
        "--augment": recipe.augment,
        "--teacher": config.teacher,
        "--rehearse": recipe.rehearse,
    }
    for option, given in of_digits.items():
        if given and task != "digit":
            cause = f"{option} is for single digits, but the task of '{arch}' is {task}s."
            yield cause, f"Leave {option} out."
    if recipe.synthetic and config.data in DATASETS_WITHOUT_DIGITS:
        cause = f"The dataset {config.data} has no digits, but synthetic characters are digits and letters."
        yield cause, "Leave --synthetic out."
    if config.fonts is not None and not recipe.synthetic:
        yield "--fonts has no effect without --synthetic.", "Add --synthetic, or leave --fonts out."
    is_of_another = task == "digit" and recipe.loss in LOSS_OF_TASK.values()
    if is_of_another or LOSS_OF_TASK.get(task, recipe.loss) != recipe.loss:
        yield f"The loss {recipe.loss} is not for {task}s.", "Leave the loss to the recipe."
    if config.teacher and recipe.loss != "cross_entropy":
        # The other losses take the sigmoid of each logit, so that no logits would satisfy them and a teacher.
        cause = f"--teacher needs the cross-entropy of ten probabilities, but '{arch}' learns by the loss"
        yield f"{cause} {recipe.loss}.", "Leave --teacher out, or choose another --arch."
    yield from _settings_without_effect(config, recipe)


def _settings_without_effect(config: TrainConfig, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield a cause and a remedy for settings that need a teacher or a start model, which is not given."""
    if not config.teacher:
        usual = resolve_recipe(config.arch)
        for declared in settings_of(Recipe):
            given = config.recipe.get(declared.name, declared.default)
            if declared.group == DISTILLATION and given not in (declared.default, vars(usual)[declared.name]):
                cause = f"{declared.option} has no effect without --teacher."
                yield cause, f"Add --teacher, or leave {declared.option} out."
    freezes = recipe.freeze != 0 and not config.pretrained
    for option, given in (("--rehearse", recipe.rehearse > 0), ("--freeze", freezes)):
        if given and config.start is None:
            cause = f"{option} is for runs that start from a trained model, but this one has random weights."
            yield cause, f"Name the model with --from, or leave {option} out."


def _check_start(config: TrainConfig, recipe: Recipe, model: ResolvedModel) -> None:
    """Check that the network of a new run can take the weights of its start model."""
    check_architecture(config.arch, model)
    arguments = model.header.arguments
    if other := sorted(arguments.keys() - {*ARGUMENTS_OF_RECIPES, "compression"}):
        given = ", ".join(other)
        cause = f"{model.name} was built with {given}, which training cannot pass to '{config.arch}'."
        raise UsageError(cause, "Start from another model.")
    normalization = arguments.get("normalization", "batch")
    if recipe.normalization not in (None, normalization):
        cause = f"--normalization is {recipe.normalization}, but {model.name} has {normalization}."
        raise UsageError(cause, "Leave --normalization out.")
    if recipe.rehearse and config.original in (None, config.data):
        cause = f"It is not known on which data, other than '{config.data}', {config.start} was trained."
        raise UsageError(cause, "Leave --rehearse out.")


def resolve_teachers(names: Sequence[str]) -> tuple[ResolvedModel, ...]:
    """Return the models behind the names of teachers.

    Raises:
        UsageError: a teacher does not read single digits, or is named twice.
        ModelError: there is no such model, or its file is damaged.
    """
    teachers: list[ResolvedModel] = []
    for name in names:
        try:
            teachers.append(resolve_model(name))
        except ModelError as error:
            is_path = Path(name).is_absolute()  # a run that is continued knows its teachers by their paths
            remedy = "If it was moved, name its new place with --teacher." if is_path else error.remedy
            raise ModelError(f"The teacher cannot be used: {error.cause}", remedy) from error
    check_distinct(teachers)
    for teacher in teachers:
        if teacher.header.task != "digit":
            cause = f"The teacher {teacher.name} is a model of {teacher.header.task}s, not of single digits."
            raise UsageError(cause, "Name a model of single digits, for example robust.")
    return tuple(teachers)


def resolve_paths(config: TrainConfig) -> TrainConfig:
    """Return the configuration with absolute paths of all data and models but the dataset itself.

    Raises:
        InputError: a path of corrections or fonts does not exist.
        ModelError: there is no such start model.
    """
    paths: dict[str, Any] = {"teacher": tuple(map(_absolute, config.teacher))}
    for name in ("corrections", "fonts"):
        if (path := getattr(config, name)) is not None:
            if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises for long names)
                cause = f"There is no file or folder {path}."
                raise InputError(cause, f"Give an existing path to {option_name(name)}.")
            paths[name] = str(Path(path).resolve())
    if config.start is not None:
        resolve_model(config.start)
        paths["start"] = _absolute(config.start)
    return replace(config, **paths)


def _absolute(model: str) -> str:
    """Return the name of a model that is valid in any folder; `resolve_model` reports one that is missing."""
    is_path = model not in shipped_models() and os.path.exists(model)  # noqa: PTH110 (see above)
    return str(Path(model).resolve()) if is_path else model
