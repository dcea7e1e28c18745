"""torch.export: a program with its weights in one file, which PyTorch runs without digitcli."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.export import Dim

from digitcli.export.network import AllOutputs, example_input
from digitcli.export.other_process import run_in_process
from digitcli.export.source import Exporter, Images, Outputs, Source, describe

DYNAMIC_AXES = {"digit": (0,), "line": (0, 3), "page": (0, 2, 3)}
FACTS_FILE = "digitcli.json"  # the file in the archive that says what the input and the outputs are
# Runs in a process that never imports digitcli: the file must hold all that is needed.
SCRIPT = """
import sys
import numpy, torch

program = torch.export.load(sys.argv[1]).module()
batches, results = numpy.load(sys.argv[2]), {}
for name in batches:
    with torch.inference_mode():
        for number, output in enumerate(program(torch.from_numpy(batches[name]))):
            results[f"{name}_{number}"] = output.numpy()
numpy.savez(sys.argv[3], **results)
"""


def prepare(source: Source) -> Exporter:
    """Prepare the export of a model to one `.pt2` file."""
    task = source.model.header.task
    content = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecated functions
        program = torch.export.export(
            AllOutputs(source.network).eval(),
            (example_input(source.network, task),),
            dynamic_shapes=({axis: Dim.AUTO for axis in DYNAMIC_AXES[task]},),
        )
        program.example_inputs = None  # they would be stored as a pickle
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it names the files of this machine
        facts = json.dumps(describe(source), indent=2)
        torch.export.save(program, content, extra_files={FACTS_FILE: facts})
    operations = sum(node.op == "call_function" for node in program.graph.nodes)
    return Exporter({"model.pt2": content.getvalue()}, {"operations": operations}, _run)


def _run(path: Path, batches: Sequence[Images]) -> list[Outputs]:
    return run_in_process(["-W", "ignore", "-c", SCRIPT, path], batches)
