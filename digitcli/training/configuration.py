"""The settings of a training run, their form in configuration files, and their checks. Loads no torch."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from digitcli.architectures.recipe import DATA, DISTILLATION, TRANSFER, Recipe
from digitcli.architectures.registry import TORCHVISION, find_architecture, resolve_recipe
from digitcli.data import DEFAULT_DATASET
from digitcli.errors import InputError, ModelError, UsageError, did_you_mean, quoted
from digitcli.inference.model_resolution import ResolvedModel, check_distinct, resolve_model, shipped_models
from digitcli.settings import (
    DURATION,
    PATH,
    check_settings,
    freeze_lists,
    option_name,
    parse_duration,
    setting,
    settings_of,
)
from digitcli.threads import MAX_THREADS
from digitcli.training.transfer import check_transfer, resolve_start, with_start

RUN = "run"
DATASETS_WITHOUT_DIGITS = ("fashion-mnist", "kmnist")
# The losses of tasks that have only one.
LOSS_OF_TASK = {"line": "ctc", "page": "text_regions"}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training run; `recipe` holds the settings that override the architecture's recipe.

    Raises:
        UsageError: a value has the wrong type or lies outside its range.
    """

    arch: str = setting(
        "cnn",
        RUN,
        "Train this architecture: a name listed by digitcli models, or torchvision/NAME.",
        unit="name",
        letter="-a",
    )
    recipe: Mapping[str, Any] = field(default_factory=dict)
    device: str = setting(
        "auto", RUN, "Train on this device: auto, cpu, cuda, cuda:N or mps.", unit="device", letter="-d"
    )
    threads: int | None = setting(
        None,
        RUN,
        "Compute with this many threads of the CPU, instead of one for each usable core; a resumed run keeps "
        "its number.",
        at_least=1,
        at_most=MAX_THREADS,
        unit="number",
    )
    seed: int = setting(
        0,
        RUN,
        "Derive all random numbers of the run from this seed.",
        at_least=0,
        at_most=2**63 - 1,
        unit="number",
    )
    time_seconds: float | None = setting(
        None,
        RUN,
        "Train for this long instead of a number of epochs, for example 90s, 5m or 1h30m.",
        above=0,
        unit=DURATION,
    )
    patience: int | None = setting(
        None,
        RUN,
        "Stop after this many epochs without a better validation accuracy, and keep the best epoch.",
        at_least=1,
        unit="epochs",
    )
    pretrained: bool = setting(
        False, RUN, "Start from torchvision's ImageNet weights; only for architectures torchvision/NAME."
    )
    cuda_graphs: bool = setting(
        False, RUN, "Record one training step on an NVIDIA GPU and replay it, which saves time per step."
    )
    members: int | None = setting(
        None,
        RUN,
        "Train an ensemble of this many networks, whose seeds count up from --seed.",
        at_least=2,
        unit="number",
    )
    member_archs: str | None = setting(
        None,
        RUN,
        "Train an ensemble of these architectures, separated by commas, instead of --arch.",
        unit="name,name",
    )
    snapshots: int | None = setting(
        None,
        RUN,
        "Train one network in this many cycles of the learning rate, and average its states at their ends.",
        at_least=2,
        unit="number",
    )
    data: str = setting(
        DEFAULT_DATASET,
        DATA,
        "Train on this dataset: mnist or another name, a folder of IDX files, a folder of pictures in "
        "subfolders 0 to 9, or a .npz or .csv file; to read lines also a folder of digitcli synthesize.",
        unit="name|dir|file",
    )
    corrections: str | None = setting(
        None,
        DATA,
        "Correct labels of training digits by this CSV file, which digitcli doctor DATA -o writes.",
        unit=PATH,
    )
    strokes: str | None = setting(
        None,
        DATA,
        "Compose lines from these pen trajectories, not those in the package; only to train line readers.",
        unit=PATH,
    )
    fonts: str | None = setting(
        None,
        DATA,
        "Draw letters of these fonts among the synthetic characters; requires --synthetic.",
        unit=PATH,
    )
    teacher: tuple[str, ...] = setting(
        (),
        DISTILLATION,
        "Learn from the answers of this trained model, too: a shipped model, a checkpoint file or a run "
        "folder; several teachers answer with the mean of their probabilities.",
        unit="name|file|dir",
    )
    start: str | None = setting(
        None,
        TRANSFER,
        "Start from the weights of this model: a shipped name, a checkpoint file or a run folder. Its "
        "architecture is then the default of --arch.",
        unit="model",
    )
    original: str | None = setting(
        None,
        TRANSFER,
        "Rehearse on this dataset and measure forgetting on its test part, in place of the dataset that the "
        "start model was trained on.",
        unit="name|dir|file",
    )

    def __post_init__(self) -> None:
        freeze_lists(self)
        check_settings(self)
        if not isinstance(self.recipe, Mapping):
            raise UsageError(f"The recipe is {self.recipe!r}.", "It must be a table of settings.")
        known = [declared.name for declared in settings_of(Recipe)]
        for name in self.recipe:
            if name not in known:
                raise UsageError(f"A recipe has no setting '{name}'.", did_you_mean(name, known))
        Recipe(**self.recipe)

    @property
    def is_ensemble(self) -> bool:
        """Whether the run trains several networks that answer as one."""
        return any(given is not None for given in (self.members, self.member_archs, self.snapshots))


def fine_tuning(start: str, **fields: Any) -> TrainConfig:
    """Return the settings of a run that starts from a model: its architecture, and the recipe of fine-tuning.

    fields: Fields of `TrainConfig`, which override what follows from the model.

    Raises:
        UsageError: a value is out of range, or the architecture is not that of the model.
        ModelError: there is no such model.
    """
    return TrainConfig(**with_start({"start": start, **fields}))


def config_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `TrainConfig` that are given by flat settings, as options and files name them.

    Raises:
        UsageError: a setting does not exist, or the time is not a duration.
    """
    of_recipe = {declared.key: declared for declared in settings_of(Recipe)}
    of_run = {declared.key: declared for declared in settings_of(TrainConfig)}
    fields: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    for key, value in settings.items():
        key = key.replace("-", "_")
        if key in of_recipe:
            recipe[key] = value
        elif key in of_run:
            declared = of_run[key]
            fields[declared.name] = parse_duration(value) if declared.unit == DURATION else value
        else:
            remedy = f"{did_you_mean(key, of_recipe | of_run)} digitcli train --help lists the settings."
            raise UsageError(f"There is no setting '{key}'.", remedy)
    return {**fields, "recipe": recipe}


def flat_settings(config: TrainConfig, recipe: Recipe) -> dict[str, Any]:
    """Return all settings of a run with their values, in the form that `config_fields` takes.

    The number of epochs is left out if a time was chosen instead.
    """
    by_time = config.time_seconds is not None and "epochs" not in config.recipe
    values = {
        declared.key: getattr(owner, declared.name)
        for owner in (config, recipe)
        for declared in settings_of(owner)
        if not (by_time and declared.name == "epochs")
    }
    return {key: value for key, value in values.items() if value is not None}


def train_command(config: TrainConfig, changes: Mapping[str, Any] | None = None) -> str:
    """Return the command that trains the same, with changes of the recipe; on whatever machine there is."""
    options = {each.name: each.option for owner in (TrainConfig, Recipe) for each in settings_of(owner)}
    of_run = {
        declared.name: getattr(config, declared.name)
        for declared in settings_of(TrainConfig)
        if declared.name not in ("arch", "device", "threads")
        and getattr(config, declared.name) != declared.default
    }
    words = ["digitcli train --arch", quoted(config.arch)]
    for name, value in {**of_run, **config.recipe, **(changes or {})}.items():
        if isinstance(value, bool):
            words.append(options[name] if value else f"--no-{options[name][2:]}")
        elif value is not None:
            for each in value if isinstance(value, tuple) else (value,):
                words += [options[name], quoted(str(each))]
    return " ".join(words)


def read_toml(path: Path) -> dict[str, Any]:
    """Read the flat settings in a TOML file.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        cause = f"The configuration {path} cannot be read: {error}."
        raise UsageError(cause, "Run digitcli train --print-config to see a valid one.") from error


def to_toml(settings: Mapping[str, Any]) -> str:
    """Write flat settings as TOML; JSON writes texts, numbers, true and false in the same way."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items())


def resolve_paths(config: TrainConfig) -> TrainConfig:
    """Return the configuration with absolute paths of all data and models but the dataset itself.

    Raises:
        InputError: a path of corrections, strokes, fonts or original data does not exist.
        UsageError: there is no such original dataset.
        ModelError: there is no such start model.
    """
    for name in ("corrections", "strokes", "fonts"):
        path = getattr(config, name)
        if path is not None and not os.path.exists(path):  # noqa: PTH110 (Path.exists raises for long names)
            raise InputError(f"There is no file or folder {path}.", f"Give an existing path to --{name}.")
        if path is not None:
            absolute: dict[str, Any] = {name: str(Path(path).resolve())}
            config = replace(config, **absolute)
    return resolve_start(replace(config, teacher=tuple(map(_absolute, config.teacher))))


def _absolute(model: str) -> str:
    """Return the name of a model that is valid in any folder; `resolve_model` reports one that is missing."""
    is_path = model not in shipped_models() and os.path.exists(model)  # noqa: PTH110 (see above)
    return str(Path(model).resolve()) if is_path else model


def check_config(config: TrainConfig) -> None:
    """Check that the settings of a new run fit together.

    Raises:
        UsageError: two settings contradict each other, or a value is out of range.
        ModelError: a plug-in cannot be imported, or there is no such start model.
    """
    if config.is_ensemble:
        check_ensemble(config)
        for member in member_configs(config):
            check_config(member)
        return
    if config.pretrained and not config.arch.startswith(TORCHVISION):
        cause = f"Architecture '{config.arch}' has no pretrained weights."
        raise UsageError(cause, "Leave --pretrained out.")
    recipe = resolve_recipe(config.arch, **config.recipe)
    if config.pretrained and recipe.initialization != "default":
        cause = f"--initialization {recipe.initialization} would overwrite the pretrained weights."
        raise UsageError(cause, "Leave --initialization or --pretrained out.")
    check_data_settings(config, recipe)
    check_task_settings(config, recipe)
    check_transfer(config, recipe)
    check_distillation(config, recipe)
    resolve_teachers(config.teacher)


def member_configs(config: TrainConfig) -> tuple[TrainConfig, ...]:
    """Return the settings of each member of an ensemble; their seeds count up from that of the ensemble.

    A snapshot is trained for its share of the epochs.
    """
    recipe = dict(config.recipe)
    if config.snapshots:
        recipe["epochs"] = resolve_recipe(config.arch, **recipe).epochs // config.snapshots
    count = config.members or config.snapshots or 0
    archs = config.member_archs.split(",") if config.member_archs else [config.arch] * count
    single = replace(config, members=None, member_archs=None, snapshots=None, recipe=recipe)
    return tuple(
        replace(single, arch=arch.strip(), seed=config.seed + number) for number, arch in enumerate(archs)
    )


def check_ensemble(config: TrainConfig) -> None:
    """Check that the settings of an ensemble fit together; those of its members are not checked.

    Raises:
        UsageError: two settings contradict each other, or an architecture does not read single digits.
    """
    archs = config.member_archs.split(",") if config.member_archs is not None else [config.arch]
    if config.member_archs is not None:
        if config.start is not None:
            cause = "--from gives all members the architecture of one model, but --member-archs names others."
            raise UsageError(cause, "Replace --member-archs by --members.")
        if len(archs) < 2:
            cause = f"--member-archs is '{config.member_archs}', but an ensemble has two members or more."
            raise UsageError(cause, "Separate the names by commas, for example cnn,resnet,allconv.")
        if config.members not in (None, len(archs)):
            cause = f"--member-archs names {len(archs)} architectures, but --members is {config.members}."
            raise UsageError(cause, "Leave --members out.")
        if config.arch != TrainConfig.arch:
            cause = f"--arch is {config.arch}, but --member-archs names the architectures of the members."
            raise UsageError(cause, "Leave --arch out.")
    for arch in archs:
        if (task := find_architecture(arch.strip()).task) != "digit":
            cause = f"The task of '{arch.strip()}' is {task}s, but ensembles are for single digits."
            raise UsageError(cause, "Name architectures of the task digit.")
    if config.snapshots is not None:
        _check_snapshots(config, config.snapshots)


def _check_snapshots(config: TrainConfig, snapshots: int) -> None:
    others = ("members", "member_archs", "time_seconds", "patience")
    given = [option_name(name) for name in others if getattr(config, name) is not None]
    if given:
        cause = f"--snapshots takes all members from one run of a fixed length, but {given[0]} is given."
        raise UsageError(cause, f"Leave {given[0]} or --snapshots out.")
    recipe = resolve_recipe(config.arch, **config.recipe)
    if recipe.schedule == "constant":
        cause = "--snapshots needs a learning rate that falls to zero, but the schedule is constant."
        raise UsageError(cause, "Choose --schedule cosine.")
    if recipe.epochs % snapshots:
        cause = f"The epochs, {recipe.epochs}, are no multiple of the snapshots, {snapshots}."
        enough = -(-recipe.epochs // snapshots) * snapshots
        raise UsageError(cause, f"Choose --epochs {enough}, or another multiple of {snapshots}.")


def check_data_settings(config: TrainConfig, recipe: Recipe) -> None:
    """Check that corrections, strokes, fonts and synthetic characters fit the architecture and the dataset.

    Raises:
        UsageError: the architecture or the dataset cannot use one of them.
    """
    task = find_architecture(config.arch).task
    if task != "digit" and recipe.synthetic:
        cause = f"The task of '{config.arch}' is {task}s, but synthetic characters are single digits."
        raise UsageError(cause, "Leave --synthetic out.")
    if config.corrections is not None and task != "digit":
        raise UsageError(f"The task of '{config.arch}' is {task}s, not digits.", "Leave --corrections out.")
    if config.strokes is not None and task != "line":
        raise UsageError(f"The task of '{config.arch}' is {task}s, not lines.", "Leave --strokes out.")
    if recipe.synthetic and config.data in DATASETS_WITHOUT_DIGITS:
        cause = f"The dataset {config.data} has no digits, but synthetic characters are digits and letters."
        raise UsageError(cause, "Leave --synthetic out.")
    if config.fonts is not None and not recipe.synthetic:
        cause = "--fonts has no effect without --synthetic."
        raise UsageError(cause, "Add --synthetic, or leave --fonts out.")


def check_task_settings(config: TrainConfig, recipe: Recipe) -> None:
    """Check that the loss and the augmentation are those of the task of the architecture.

    Raises:
        UsageError: they are not.
    """
    task = find_architecture(config.arch).task
    if task != "digit" and recipe.augment:
        cause = f"--augment is for single digits, but the task of '{config.arch}' is {task}s."
        raise UsageError(cause, "Leave --augment out.")
    is_of_another = task == "digit" and recipe.loss in LOSS_OF_TASK.values()
    if is_of_another or LOSS_OF_TASK.get(task, recipe.loss) != recipe.loss:
        raise UsageError(f"The loss {recipe.loss} is not for {task}s.", "Leave the loss to the recipe.")


def check_distillation(config: TrainConfig, recipe: Recipe) -> None:
    """Check that the network can learn from teachers, or that no setting of distillation is given.

    Raises:
        UsageError: the task or the loss has no distillation, or a setting has no effect without a teacher.
    """
    if not config.teacher:
        usual = resolve_recipe(config.arch)
        for declared in settings_of(Recipe):
            given = config.recipe.get(declared.name, declared.default)
            if declared.group == DISTILLATION and given not in (declared.default, vars(usual)[declared.name]):
                cause = f"{declared.option} has no effect without --teacher."
                raise UsageError(cause, f"Add --teacher, or leave {declared.option} out.")
        return
    task = find_architecture(config.arch).task
    if task != "digit":
        cause = f"--teacher is for single digits, but the task of '{config.arch}' is {task}s."
        raise UsageError(cause, "Leave --teacher out.")
    if recipe.loss != "cross_entropy":
        # The other losses take the sigmoid of each logit, so that no logits would satisfy them and a teacher.
        cause = f"--teacher needs the cross-entropy of ten probabilities, but the loss is {recipe.loss}."
        raise UsageError(cause, "Leave --teacher out, or use --loss cross_entropy.")


def resolve_teachers(names: Sequence[str]) -> tuple[ResolvedModel, ...]:
    """Return the models behind the names of teachers.

    Raises:
        UsageError: a teacher does not read single digits, or is named twice.
        ModelError: there is no such model, or its file is damaged.
    """
    teachers = tuple(map(_resolve_teacher, names))
    check_distinct(teachers)
    for teacher in teachers:
        if teacher.header.task != "digit":
            cause = f"The teacher {teacher.name} is a model of {teacher.header.task}s, not of single digits."
            raise UsageError(cause, "Name a model of single digits, for example robust.")
    return teachers


def _resolve_teacher(name: str) -> ResolvedModel:
    try:
        return resolve_model(name)
    except ModelError as error:
        is_path = Path(name).is_absolute()  # a run that is continued knows its teachers by their paths
        remedy = "If it was moved, name its new place with --teacher." if is_path else error.remedy
        raise ModelError(f"The teacher cannot be used: {error.cause}", remedy) from error
