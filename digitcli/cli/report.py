"""`digitcli report`: write what another command has written as one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from digitcli import console
from digitcli.atomic_write import check_writable
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import UsageError
from digitcli.settings import argument, setting

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What is reported, and where."""

    source: str = argument(
        "SOURCE",
        "Report this: a run folder, a folder that adapt wrote, or a .json, .jsonl or .csv file that another "
        "command wrote by -o.",
    )
    output: Path = setting(
        Path("report.html"), "", "Write the report to this .html file.", letter="-o", unit="file",
        aliases=("--out", "--save"),
    )  # fmt: skip
    force: bool = setting(False, "", "Replace the file of --output if it exists.")
    format: console.Format = setting("table", "", "Print text for people, or JSON for programs.")


def report(options: ReportOptions) -> None:
    """Write a run, an evaluation, a comparison, readings or an adaptation as one HTML file.

    You can hand the file out or keep it. It needs nothing else: its pictures are part of it, and it requests
    nothing from the network.

    Examples:

      digitcli report runs/cnn-1 -o run.html
      digitcli report results.jsonl -o marks-of-class-7b.html
    """
    output = options.output
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--output is '{output}'.", "Name a file that ends in .html.")
    check_writable(output, options.force)
    with console.Busy("Making the report"):
        with wait_with_signals():
            from digitcli.reporting.report import write_report
        written = write_report(options.source, output)
    if options.format == "json":
        console.show_json(vars(written))
    else:
        facts = {"report": written.report, "title": written.title, "size": console.size(written.size_bytes)}
        console.show_table(console.pairs(facts))
