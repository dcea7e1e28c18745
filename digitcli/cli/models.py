"""`digitcli models`: what can be trained and what is shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from digitcli import console
from digitcli.cli.completion import complete_model

if TYPE_CHECKING:
    from digitcli.catalogue import ModelDescription, ModelRow


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
    format: Annotated[console.Format, typer.Option(help="For people or for programs.")] = "table",
) -> None:
    """List every architecture and shipped model, or show one layer by layer."""
    from digitcli.catalogue import describe_model, list_models

    if name is None:
        rows = list_models(shipped)
        console.show_json(rows) if format == "json" else console.show_table(_list_table(rows))
    else:
        description = describe_model(name)
        console.show_json(description) if format == "json" else _show_description(description)


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
        title=escape(model.name), title_justify="left", box=None, pad_edge=False, header_style="bold"
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
