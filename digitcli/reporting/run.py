"""The report of a run: its result, curves, recipe and environment, and the worst mistakes of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from digitcli.architectures.recipe import DISTILLATION, TRANSFER, Recipe
from digitcli.architectures.registry import resolve_recipe
from digitcli.data.loading import load_dataset
from digitcli.data.torchvision_datasets import PUBLISHED_DATASETS
from digitcli.diagnosis.findings import Diagnosis
from digitcli.errors import DigitcliError, UsageError
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from digitcli.evaluation.metrics import wilson_interval
from digitcli.events import OnEvent
from digitcli.inference.checkpoint import CONFIG_FILE, Header, name_members
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.json_records import read_json
from digitcli.reporting.mistakes import explain_command, show_mistakes
from digitcli.reporting.page import Page, chart_figure
from digitcli.settings import Setting, settings_of
from digitcli.training.configuration import TrainConfig, train_command
from digitcli.training.run_folder import draw_curves, read_metrics

MEASURES = {"digit": "accuracy", "line": "share of lines with every digit right", "page": "F-measure"}


@dataclass(frozen=True)
class RunDescription:
    """The content of `config.json`, which a run writes before its first step."""

    config: Mapping[str, Any] = field(default_factory=dict)
    device: str = ""


@dataclass(frozen=True)
class SettingRow:
    """A setting of the recipe.

    name, value: its name and its value in words.
    help: what it does.
    own: the value of the architecture's own recipe, if the run changed it.
    """

    name: str
    value: str
    help: str
    own: str | None = None


def page_of_run(
    folder: Path, on_event: OnEvent, diagnosis: Diagnosis | None = None, not_examined: str = ""
) -> Page:
    """Return the report of a run; with `diagnosis`, also what was found to be wrong with it.

    not_examined: the reason why there is no diagnosis, if one was wanted.

    Raises:
        ModelError: no epoch is completed, or a file of the run is damaged.
        InputError: `config.json` is damaged.
    """
    model = resolve_model(folder)
    header, description = model.header, _describe(folder)
    epochs = read_metrics(folder)
    data = str(description.config.get("data") or header.dataset.get("name", ""))
    evaluation, note = _evaluate(model, data, on_event)
    values = {
        "header": header,
        "measure": MEASURES.get(header.task, "accuracy"),
        "interval": _interval(header),
        "curves": chart_figure(draw_curves(header.architecture, epochs)) if epochs else None,
        "epochs": epochs,
        "settings": _settings(header, description.config.get("recipe")),
        "command": _command(description),
        "environment": _environment(header, description),
        "evaluation": evaluation,
        "mistakes": show_mistakes(evaluation.mistakes, evaluation.digits, model) if evaluation else [],
        "note": note,
        "explain": explain_command(str(folder), description.config.get("data"), "test"),
        "diagnosis": diagnosis,
        "not_examined": not_examined,
        "knows_changes": isinstance(description.config.get("recipe"), dict),
    }
    return Page("run", f"Run {folder.resolve().name}", str(folder), model.sha256, "model", values)


def _describe(folder: Path) -> RunDescription:
    path = folder / CONFIG_FILE
    if not path.exists():
        return RunDescription()
    return read_json(path, RunDescription, "the description of a run", "Restore it, or remove it.")


def _interval(header: Header) -> tuple[float, float] | None:
    """Return the 95 % interval of the test accuracy; None for a run that has none, or for an F-measure."""
    accuracy, n = header.metrics.get("test_accuracy"), header.dataset.get("test")
    if header.task == "page" or accuracy is None or not isinstance(n, int) or n < 1:
        return None
    return wilson_interval(round(accuracy * n), n) if 0 <= accuracy <= 1 else None


def _settings(header: Header, changes: Any) -> list[SettingRow]:
    """Return the settings that are changed or have an effect; a recipe of another version may have others."""
    recipe, declared = header.recipe, {each.name: each for each in settings_of(Recipe)}
    own = _own_recipe(header.architecture)
    rows = []
    for name, value in recipe.items():
        is_changed = isinstance(changes, dict) and name in changes and value != own.get(name, ...)
        if is_changed or not (name in declared and _is_idle(declared[name], header)):
            help = declared[name].help if name in declared else ""
            own_value = _in_words(own[name]) if name in own else "not known"
            rows.append(SettingRow(name, _in_words(value), help, own_value if is_changed else None))
    return rows


def _own_recipe(architecture: str) -> Mapping[str, Any]:
    """Return the recipe of an architecture; empty for one that is not installed."""
    try:
        return asdict(resolve_recipe(architecture))
    except DigitcliError:
        return {}


def _is_idle(declared: Setting, header: Header) -> bool:
    """Tell whether a setting is off, or has no effect for want of another one, a teacher or a start model."""
    if declared.group == DISTILLATION and not header.teacher:
        return True
    if declared.group == TRANSFER and not header.start:
        return True
    other, values = declared.requires or ("", ("",))
    return declared.is_off(header.recipe[declared.name]) or header.recipe.get(other, "") not in values


def _command(description: RunDescription) -> str | None:
    """Return the command that trains the same; None if the settings of the run are not known."""
    try:
        return train_command(TrainConfig(**description.config)) if description.config else None
    except (TypeError, UsageError):
        return None


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def _environment(header: Header, description: RunDescription) -> dict[str, str]:
    """Return what a repetition of the run needs, by name; what is not known is left out."""
    dataset = header.dataset
    sizes = [
        f"{dataset[part]:,} {part}"
        for part in ("train", "validation", "test")
        if isinstance(dataset.get(part), int)
    ]
    seconds = header.metrics.get("train_seconds")
    facts = {
        "architecture": header.architecture,
        "members": name_members(header),
        "started from": str(header.start.get("model", "")),
        "seed": "" if header.seed is None else str(header.seed),
        "dataset": str(dataset.get("name", "")),
        "digest of the dataset": str(dataset.get("digest", "")),
        "examples": ", ".join(sizes),
        "teacher": ", ".join(header.teacher),
        "device": description.device,
        "training time": "" if seconds is None else f"{seconds:,.1f} s",
        **{f"version of {name}": version for name, version in header.versions.items()},
    }
    return {name: value for name, value in facts.items() if value}


def _evaluate(model: ResolvedModel, data: str, on_event: OnEvent) -> tuple[EvaluationResult | None, str]:
    """Evaluate the model of a run once more to find its mistakes, or return the reason why it is not done.

    The test digits are used only if the run has used them already, at its end; until then, the validation
    digits are.
    """
    if model.header.task != "digit":
        return None, "They are computed for models of single digits only."
    if not data:
        return None, "They are not computed, since the run does not name its dataset."
    if data in PUBLISHED_DATASETS:
        return None, "They are not computed, since the dataset would have to be downloaded."
    is_finished = model.header.metrics.get("test_accuracy") is not None
    try:
        if load_dataset(data).digest != model.header.dataset.get("digest"):
            return None, f"They are not computed, since {data} has changed since the training."
        return evaluate(model, data, split="test" if is_finished else "validation", on_event=on_event), ""
    except DigitcliError as error:
        return None, f"They cannot be computed: {error.cause}"
