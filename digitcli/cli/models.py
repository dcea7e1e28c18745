"""`digitcli models`: what can be trained and what is shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from digitcli import console
from digitcli.cli.completion import complete_dataset, complete_model
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import UsageError
from digitcli.inference.model_resolution import shipped_models

if TYPE_CHECKING:
    from digitcli.inference.model_index import ModelDescription, ModelRow


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            help="An architecture, a shipped model, a checkpoint or a run folder: show its layers.",
            autocompletion=complete_model,
            show_default=False,
        ),
    ] = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Only models with weights in the package.")
    ] = False,
    cards: Annotated[
        bool, typer.Option("--cards", help="Measure every shipped model and print the cards, as Markdown.")
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="On a card, the accuracy on these digits too; may be given several times.",
            autocompletion=complete_dataset,
        ),
    ] = None,
    format: Annotated[console.Format, typer.Option(help="For people or for programs.")] = "table",
) -> None:
    """List every architecture and shipped model, show one layer by layer, or write the cards of all.

    Example: digitcli models --cards > models/README.md
    """
    if data and not cards:
        raise UsageError("--data is for --cards.", "Give --cards too, or leave --data out.")
    if name is not None and shipped and not cards:
        raise UsageError("--shipped is for the list.", "Leave it or the name out.")
    if cards:
        _show_cards(name, data or [], shipped, format)
        return
    from digitcli.inference.model_index import describe_model, list_models

    if name is None:
        rows = list_models(shipped)
        console.show_json(rows) if format == "json" else console.show_table(_list_table(rows))
    else:
        description = describe_model(name)
        console.show_json(description) if format == "json" else _show_description(description)


def _show_cards(name: str | None, data: list[str], shipped: bool, format: console.Format) -> None:
    from digitcli.cli.views.progress import CountingBar
    from digitcli.data.loading import find_dataset

    if name is not None or shipped or format != "table":
        cause = "--cards are of all shipped models, in Markdown."
        raise UsageError(cause, "Leave the name, --shipped and --format out.")
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
        weights = "" if row.size_bytes is None else console.size(row.size_bytes)
        table.add_row(
            escape(row.name),
            escape(row.family),
            row.task,
            console.thousands(row.parameters),
            console.thousands(row.macs),
            weights if row.shipped else f"[dim]{weights}[/]",
            console.percent(row.accuracy) if row.shipped else "[dim]train it[/]",
            escape(row.paper),
        )
    return table


def _show_description(model: ModelDescription) -> None:
    table = Table(
        title=escape(console.printable(model.name)),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("layer", style="dim")
    table.add_column("kind", style="cyan")
    for heading in ("output", "parameters", "MACs"):
        table.add_column(heading, justify="right")
    for layer in model.summary.layers:
        shape = " x ".join(map(str, layer.shape))
        table.add_row(layer.name, layer.kind, shape, f"{layer.parameters:,}", f"{layer.macs:,}")
    table.add_section()
    table.add_row("", "[bold]total[/]", "", f"{model.summary.parameters:,}", f"{model.summary.macs:,}")
    console.show_table(table)
    if model.description:
        console.out.print()
        console.out.print(escape("\n".join(line.strip() for line in model.description.strip().splitlines())))
    if model.header is not None:
        console.out.print()
        console.show_table(console.pairs(_weights(model)))


def _weights(model: ModelDescription) -> dict[str, str]:
    header = model.header
    assert header is not None
    return {
        "trained on": f"{header.dataset.get('name')}, seed {header.seed}",
        "epochs": str(header.metrics.get("epochs")),
        "validation": console.percent(header.metrics.get("validation_accuracy")),
        "test": console.percent(header.metrics.get("test_accuracy")),
        "temperature": f"{header.temperature:.3f}",
        "written by": ", ".join(f"{library} {version}" for library, version in header.versions.items()),
    }
