"""torch.export and SavedModel: programs that a process of its own runs, without digitcli.

TensorFlow is never imported into the process of digitcli: `tensorflow_program.py` writes the folder, and runs
it.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.export import Dim

from digitcli.architectures.summary import AllOutputs, example_input
from digitcli.errors import EnvironmentFault
from digitcli.export.channels_last import channels_last
from digitcli.export.exporter import Exporter, Images, Outputs, Source, describe
from digitcli.export.formats import FORMATS, check_packages
from digitcli.export.plain_layers import plain_layers
from digitcli.inference.runtime import as_batch

DYNAMIC_AXES = {"digit": (0,), "line": (0, 3), "page": (0, 2, 3), "gaps": (0, 2)}
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
PROGRAM = Path(__file__).with_name("tensorflow_program.py")
# The file of a SavedModel says nothing of its input; this folder is where TensorFlow lets programs add files.
ASSETS_FILE = "assets.extra/digitcli.json"
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}  # errors only; the CPU


def prepare_torch_export(source: Source) -> Exporter:
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
    return Exporter({"model.pt2": content.getvalue()}, {"operations": operations}, _run_torch_export)


def _run_torch_export(path: Path, batches: Sequence[Images]) -> list[Outputs]:
    return run_in_process(["-W", "ignore", "-c", SCRIPT, path], batches)


def prepare_saved_model(source: Source) -> Exporter:
    """Prepare the export of a model to a folder for TensorFlow.

    Raises:
        UsageError: the network has a layer that the graph cannot hold.
        EnvironmentFault: TensorFlow is not installed, or fails.
    """
    layers = plain_layers(source.network, source.model.header.architecture, "saved_model")
    check_packages(FORMATS["saved_model"])
    graph = channels_last(layers)
    with tempfile.TemporaryDirectory() as folder:
        description, written = Path(folder, "description"), Path(folder, "written")
        description.mkdir()
        operations = json.dumps([asdict(operation) for operation in graph.operations])
        Path(description, "operations.json").write_text(operations)
        np.savez(description / "constants.npz", **graph.constants)  # type: ignore[arg-type]
        run_python([PROGRAM, "write", description, written], ENVIRONMENT)
        names = [name for name in FORMATS["saved_model"].files if name != ASSETS_FILE]
        files = {name: Path(written, name).read_bytes() for name in names}
    files[ASSETS_FILE] = json.dumps(describe(source), indent=2).encode()
    return Exporter(files, {"operations": len(graph.operations)}, _run_saved_model)


def _run_saved_model(path: Path, batches: Sequence[Images]) -> list[Outputs]:
    return run_in_process([PROGRAM, "run", path], batches, ENVIRONMENT)


def run_python(arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    """Run this Python with arguments, and wait for its end.

    environment: variables that are set in addition.

    Raises:
        EnvironmentFault: the process ends with an error.
    """
    # -P: files in the current folder, or beside the program, must not take the place of packages.
    command = [sys.executable, "-P", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        last_line = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        cause = f"A process of Python for the exported model failed: {last_line}"
        raise EnvironmentFault(cause, "Check the installation with: digitcli doctor")


def run_in_process(
    arguments: Sequence[str | Path],
    batches: Sequence[Images],
    environment: Mapping[str, str] | None = None,
) -> list[Outputs]:
    """Compute the outputs for batches of images by a program in a process of its own.

    arguments: those of Python. The program gets two more: an `.npz` file with the batches `arr_0`, `arr_1`
        and so on, float32 (N, C, H, W) from 0 to 1, and the `.npz` file to write, in which `arr_1_0` is the
        first output for the second batch.

    Raises:
        EnvironmentFault: the process ends with an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        images, results = Path(folder, "images.npz"), Path(folder, "results.npz")
        np.savez(images, *map(as_batch, batches))
        run_python([*arguments, images, results], environment)
        with np.load(results) as stored:
            names = [[name for name in stored if name.startswith(f"arr_{n}_")] for n in range(len(batches))]
            return [tuple(stored[name] for name in parts) for parts in names]
