"""`digitcli synthesize`: write synthetic pictures of handwritten numbers with exact labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from digitcli import console
from digitcli.atomic_write import check_new_folder
from digitcli.cli.signals import wait_with_signals
from digitcli.settings import REQUIRED, setting

Purpose = Literal["pictures", "finder", "reader", "glance"]
PICTURES_PER_NOTICE = 1_000  # between two progress lines where no progress bar can be drawn


@dataclass(frozen=True, kw_only=True)
class SynthesizeOptions:
    """The options of `digitcli synthesize`."""

    output: Path = setting(
        REQUIRED, "", "Write the pictures into this folder; it is created if necessary.", letter="-o",
        unit="dir", aliases=("--out",),
    )  # fmt: skip
    purpose: Purpose = setting(
        "pictures", "", "Write pictures with their labels, or what this network learns from: squares of "
        "pages with targets, or strips.",
    )  # fmt: skip
    count: int = setting(
        1_000, "", "Write this many pictures, squares or strips.", letter="-n", unit="N", at_least=1
    )
    jobs: int = setting(
        1, "", "Compose squares or strips by this many processes.", letter="-j", unit="N", at_least=1,
    )  # fmt: skip
    seed: int = setting(
        0, "", "Derive all random numbers from this seed; equal seeds give equal pictures.", unit="N",
        at_least=0,
    )  # fmt: skip
    force: bool = setting(
        False, "", "Write into a folder that is not empty; replace files of the same name."
    )  # fmt: skip
    format: console.Format = setting("table", "", "Print a table for people, or JSON.")


def synthesize(options: SynthesizeOptions) -> None:
    """Write synthetic pictures of handwritten numbers with exact labels, to train or to test a reader.

    The folder gets a picture of each line (00000.png and so on), labels.csv with the digits and the full text
    of each line, and boxes.json with the bounding box of each character. About one picture in twelve has
    nothing to read.

    Example: digitcli synthesize -o lines --count 100

    Then: digitcli calibrate lines, or digitcli adapt lines

    With --for, the folder gets examples that are composed once and used again, for example with digitcli
    synthesize --for finder -o pool -n 20000, then digitcli train --arch finder --data pool. The same command
    continues what was interrupted.
    """
    if options.purpose != "pictures":
        _write_pool(options)
        return
    check_new_folder(options.output, options.force)
    with wait_with_signals():
        from digitcli.synthesis import picture_folders

    with console.CountingBar("pictures", PICTURES_PER_NOTICE) as bar:
        summary = picture_folders.write_pictures(
            options.output, options.count, options.seed, options.force, on_event=bar
        )
    if options.format == "json":
        console.show_json(summary)
        return
    rows = {
        "folder": summary.folder,
        "pictures": f"{summary.count:,}, of which {summary.empty:,} have nothing to read",
        "digits": console.thousands(summary.digits),
        "labels": f"{picture_folders.LABELS}, {picture_folders.BOXES}",
        "seed": str(summary.seed),
    }
    console.show_table(console.pairs(rows))


def _write_pool(options: SynthesizeOptions) -> None:
    """Write examples for a network, and show what the folder holds."""
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.training.pools import write_pool
        from digitcli.training.storages import STORAGES
    with console.CountingBar("examples", PICTURES_PER_NOTICE) as bar:
        summary = write_pool(
            options.output, options.purpose, STORAGES[options.purpose], options.count, options.seed,
            options.jobs, on_event=bar,
        )  # fmt: skip
    if options.format == "json":
        console.show_json(summary)
        return
    rows = {
        "folder": summary.folder,
        "examples": f"{summary.count:,} for {summary.kind}",
        "size": f"{summary.bytes / 1e6:,.1f} MB",
        "seed": str(summary.seed),
        "SHA-256": summary.digest,
    }
    console.show_table(console.pairs(rows))
