"""`digitcli export`: write a model for another program or language, with proof that it answers the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from digitcli import console
from digitcli.cli.options import FormatOption, model_argument
from digitcli.cli.signals import wait_with_signals
from digitcli.events import Event, Notice
from digitcli.export.formats import FORMATS, Dtype, check_output, check_packages, default_output, find_format
from digitcli.inference.model_resolution import resolve_model

if TYPE_CHECKING:
    from digitcli.export.export import ExportResult
    from digitcli.export.parity import Parity

SUMMARIES = "; ".join(f"{row.name}, {row.summary}" for row in FORMATS.values())

ModelArgument = Annotated[str, model_argument("Export")]


def complete_format(incomplete: str) -> list[tuple[str, str]]:
    """Return the formats with their summaries."""
    return [(row.name, row.summary) for row in FORMATS.values() if row.name.startswith(incomplete)]


To = Annotated[
    str,
    Option(
        "--to",
        metavar="FORMAT",
        help=f"Write this format: {SUMMARIES}.",
        autocompletion=complete_format,
    ),
]
Output = Annotated[
    Path | None,
    Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Write to this file, or to this folder for hf, saved_model and c (default: the name of the "
        "model with the ending of the format, in the current folder).",
    ),
]
DtypeOption = Annotated[
    Dtype,
    Option(
        "--dtype",
        help="Store weights as float32, or for the formats tflite and c as int8: 8-bit integers with one "
        "scale for each output channel, while activations stay float32; c keeps the integers of a compressed "
        "model, 4-bit ones too, and computes with integers where its inputs are rounded.",
    ),
]
Verify = Annotated[
    bool,
    Option(
        "--verify/--no-verify",
        help="Run what was exported, and keep it only if its answers equal those of PyTorch; without this, "
        "the files say that they were not checked.",
    ),
]
Force = Annotated[bool, Option("--force", help="Replace the file or the folder of --output if it exists.")]


def export(
    model: ModelArgument,
    to: To = "onnx",
    output: Output = None,
    dtype: DtypeOption = "float32",
    verify: Verify = True,
    force: Force = False,
    format: FormatOption = "table",
) -> None:
    """Write a model for another program or language, and check that it answers the same there.

    Examples:

      digitcli export cnn -o cnn.onnx
      digitcli export fast --to tflite
      digitcli export fast --to c --dtype int8 -o fast-c
      digitcli export runs/lenet5-1 --to html -o lenet5.html
    """
    kind = find_format(to, dtype)
    resolved = resolve_model(model)
    target = output or default_output(resolved.id, kind)
    check_output(target, kind, force)
    check_packages(kind)
    with console.Busy(f"Exporting {resolved.name}") as busy:
        with wait_with_signals():
            from digitcli.export import export as module

        def show(event: Event) -> None:
            if isinstance(event, Notice):
                busy.update(event.message)

        result = module.export(
            resolved, kind.name, target, dtype=dtype, verify=verify, force=force, on_event=show
        )
    if format == "json":
        console.show_json(result)
    else:
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
    if "flash_bytes" in facts:
        constants = int(facts["constant_bytes"])
        rows["flash"] = (
            f"{facts['flash_bytes']:,} bytes, compiled for {facts['flash_of']}: {constants:,} of weights, "
            f"scales and other constants, and {int(facts['flash_bytes']) - constants:,} of code"
        )
    elif "weights_bytes" in facts:
        rows["flash"] = (
            f"more than the {facts['weights_bytes']:,} bytes of the weights; no compiler was found"
        )
    others = facts.keys() - {"ram_bytes", "flash_bytes", "constant_bytes", "flash_of", "weights_bytes"}
    return rows | {name: str(value) for name, value in facts.items() if name in others}
