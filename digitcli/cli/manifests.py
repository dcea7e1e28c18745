"""`digitcli predict --manifest`: read the portions of a manifest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from digitcli import console
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import PartialInputError, UsageError, counted
from digitcli.settings import option_name
from digitcli.threads import usable_cores

if TYPE_CHECKING:
    from digitcli.bulk.engines import RunSummary
    from digitcli.cli.predict import PredictOptions

PORTIONS_PER_NOTICE = 10  # between two progress lines where no progress bar can be drawn
# Options that have no meaning where parts are written.
FOREIGN = (
    "pictures",
    "files_from",
    "annotate",
    "show_steps",
    "resume",
    "force",
    "device",
    "table",
    "template",
)


def read_manifest(options: PredictOptions, manifest: str) -> None:
    """Read the portions of a manifest and show what was read."""
    given = next((name for name in FOREIGN if getattr(options, name)), None)
    if given is not None:
        shown = "pictures" if given == "pictures" else option_name(given)
        raise UsageError(f"--manifest names the pictures, and does not go with {shown}.", "Leave one out.")
    if options.output is None:
        raise UsageError("--manifest needs a folder for the results.", "Name it with -o.")
    share = _share(options.portion)
    with console.Busy("Loading the models"), wait_with_signals():
        from digitcli.bulk import engines
        from digitcli.data.storage import address_of
        from digitcli.recognition.reader_config import ReaderConfig
    config = ReaderConfig(
        models=options.model, min_confidence=options.min_confidence, max_error=options.max_error,
        length=options.length, pattern=options.pattern, range=options.range,
        check_digit=options.check_digit, single_digit=options.single_digit, rotate=options.rotate,
    )  # fmt: skip
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
