"""`digitcli report`: write a run, an evaluation, a comparison, readings or an adaptation as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from digitcli import console
from digitcli.atomic_write import check_writable
from digitcli.cli.options import complete_shipped
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import UsageError
from digitcli.events import Event, Notice

SUFFIXES = (".html", ".htm")

SourceArgument = Annotated[
    str,
    Argument(
        metavar="SOURCE",
        help="Report this: a run folder; a folder that adapt wrote; a file that evaluate --save FILE.json, "
        "compare --save FILE.json or predict -o FILE.jsonl (or .json, .csv) wrote; or a shipped model or a "
        "checkpoint file, which is evaluated on its default data.",
        autocompletion=complete_shipped,
        show_default=False,
    ),
]
Output = Annotated[Path, Option("--output", "-o", metavar="FILE.html", help="Write the report to this file.")]
Title = Annotated[
    str | None,
    Option(metavar="TEXT", help="Give the report this title (default: its kind and the name of SOURCE)."),
]
Findings = Annotated[
    bool,
    Option(
        "--findings/--no-findings",
        help="Examine a run as digitcli doctor does, which trains for some hundred steps.",
    ),
]
Force = Annotated[bool, Option("--force", help="Replace the file of --output if it exists.")]
Format = Annotated[console.Format, Option("--format", help="Print text for people, or JSON for programs.")]


def report(
    source: SourceArgument,
    output: Output = Path("report.html"),
    title: Title = None,
    findings: Findings = True,
    force: Force = False,
    format: Format = "table",
) -> None:
    """Write a run, an evaluation, a comparison, readings or an adaptation as one HTML file.

    You can hand the file out or keep it. It needs nothing else: its pictures are part of it, and it requests
    nothing from the network.

    Examples:

      digitcli report cnn
      digitcli report runs/cnn-1 -o run.html
      digitcli report results.jsonl --title "Marks of class 7b"
    """
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--output is '{output}'.", "Name a file that ends in .html.")
    check_writable(output, force)
    with console.Busy("Making the report"):
        with wait_with_signals():
            from digitcli.reporting.report import write_report
        written = write_report(source, output, title, with_findings=findings, on_event=_show_notice)
    if format == "json":
        console.show_json(written)
    else:
        facts = {"report": written.report, "title": written.title, "size": console.size(written.size_bytes)}
        console.show_table(console.pairs(facts))


def _show_notice(event: Event) -> None:
    if isinstance(event, Notice):
        console.show_notice(event.message)
