"""`digitcli synthesize`: lines of handwritten numbers with exact labels, in a folder."""

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

SOURCE_OF_STROKES = "https://archive.ics.uci.edu/dataset/81"
SAY_EVERY = 1_000  # lines, where no bar can be drawn

Out = Annotated[Path, Option(metavar="DIR", help="The folder to write; it is made if it is not there.")]
Count = Annotated[int, Option("--count", "-n", min=1, help="How many lines.")]
Seed = Annotated[int, Option(min=0, help="The same seed gives the same lines.")]
Strokes = Annotated[
    Path | None,
    Option(
        metavar="FILE|DIR",
        help="Pen trajectories for European hands: pendigits-orig.tra, plain or packed, or a folder with it "
        f"and pendigits-orig.tes, from {SOURCE_OF_STROKES}; MNIST and invented hands if not given.",
    ),
]
Force = Annotated[bool, Option("--force", help="Write into a folder that holds something.")]
Format = Annotated[console.Format, Option(help="For people or for programs.")]


def synthesize(
    out: Out,
    count: Count = 1_000,
    seed: Seed = 0,
    strokes: Strokes = None,
    force: Force = False,
    format: Format = "table",
) -> None:
    """Write lines of handwritten numbers, with exact labels and boxes, to train or to try a reader.

    Example: digitcli synthesize --out lines --count 100
    """
    from digitcli.synthesis import line_folders

    line_folders.check_output_folder(out, force)
    if strokes is not None and not os.path.lexists(strokes):
        raise InputError(f"There is no file or folder {strokes}.", f"Fetch it from {SOURCE_OF_STROKES}")
    with wait_with_signals():
        import digitcli.synthesis.lines  # noqa: F401
        from digitcli.cli.views.progress import CountingBar

    with CountingBar("lines", SAY_EVERY) as bar:
        written = line_folders.write_lines(
            out, count, seed, strokes, force, on_event=lambda event: bar.show(event.done, event.count)
        )
    console.show_json(written) if format == "json" else console.show_table(console.pairs(_figures(written)))


def _figures(written: LineFolderSummary) -> dict[str, str]:
    from digitcli.synthesis import line_folders

    return {
        "folder": written.folder,
        "lines": f"{written.count:,}, {written.empty:,} of them with nothing to read",
        "digits": console.thousands(written.digits),
        "labels": f"{line_folders.LABELS}, {line_folders.BOXES}",
        "seed": str(written.seed),
        "strokes": written.strokes or "none: MNIST's digits and invented hands",
    }
