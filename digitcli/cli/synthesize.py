"""`digitcli synthesize`: write a folder of synthetic lines of handwritten numbers with exact labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from digitcli import console
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import InputError

if TYPE_CHECKING:
    from digitcli.synthesis.line_folders import LineFolderSummary

STROKES_URL = "https://archive.ics.uci.edu/dataset/81"
LINES_PER_NOTICE = 1_000  # between two progress lines where no progress bar can be drawn

Out = Annotated[
    Path, Option(metavar="DIR", help="Write the lines into this folder; it is created if necessary.")
]
Count = Annotated[int, Option("--count", "-n", metavar="N", min=1, help="Write this many lines.")]
Seed = Annotated[
    int,
    Option(
        metavar="NUMBER",
        min=0,
        help="Derive all random numbers from this seed; equal seeds give equal lines.",
    ),
]
Strokes = Annotated[
    Path | None,
    Option(
        metavar="FILE|DIR",
        help="Write with these pen strokes of real people, not those in the package: for example "
        "pendigits-orig.tra, plain or compressed (.gz, .bz2, .xz), or a folder with it and "
        f"pendigits-orig.tes, from {STROKES_URL}.",
        show_default=False,
    ),
]
Force = Annotated[
    bool, Option("--force", help="Write into a folder that is not empty; replace files of the same name.")
]
Format = Annotated[
    console.Format, Option(help="Print the summary as a table for people or as JSON for programs.")
]


def synthesize(
    out: Out,
    count: Count = 1_000,
    seed: Seed = 0,
    strokes: Strokes = None,
    force: Force = False,
    format: Format = "table",
) -> None:
    """Write synthetic lines of handwritten numbers with exact labels, to train or to test a line reader.

    The folder gets a picture of each line (00000.png and so on, 40 pixels high, white ink on black),
    labels.csv with the digits and the full text of each line, and boxes.json with the bounding box of each
    character. About one line in ten has nothing to read.

    Example: digitcli synthesize --out lines --count 100

    Then: digitcli evaluate reader --data lines, or digitcli train --arch reader --data lines
    """
    from digitcli.synthesis import line_folders

    line_folders.check_output_folder(out, force)
    if strokes is not None and not os.path.lexists(strokes):
        raise InputError(f"There is no file or folder {strokes}.", f"Download it from {STROKES_URL}")
    with wait_with_signals():
        import digitcli.synthesis.lines  # noqa: F401
        from digitcli.cli.views.progress import CountingBar

    with CountingBar("lines", LINES_PER_NOTICE) as bar:
        summary = line_folders.write_lines(
            out, count, seed, strokes, force, on_event=lambda event: bar.show(event.done, event.count)
        )
    if format == "json":
        console.show_json(summary)
    else:
        console.show_table(console.pairs(_describe(summary)))


def _describe(summary: LineFolderSummary) -> dict[str, str]:
    from digitcli.synthesis import line_folders

    return {
        "folder": summary.folder,
        "lines": f"{summary.count:,}, of which {summary.empty:,} have nothing to read",
        "digits": console.thousands(summary.digits),
        "labels": f"{line_folders.LABELS}, {line_folders.BOXES}",
        "seed": str(summary.seed),
        "strokes": summary.strokes or "those in the package",
    }
