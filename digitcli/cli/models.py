"""`digitcli models`: list the architectures and shipped models, or describe one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from digitcli import console
from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import resolve_recipe
from digitcli.cli.options import complete_model
from digitcli.cli.train import describe_recipe
from digitcli.errors import UsageError, counted
from digitcli.settings import argument, setting, settings_of

if TYPE_CHECKING:
    from digitcli.inference.checkpoint import Guarantee, Header
    from digitcli.inference.model_index import ModelDescription, ModelRow

# What a compression has changed, see `architectures.compression`.
CHANGES = {
    "fold": "batch normalization folded",
    "resize": "channels removed",
    "quantize_inputs": "inputs of layers in 8 bits",
    "quantize_weights": "weights in {bits} bits",
}
LEAST_IMPORTANT_FIRST = ("paper", "MACs", "family", "size", "parameters", "task")


@dataclass(frozen=True, kw_only=True)
class ModelsOptions:
    """The options of `digitcli models`."""

    name: str | None = argument(
        "NAME", "Show the layers of this architecture, shipped model, checkpoint or run folder.",
        None, complete=complete_model,
    )  # fmt: skip
    shipped: bool = setting(False, "", "List only the models whose weights come with the package.")
    format: console.Format = setting("table", "", "Print a table for people, or JSON.")


def models(options: ModelsOptions) -> None:
    """List every architecture and every shipped model, or show one of them layer by layer.

    Example: digitcli models cnn
    """
    name = options.name
    if name is not None and options.shipped:
        raise UsageError(f"--shipped is for the list, not for '{name}'.", "Leave --shipped or the name out.")
    from digitcli.inference.model_index import describe_model, list_models

    shown = list_models(options.shipped) if name is None else describe_model(name)
    if options.format == "json":
        console.show_json(shown)
    elif isinstance(shown, list):
        _show_list(shown)
    else:
        _show_description(shown)


def _show_list(rows: list[ModelRow]) -> None:
    """Print one line a model; the columns that matter least are left out where they do not fit."""
    columns = {
        "task": [row.task for row in rows],
        "parameters": [console.thousands(row.parameters) for row in rows],
        "MACs": [console.thousands(row.macs) for row in rows],
        "size": ["" if row.size_bytes is None else console.size(row.size_bytes) for row in rows],
        "accuracy": [console.percent(row.accuracy) if row.shipped else "not trained" for row in rows],
        "family": [row.family for row in rows],
        "paper": [row.paper for row in rows],
    }
    names = [row.name for row in rows]
    table, left_out = console.fitted_table(
        "name", names, columns, LEAST_IMPORTANT_FIRST, console.out.width, ("task", "family", "paper"),
        name_width=console.out.width,
    )  # fmt: skip
    console.show_table(table)
    console.show_left_out(left_out, "json")


def _show_description(model: ModelDescription) -> None:
    console.show_table(_members_table(model) if model.members else _layers_table(model))
    if model.description:
        console.out.print()
        console.out.print(escape(model.description))
    console.out.print()
    if model.header is not None:
        facts = _training_facts(model.header)
    else:
        recipe = resolve_recipe(model.name)
        facts = {"recipe": counted(recipe.epochs, "epoch"), **describe_recipe(recipe)}
    console.show_table(console.pairs(facts))


def _titled_table(model: ModelDescription) -> Table:
    identity = "" if model.id is None else f" ({model.id})"
    title = escape(console.printable(model.name + identity))
    return Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")


def _members_table(ensemble: ModelDescription) -> Table:
    """Return a row for each member of an ensemble; its layers are those of its architecture."""
    table = _titled_table(ensemble)
    table.add_column("member", style="dim")
    table.add_column("architecture", style="cyan")
    for heading in ("seed", "parameters", "validation", "test"):
        table.add_column(heading, justify="right")
    for number, member in enumerate(ensemble.members):
        seed = "" if member.seed is None else str(member.seed)
        accuracies = map(console.percent, (member.validation_accuracy, member.test_accuracy))
        name = escape(console.printable(member.architecture))
        table.add_row(str(number), name, seed, f"{member.parameters:,}", *accuracies)
    table.add_section()
    table.add_row("", "[bold]total[/]", "", f"{ensemble.summary.parameters:,}")
    return table


def _layers_table(model: ModelDescription) -> Table:
    table = _titled_table(model)
    table.add_column("layer", style="dim")
    table.add_column("stage", justify="right")
    table.add_column("kind", style="cyan")
    for heading in ("output", "parameters", "MACs"):
        table.add_column(heading, justify="right")
    for layer in model.summary.layers:
        shape = " x ".join(map(str, layer.shape))
        stage = "" if layer.stage is None else str(layer.stage)
        table.add_row(layer.name, stage, layer.kind, shape, f"{layer.parameters:,}", f"{layer.macs:,}")
    table.add_section()
    table.add_row("", "", "[bold]total[/]", "", f"{model.summary.parameters:,}", f"{model.summary.macs:,}")
    return table


def _training_facts(header: Header) -> dict[str, str]:
    known = {declared.name for declared in settings_of(Recipe)}  # by this version
    settings = {name: value for name, value in header.recipe.items() if name in known and value is not None}
    recipe = describe_recipe(Recipe(**settings), has_teacher=bool(header.teacher)) if settings else {}
    changes = (CHANGES.get(change["change"], change["change"]) for change in header.compression)
    seed = "" if header.seed is None else f", seed {header.seed}"
    facts = {
        "compression": ", ".join(dict.fromkeys(changes)).format(bits=header.weight_bits),
        "started from": str(header.start.get("model", "")),
        "trained on": f"{header.dataset.get('name')}{seed}",
        "epochs": str(header.metrics.get("epochs", "")),
        "teacher": ", ".join(header.teacher),
        **recipe,
        "validation accuracy": console.percent(header.metrics.get("validation_accuracy")),
        "test accuracy": console.percent(header.metrics.get("test_accuracy")),
        "temperature": f"{header.temperature:.3f}",
        "--max-error": _describe_risk(header) if header.guarantee is None else "",
        "guarantee": _describe_guarantee(header.guarantee) if header.guarantee else "",
        "written by": ", ".join(f"{library} {version}" for library, version in header.versions.items()),
    }
    return {name: value for name, value in facts.items() if value}


def _describe_risk(header: Header) -> str:
    """Return the thresholds that a model stores for `predict --max-error`; empty if it stores none."""
    each = (f"{share} refuses below {threshold:.3g}" for share, threshold in header.risk.items())
    source = "synthetic pictures with the default models"
    if header.risk_companions:
        source = "the held-out pictures of the adaptation, with the models that read them"
    return f"{', '.join(each)}; measured on {source}" if header.risk else ""


def _describe_guarantee(guarantee: Guarantee) -> str:
    limit, level = (f"{100 * share:g} %" for share in (guarantee.max_error, guarantee.confidence))
    return (
        f"at most {limit} of the answers are wrong from a confidence of {guarantee.threshold:g} on, at a "
        f"confidence level of {level}; {guarantee.wrong:,} of {guarantee.answered:,} answers were wrong. "
        "predict uses it unless it is told otherwise."
    )
