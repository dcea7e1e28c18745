"""Export a model to a file or a folder, which is kept only if it answers as the model does in PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from digitcli.atomic_write import write_folder, write_whole
from digitcli.events import Notice, OnEvent
from digitcli.export.formats import Dtype, Format, FormatName, check_output, default_output, find_format
from digitcli.export.parity import Parity, check, compare, example_batches, expected_outputs
from digitcli.export.source import Exporter, Source
from digitcli.inference.model_resolution import ModelLike, resolve_model
from digitcli.inference.torch_runtime import open_network


@dataclass(frozen=True)
class ExportResult:
    """What was exported.

    path: the file or the folder that was written.
    size_bytes: the size of the file, or of all files in the folder.
    model: the model that was exported, e.g. `fast@1a2b3c4d`.
    parity: how its answers were compared with those of PyTorch; None if they were not. With rounded weights,
        PyTorch computes with the same rounded weights.
    rounding: how the answers differ from those of the model before its weights were rounded; None if they
        were not.
    facts: what else is worth telling, by name, e.g. `opset` or `ram_bytes`.
    notes: sentences about what the person may not have meant.
    """

    path: str
    format: FormatName
    dtype: Dtype
    size_bytes: int
    model: str
    parity: Parity | None
    rounding: Parity | None
    facts: Mapping[str, str | int]
    notes: tuple[str, ...] = ()


def export(
    model: ModelLike,
    format: str = "onnx",
    output: Path | None = None,
    *,
    dtype: Dtype = "float32",
    verify: bool = True,
    force: bool = False,
    on_event: OnEvent = lambda event: None,
) -> ExportResult:
    """Export a model, compare its answers with those of PyTorch, and write it.

    model: a shipped model, a checkpoint file or a run folder.
    format: a name of `formats.FORMATS`.
    output: the file or folder to write, by default one in the current folder that has the model's name.
    verify: without it, the answers are not compared, and the files say so.

    Raises:
        UsageError: there is no such format, or it cannot hold the architecture of the model.
        ModelError: there is no such model, or its checkpoint is damaged.
        OutputError: the output exists and `force` is not given, or it cannot be written.
        EnvironmentFault: a package or a program is missing that writes or runs the format.
        QualityError: the exported model answers otherwise than PyTorch. Nothing is written.
    """
    kind = find_format(format, dtype)
    resolved = resolve_model(model)
    target = output or default_output(resolved.id, kind)
    check_output(target, kind, force)
    prepare = kind.load()
    on_event(Notice(f"Exporting {resolved.name}", routine=True))
    source = Source(resolved, open_network(resolved), dtype, verify)
    exporter = prepare(source)
    parity = rounding = None
    if verify:
        on_event(Notice("Comparing its answers with those of PyTorch", routine=True))
        parity, rounding = _verify(source, exporter, kind)
        check_output(target, kind, force)  # again, because the comparison took a while
    if kind.files:
        write_folder(target, exporter.files)
    else:
        (content,) = exporter.files.values()
        write_whole(target, content)
    size_bytes = sum(map(len, exporter.files.values()))
    return ExportResult(
        path=str(target),
        format=kind.name,
        dtype=dtype,
        size_bytes=size_bytes,
        model=resolved.id,
        parity=parity,
        rounding=rounding,
        facts=exporter.facts,
        notes=_notes(source, kind),
    )


def _notes(source: Source, format: Format) -> tuple[str, ...]:
    bits = source.model.header.weight_bits
    if bits is None or source.dtype == "int8" or "int8" not in format.dtypes:
        return ()
    return (f"The weights are stored as floats; --dtype int8 keeps the {bits}-bit integers.",)


def _verify(source: Source, exporter: Exporter, format: Format) -> tuple[Parity, Parity | None]:
    """Run the files in a folder of their own, and compare their answers with PyTorch and before rounding.

    Raises:
        QualityError: they differ from PyTorch.
    """
    batches = example_batches(source, exporter.examples)
    original = expected_outputs(source, batches)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in exporter.files.items():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_bytes(content)
        path = Path(folder) if format.files else Path(folder, *exporter.files)
        actual = exporter.run(path, batches)
    parity = compare(source, exporter.expected(batches) if exporter.expected else original, actual)
    check(parity)
    return parity, compare(source, original, actual) if exporter.expected else None
