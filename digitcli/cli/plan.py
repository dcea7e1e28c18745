"""`digitcli plan`: divide many pictures into portions, for workers on one machine or many."""

from __future__ import annotations

from dataclasses import dataclass

from digitcli import console
from digitcli.cli.signals import wait_with_signals
from digitcli.settings import REQUIRED, argument, setting

PICTURES_PER_NOTICE = 100_000  # between two progress lines where no progress bar can be drawn


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """The arguments and options of `digitcli plan`."""

    pictures: tuple[str, ...] = argument(
        "PICTURES", "Plan the pictures of these folders, archives (.zip, .tar), tables with pictures "
        "(.parquet), lists (.txt) and inventories (.csv, .csv.gz, .parquet), on this machine or in a store "
        "(s3://, gs://, az:// ...).", (),
    )  # fmt: skip
    output: str = setting(
        REQUIRED,
        "",
        "Write the manifest to this .parquet file, here or in a store.",
        letter="-o",
        unit="file",
    )
    portion_size: int = setting(
        1_000, "", "Put so many pictures into a portion, fewer if they are large.", unit="N", at_least=1
    )
    force: bool = setting(False, "", "Replace the file of --output if it exists.")
    format: console.Format = setting("table", "", "Print a table for people, or JSON.")


def plan(options: PlanOptions) -> None:
    """Divide many pictures into portions, which workers read one by one.

    Example: digitcli plan s3://bucket/scans -o manifest.parquet

    Then: digitcli predict --manifest manifest.parquet -o s3://bucket/results

    Then: digitcli verify s3://bucket/results
    """
    with wait_with_signals():
        from digitcli.bulk.manifest import plan_pictures
    with console.CountingBar("pictures", PICTURES_PER_NOTICE) as bar:
        summary = plan_pictures(
            options.pictures, options.output, options.portion_size, bar, force=options.force
        )
    if options.format == "json":
        console.show_json(vars(summary))
        return
    rows = {
        "manifest": summary.manifest,
        "portions": console.thousands(summary.portions),
        "pictures": console.thousands(summary.pictures),
        "size": console.size(summary.bytes),
    }
    console.show_table(console.pairs(rows))
