"""`digitcli doctor`: say what is wrong, how one knows it, and what mends it."""

from __future__ import annotations

import shutil
from typing import Annotated

from rich.console import Group, RenderableType
from rich.text import Text
from typer import Option

from digitcli import console
from digitcli.diagnosis.findings import Diagnosis

Format = Annotated[console.Format, Option("--format", help="Print text for people, or JSON.")]
STYLES = {"error": "bold red", "warning": "yellow"}


def doctor(format: Format = "table") -> None:
    """Examine the installation, and print a block that can be pasted into the report of a problem.

    Example: digitcli doctor
    """
    with console.Busy("Examining the installation"):
        from digitcli.diagnosis.installation import examine_installation

        diagnosis = examine_installation()
    columns, rows = shutil.get_terminal_size()
    terminal = f"{columns} x {rows}, {console.out.encoding}, colours: {console.out.color_system or 'none'}"
    diagnosis.facts["terminal"] = terminal
    if format == "json":
        console.show_json(diagnosis.record())
    else:
        console.show_table(draw(diagnosis))


def draw(diagnosis: Diagnosis) -> Group:
    """Draw the facts, and then the findings or that there are none."""
    parts: list[RenderableType] = [console.pairs(diagnosis.facts), ""]
    for finding in diagnosis.findings:
        parts.append(Text(f"{finding.severity}: {finding.rule}", STYLES[finding.severity]))
        parts += [console.printable(finding.evidence), finding.remedy]
        parts += [Text(f"    {finding.command}")] if finding.command else []
        parts.append("")
    if not diagnosis.findings:
        parts.append(Text(f"Nothing is wrong with the {diagnosis.subject}.", "green"))
    return Group(*parts)
