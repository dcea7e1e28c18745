"""Export a model to a file or a folder, which is kept only if it answers as the model does in PyTorch."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from torch import nn

from digitcli.architectures.compression import quantized_layers, with_plain_weights
from digitcli.atomic_write import write_folder, write_whole
from digitcli.compression.changes import quantize_weights
from digitcli.events import Notice, OnEvent
from digitcli.export.exporter import Exporter, Parity, Source, check, compare, example_batches
from digitcli.export.formats import Dtype, Format, FormatName, check_output, find_format
from digitcli.inference.model_resolution import ModelLike, ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import TorchRuntime, load_network


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
    format: str | None = None,
    output: Path | None = None,
    *,
    dtype: Dtype = "float32",
    verify: bool = True,
    force: bool = False,
    on_event: OnEvent = lambda event: None,
) -> ExportResult:
    """Export a model, compare its answers with those of PyTorch, and write it.

    model: a shipped model, a checkpoint file or a run folder.
    format: a name of `formats.FORMATS`; by default the one that the name of the output tells, or `onnx`.
    output: the file or folder to write, by default one in the current folder that has the model's name; `-`
        is standard output.
    verify: without it, the answers are not compared, and the files say so.

    Raises:
        UsageError: there is no such format, or it cannot hold the architecture of the model.
        ModelError: there is no such model, or its checkpoint is damaged.
        OutputError: the output exists and `force` is not given, or it cannot be written.
        EnvironmentFault: a package or a program is missing that writes or runs the format.
        QualityError: the exported model answers otherwise than PyTorch. Nothing is written.
    """
    kind = find_format(format, output, dtype)
    resolved = resolve_model(model)
    target = output or Path(f"{resolved.id.rpartition('@')[0]}{kind.ending}")
    check_output(target, kind, force)
    module, _, function = kind.target.partition(":")
    prepare: Callable[[Source], Exporter] = getattr(import_module(f"digitcli.export.{module}"), function)
    on_event(Notice(f"Exporting {resolved.name}", routine=True))
    source, original = _source(resolved, dtype, verify)
    exporter = prepare(source)
    parity = rounding = None
    if verify:
        on_event(Notice("Comparing its answers with those of PyTorch", routine=True))
        parity, rounding = _verify(source, exporter, kind, original)
        check_output(target, kind, force)  # again, because the comparison took a while
    if kind.files:
        write_folder(target, exporter.files)
    else:
        (content,) = exporter.files.values()
        write_whole(target, content)
    notes: tuple[str, ...] = ()
    if resolved.header.weight_bits and dtype != "int8" and "int8" in kind.dtypes:
        bits = resolved.header.weight_bits
        notes = (f"The weights are stored as floats; --dtype int8 keeps the {bits}-bit integers.",)
    return ExportResult(
        path=str(target),
        format=kind.name,
        dtype=dtype,
        size_bytes=sum(map(len, exporter.files.values())),
        model=resolved.id,
        parity=parity,
        rounding=rounding,
        facts=exporter.facts,
        notes=notes,
    )


def _source(model: ResolvedModel, dtype: Dtype, verify: bool) -> tuple[Source, nn.Module | None]:
    """Return what is exported, and the network before its weights were rounded; None if they were not."""
    network, original = load_network(model), None
    if dtype == "int8" and not quantized_layers(network):
        original = copy.deepcopy(network)
        quantize_weights(network, 8)
    return Source(model, with_plain_weights(copy.deepcopy(network)), network, dtype, verify), original


def _verify(
    source: Source, exporter: Exporter, format: Format, original: nn.Module | None
) -> tuple[Parity, Parity | None]:
    """Run the files in a folder of their own, and compare their answers with PyTorch and before rounding.

    original: the network before its weights were rounded; None if they were not.

    Raises:
        QualityError: they differ from PyTorch.
    """
    batches = example_batches(source, exporter.examples)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in exporter.files.items():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_bytes(content)
        path = Path(folder) if format.files else Path(folder, *exporter.files)
        actual = exporter.run(path, batches)

    def compared(network: nn.Module) -> Parity:
        runtime = TorchRuntime(network)
        return compare(source, [runtime.run(batch) for batch in batches], actual)

    parity = compared(source.network)
    check(parity)
    return parity, None if original is None else compared(original)


def runtime_graph(runtime: str, name: str, network: nn.Module, model: ResolvedModel | None) -> bytes:
    """Return the file with which onnxruntime or tflite computes a network, for `benchmark` and `compress`.

    Raises:
        UsageError: the format cannot hold the network.
        EnvironmentFault: the packages that write the file are not installed.
    """
    if runtime == "tflite":
        from digitcli.export.channels_last import channels_last
        from digitcli.export.plain_layers import plain_layers
        from digitcli.export.tflite_file import tflite_bytes

        return tflite_bytes(channels_last(plain_layers(network, name, "tflite")), "float32", {}, name)
    from digitcli.export.onnx_file import export_graph, graph_of_model

    graph = export_graph(network, "digit") if model is None else graph_of_model(model)
    content: bytes = graph.SerializeToString()
    return content
