"""The report of a run: its result, curves, recipe and environment, and the worst mistakes of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from digitcli.architectures.recipe import Recipe
from digitcli.data.loading import load_dataset
from digitcli.data.torchvision_datasets import PUBLISHED_DATASETS
from digitcli.diagnosis.findings import Diagnosis
from digitcli.errors import DigitcliError
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.metrics import wilson_interval
from digitcli.events import OnEvent
from digitcli.inference.checkpoint import Header
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.json_records import read_json
from digitcli.reporting.mistakes import ShownMistake, show_mistakes
from digitcli.reporting.page import Page, chart_figure
from digitcli.settings import settings_of
from digitcli.training.run_folder import CONFIG_FILE, draw_curves, read_metrics

MEASURES = {"digit": "accuracy", "line": "share of lines with every digit right", "page": "F-measure"}


@dataclass(frozen=True)
class RunDescription:
    """The content of `config.json`, which a run writes before its first step."""

    config: Mapping[str, Any] = field(default_factory=dict)
    device: str = ""


@dataclass(frozen=True)
class SettingRow:
    """A setting of the recipe: its value in words, what it does, and whether the run changed it."""

    name: str
    value: str
    help: str
    is_changed: bool


def page_of_run(folder: Path, on_event: OnEvent, diagnosis: Diagnosis | None = None) -> Page:
    """Return the report of a run; with `diagnosis`, also what was found to be wrong with it.

    Raises:
        ModelError: no epoch is completed, or a file of the run is damaged.
        InputError: `config.json` is damaged.
    """
    model = resolve_model(folder)
    header, description = model.header, _describe(folder)
    epochs = read_metrics(folder)
    mistakes, note = _worst_mistakes(model, str(description.config.get("data", "")), on_event)
    values = {
        "header": header,
        "measure": MEASURES.get(header.task, "accuracy"),
        "interval": _interval(header),
        "curves": chart_figure(draw_curves(header.architecture, epochs)) if epochs else None,
        "epochs": epochs,
        "settings": _settings(header.recipe, description.config.get("recipe")),
        "environment": _environment(header, description),
        "mistakes": mistakes,
        "note": note,
        "diagnosis": diagnosis,
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


def _settings(recipe: Mapping[str, Any], changes: Any) -> list[SettingRow]:
    """Return the settings that have an effect; a recipe of another version may lack some or have more."""
    declared = {each.name: each for each in settings_of(Recipe)}
    requirements = {name: each.requires for name, each in declared.items() if each.requires is not None}
    idle = {name for name, (other, values) in requirements.items() if recipe.get(other) not in values}
    changed = changes if isinstance(changes, dict) else {}
    return [
        SettingRow(name, _in_words(value), declared[name].help if name in declared else "", name in changed)
        for name, value in recipe.items()
        if name not in idle
    ]


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
        "started from": str(header.start.get("model", "")),
        "seed": "" if header.seed is None else str(header.seed),
        "dataset": str(dataset.get("name", "")),
        "digest of the dataset": str(dataset.get("digest", "")),
        "examples": ", ".join(sizes),
        "device": description.device,
        "training time": "" if seconds is None else f"{seconds:,.1f} s",
        **{f"version of {name}": version for name, version in header.versions.items()},
    }
    return {name: value for name, value in facts.items() if value}


def _worst_mistakes(model: ResolvedModel, data: str, on_event: OnEvent) -> tuple[list[ShownMistake], str]:
    """Return the most confident mistakes on the test digits, or the reason why there are none."""
    if model.header.task != "digit":
        return [], "They are computed for models of single digits only."
    if data in PUBLISHED_DATASETS or not data:
        return [], "They are not computed, since the dataset would have to be downloaded."
    try:
        if load_dataset(data).digest != model.header.dataset.get("digest"):
            return [], f"They are not computed, since {data} has changed since the training."
        result = evaluate(model, data, split="test", on_event=on_event)
    except DigitcliError as error:
        return [], f"They cannot be computed: {error.cause}"
    return show_mistakes(result.mistakes, result.digits, model), ""
