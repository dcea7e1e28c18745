"""`digitcli models`: list the architectures and shipped models, describe one, or measure the shipped ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from digitcli import console
from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import resolve_recipe
from digitcli.cli.options import FormatOption, complete_dataset, complete_model
from digitcli.cli.signals import wait_with_signals
from digitcli.cli.train import describe_recipe
from digitcli.errors import UsageError, counted
from digitcli.inference.model_resolution import shipped_models
from digitcli.settings import settings_of

if TYPE_CHECKING:
    from digitcli.inference.checkpoint import Guarantee, Header
    from digitcli.inference.model_index import ModelDescription, ModelRow

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="Show the layers of this architecture, shipped model, checkpoint or run folder, not the list.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
Shipped = Annotated[
    bool, typer.Option("--shipped", help="List only the models whose weights come with the package.")
]
ModelCards = Annotated[
    bool,
    typer.Option("--model-cards", help="Measure every shipped model and print all model cards as Markdown."),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="DATASET",
        help="With --model-cards, also measure the accuracy on this dataset. May be given several times.",
        autocompletion=complete_dataset,
        show_default=False,
    ),
]


def models(
    name: Name = None,
    shipped: Shipped = False,
    model_cards: ModelCards = False,
    data: Data = None,
    format: FormatOption = "table",
) -> None:
    """List every architecture and every shipped model, or show one of them layer by layer.

    Example: digitcli models cnn
    """
    if data and not model_cards:
        raise UsageError("--data needs --model-cards.", "Give --model-cards too, or leave --data out.")
    if model_cards:
        if name is not None or shipped or format != "table":
            cause = "--model-cards prints the cards of all shipped models as Markdown."
            raise UsageError(cause, "Leave the name, --shipped and --format out.")
        _print_model_cards(data or [])
        return
    if name is not None and shipped:
        raise UsageError(f"--shipped is for the list, not for '{name}'.", "Leave --shipped or the name out.")
    from digitcli.inference.model_index import describe_model, list_models

    if name is None:
        rows = list_models(shipped)
        console.show_json(rows) if format == "json" else console.show_table(_list_table(rows))
    else:
        description = describe_model(name)
        console.show_json(description) if format == "json" else _show_description(description)


def _print_model_cards(data: list[str]) -> None:
    from digitcli.cli.views.progress import CountingBar
    from digitcli.data.loading import find_dataset

    for source in data:
        find_dataset(source)
    with console.Busy("Loading the models"), wait_with_signals():
        from digitcli.benchmarking.model_cards import model_cards

    with CountingBar("models") as bar:
        bar.show(0, len(shipped_models()))
        text = model_cards(data, bar.show)
    typer.echo(text, nl=False)


def _list_table(rows: list[ModelRow]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", style="cyan", no_wrap=True)
    table.add_column("family")
    table.add_column("task")
    for heading in ("parameters", "MACs", "size", "accuracy"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("paper", style="dim")
    for row in rows:
        size = "" if row.size_bytes is None else console.size(row.size_bytes)
        table.add_row(
            escape(row.name),
            escape(row.family),
            row.task,
            console.thousands(row.parameters),
            console.thousands(row.macs),
            size if row.shipped else f"[dim]{size}[/]",
            console.percent(row.accuracy) if row.shipped else "[dim]not trained[/]",
            escape(row.paper),
        )
    return table


def _show_description(model: ModelDescription) -> None:
    console.show_table(_members_table(model) if model.members else _layers_table(model))
    if model.description:
        console.out.print()
        console.out.print(escape(model.description))
    console.out.print()
    facts = _recipe_facts(model.name) if model.header is None else _training_facts(model.header)
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


def _recipe_facts(architecture: str) -> dict[str, str]:
    recipe = resolve_recipe(architecture)
    return {"recipe": counted(recipe.epochs, "epoch"), **describe_recipe(recipe)}


def _recipe_of(header: Header) -> dict[str, str]:
    """Return the lines of the recipe in a checkpoint, without settings that this version does not know."""
    known = {declared.name for declared in settings_of(Recipe)}
    settings = {name: value for name, value in header.recipe.items() if name in known and value is not None}
    return describe_recipe(Recipe(**settings), has_teacher=bool(header.teacher)) if settings else {}


def _describe_compression(header: Header) -> str:
    """Return what a compression has changed, see `architectures.compression`."""
    names = {
        "fold": "batch normalization folded",
        "resize": "channels removed",
        "factorize": "layers factorized",
        "quantize_inputs": "inputs of layers in 8 bits",
        "quantize_weights": f"weights in {header.weight_bits} bits",
    }
    changes = [change["change"] for change in header.compression]
    return ", ".join(dict.fromkeys(names.get(change, change) for change in changes))


def _training_facts(header: Header) -> dict[str, str]:
    seed = "" if header.seed is None else f", seed {header.seed}"
    facts = {
        "compression": _describe_compression(header),
        "started from": str(header.start.get("model", "")),
        "trained on": f"{header.dataset.get('name')}{seed}",
        "epochs": str(header.metrics.get("epochs", "")),
        "teacher": ", ".join(header.teacher),
        **_recipe_of(header),
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
