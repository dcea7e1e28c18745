"""`digitcli export`: write a model for another program or language, with proof that it answers the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli import console
from digitcli.cli.options import complete_shipped
from digitcli.cli.signals import wait_with_signals
from digitcli.events import Event, Notice
from digitcli.export.formats import FORMATS, Dtype, FormatName, check_output, check_packages, find_format
from digitcli.inference.model_resolution import resolve_model
from digitcli.settings import argument, setting

if TYPE_CHECKING:
    from digitcli.export.export import ExportResult
    from digitcli.export.exporter import Parity


def complete_format(incomplete: str) -> list[tuple[str, str]]:
    """Return the formats with their summaries."""
    return [(row.name, row.summary) for row in FORMATS.values() if row.name.startswith(incomplete)]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of `digitcli export`."""

    model: str = argument(
        "MODEL", "Export this shipped model, checkpoint file or run folder.", complete=complete_shipped
    )
    to: FormatName | None = setting(
        None, "", "Write this format (default: that of the name of --output, or onnx).", unit="format",
        complete=complete_format,
    )  # fmt: skip
    output: Path | None = setting(
        None, "", "Write this file, or this folder for hf, saved_model and c; - is standard output "
        "(default: the name of the model).", letter="-o", aliases=("--out", "--save"),
    )  # fmt: skip
    dtype: Dtype = setting(
        "float32", "", "Store weights like this; int8, for tflite and c, rounds them, or keeps the integers "
        "of a compressed model.",
    )  # fmt: skip
    verify: bool = setting(
        True, "", "Keep what was written only if its answers equal those of PyTorch; without this, the files "
        "say so.",
    )  # fmt: skip
    force: bool = setting(False, "", "Replace the file or the folder of --output if it exists.")
    format: console.Format = setting("table", "", "Print a table for people, or JSON.")


def export(options: ExportOptions) -> None:
    """Write a model for another program or language, and check that it answers the same there.

    The formats: onnx for ONNX Runtime and other programs; torch for torch.export.load; hf for the Hugging
    Face hub; tflite for TensorFlow Lite; saved_model for TensorFlow; c for microcontrollers; html, a page
    to draw in.

    Examples:

      digitcli export cnn -o cnn.onnx
      digitcli export fast -o fast.tflite
      digitcli export fast --to c --dtype int8 -o fast-c
      digitcli export runs/lenet5-1 -o lenet5.html
    """
    kind = find_format(options.to, options.output, options.dtype)
    resolved = resolve_model(options.model)
    target = options.output or Path(f"{resolved.id.rpartition('@')[0]}{kind.ending}")
    check_output(target, kind, options.force)
    check_packages(kind)
    console.reserve_stdout(target, options.format)
    with console.Busy(f"Exporting {resolved.name}") as busy:
        with wait_with_signals():
            from digitcli.export import export as module

        def show(event: Event) -> None:
            if isinstance(event, Notice):
                busy.update(event.message)

        result = module.export(
            resolved, kind.name, target, dtype=options.dtype, verify=options.verify, force=options.force,
            on_event=show,
        )  # fmt: skip
    if options.format == "json":
        console.show_json(result)
        return
    console.show_table(console.pairs(_describe(result)))
    for note in result.notes:
        console.show_notice(note)


def _describe(result: ExportResult) -> dict[str, str]:
    rows = {
        "exported": f"{result.model} to {result.path}",
        "size": console.size(result.size_bytes),
        "parity": "not checked" if result.parity is None else _describe_parity(result.parity),
    }
    if result.rounding is not None:
        rounding = result.rounding
        rows["int8"] = (
            f"{rounding.different_answers:,} of {rounding.n:,} answers differ from those of the model in "
            f"float32; logits by {rounding.largest_difference:.2g} at most"
        )
    return rows | _describe_facts(result.facts)


def _describe_parity(parity: Parity) -> str:
    same = f"the answers to all {parity.n:,} {parity.unit} equal"
    if parity.different_answers:
        same = (
            f"{parity.different_answers:,} of the answers to {parity.n:,} {parity.unit} differ from those of "
            "PyTorch, because values between two integers are rounded to either; the others equal"
        )
    return f"{same} those of PyTorch; the largest difference of logits is {parity.largest_difference:.2g}"


def _describe_facts(facts: Mapping[str, str | int]) -> dict[str, str]:
    """Return what is special to a format, with units."""
    rows = {}
    if "ram_bytes" in facts:
        rows["RAM"] = f"{facts['ram_bytes']:,} bytes in static buffers"
        rows["flash"] = f"{facts['constant_bytes']:,} bytes of weights and other constants, and the code"
    others = facts.keys() - {"ram_bytes", "constant_bytes"}
    return rows | {name: str(value) for name, value in facts.items() if name in others}
