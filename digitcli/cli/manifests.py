"""`digitcli predict --manifest`: read the portions of a manifest."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING

from digitcli import console
from digitcli.cli import tables
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import InputError, PartialInputError, UsageError, counted
from digitcli.settings import option_name
from digitcli.threads import usable_cores

if TYPE_CHECKING:
    from digitcli.bulk.engines import RunSummary
    from digitcli.cli.predict import PredictOptions

PORTIONS_PER_NOTICE = 10  # between two progress lines where no progress bar can be drawn
OF_MANIFESTS = ("portion", "engine", "address", "workers")
# Options that mean something where parts are written, beside those of `ReaderConfig`.
KNOWN = {*OF_MANIFESTS, "manifest", "model", "jobs", "output", "format", "null"}


def read_manifest(options: PredictOptions, manifest: str) -> None:
    """Read the portions of a manifest and show what was read."""
    if options.output is None:
        raise UsageError("--manifest needs a folder for the results.", "Name it with -o.")
    share = _share(options.portion)
    with console.Busy("Loading the models"), wait_with_signals():
        from digitcli.bulk import engines
        from digitcli.data.storage import address_of
        from digitcli.recognition.reader_config import ReaderConfig
    given = [field.name for field in fields(options) if getattr(options, field.name) != field.default]
    of_reader = {name: getattr(options, name) for name in given if name in ReaderConfig.__dataclass_fields__}
    foreign = [name for name in given if name not in KNOWN | of_reader.keys()]
    if foreign or options.format in ("csv", "parquet"):
        name = (foreign or ["format"])[0]
        if options.is_tabular or name in tables.OWN:
            cause = f"Portions hold no tables, so --manifest does not go with {option_name(name)}."
            remedy = "Read tables and forms without a manifest; --files-from names many pictures, too."
            raise UsageError(cause, remedy)
        shown = "pictures" if name == "pictures" else option_name(name)
        raise UsageError(f"--manifest names the pictures, and does not go with {shown}.", "Leave one out.")
    config = ReaderConfig(models=options.model, **of_reader)
    out = address_of(options.output) or str(options.output)
    with console.CountingBar("portions", PORTIONS_PER_NOTICE) as bar:
        summary = engines.read_manifest(
            address_of(manifest) or manifest, out, config, share=share,
            engine=options.engine, workers=options.workers or options.jobs or usable_cores(),
            address=options.address, on_event=bar,
        )  # fmt: skip
    if options.format in ("json", "jsonl"):
        console.show_json(vars(summary))
    else:
        _draw(summary)
    if summary.failures:
        number, cause = next(iter(summary.failures.items()))
        failed = counted(len(summary.failures), "portion")
        raise PartialInputError(
            f"{failed} could not be read, the first is {number}: {cause}", "Run it again."
        )
    if summary.pages and summary.by_status["error"] == summary.pages:
        cause = f"Of {counted(summary.pages, 'page')}, none could be read."
        raise InputError(cause, "The results say why for each of them.")


def check_options(options: PredictOptions) -> None:
    """Raise UsageError for an option that only a manifest gives a meaning."""
    given = [name for name in OF_MANIFESTS if getattr(options, name) not in (None, "local")]
    if given:
        remedy = "Write a manifest with digitcli plan, and name it with --manifest."
        raise UsageError(f"{option_name(given[0])} is for the portions of a manifest.", remedy)


def _share(text: str | None) -> tuple[int, int]:
    """Return K and N of `K/N`."""
    if text is None:
        return 0, 1
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not int(found[1]) < int(found[2]):
        cause = f"--portion is '{text}'."
        raise UsageError(
            cause, "Give K/N with K from 0 to N - 1, for example 0/8: every 8th portion from the first."
        )
    return int(found[1]), int(found[2])


def _draw(summary: RunSummary) -> None:
    from digitcli.cli.verify import describe_counts

    rows = {
        "results": summary.out,
        "portions": f"{summary.read:,} read, {summary.kept:,} read before, of {summary.portions:,}",
        "pictures": f"{summary.pictures:,} with {summary.pages:,} pages",
        "status": describe_counts(summary.by_status),
        "reason": describe_counts(summary.by_reason),
        "CPU": f"{summary.cpu_seconds:,.0f} s",
    }
    console.show_table(console.pairs({name: value for name, value in rows.items() if value}))
