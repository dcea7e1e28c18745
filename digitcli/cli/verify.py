"""`digitcli verify`: tell whether the results of many workers are whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from digitcli import console
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import QualityError
from digitcli.settings import argument, setting

if TYPE_CHECKING:
    from digitcli.bulk.verification import Verification

PARTS_PER_NOTICE = 10_000  # between two progress lines where no progress bar can be drawn
MOST_NAMES = 5  # of parts that are shown


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """The arguments and options of `digitcli verify`."""

    results: str = argument(
        "RESULTS", "Verify the results in this folder, here or in a store (s3://, gs://, az:// ...)."
    )
    format: console.Format = setting("table", "", "Print a table for people, or JSON.")


def verify(options: VerifyOptions) -> None:
    """Tell whether the results of a manifest are whole: no picture missing or twice, all by the same reader.

    Example: digitcli verify s3://bucket/results
    """
    with wait_with_signals():
        from digitcli.bulk import verification
    with console.CountingBar("parts", PARTS_PER_NOTICE) as bar:
        result = verification.verify(options.results, on_event=bar)
    if options.format == "json":
        console.show_json(vars(result) | {"is_whole": result.is_whole})
    else:
        _draw(result)
    if not result.is_whole:
        cause = f"The results in {options.results} are not whole."
        remedy = "Give the command that wrote them again."
        if result.damaged or result.foreign:
            remedy = f"Remove what is damaged or foreign. {remedy}"
        raise QualityError(cause, remedy)


def _draw(result: Verification) -> None:
    rows = {
        "results": result.out,
        "portions": f"{result.portions:,}, of which {len(result.missing):,} are missing",
        "pictures": f"{result.pictures:,} of {result.expected:,}",
        "pages": console.thousands(result.pages),
        "status": describe_counts(result.by_status),
        "reason": describe_counts(result.by_reason),
        "missing": _listed([str(portion) for portion in result.missing]),
        "damaged": _listed(result.damaged),
        "foreign": _listed(result.foreign),
    }
    console.show_table(console.pairs({name: value for name, value in rows.items() if value}))


def describe_counts(counts: dict[str, int]) -> str:
    """Return counts by name, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count:,}" for name, count in ordered)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
