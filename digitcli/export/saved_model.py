"""SavedModel: a folder with a graph and its variables, which TensorFlow runs without digitcli.

TensorFlow is never imported into the process of digitcli: `tensorflow_program.py` writes the folder, and runs
it, in a process of its own.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from digitcli.export.channels_last import channels_last
from digitcli.export.formats import FORMATS, check_packages
from digitcli.export.layers import plain_layers
from digitcli.export.source import Exporter, Images, Outputs, Source, describe
from digitcli.export.torch_file import run_in_process, run_python

PROGRAM = Path(__file__).with_name("tensorflow_program.py")
# The file of a SavedModel says nothing of its input; this folder is where TensorFlow lets programs add files.
FACTS_FILE = "assets.extra/digitcli.json"
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}  # errors only; the CPU


def prepare(source: Source) -> Exporter:
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
        names = [name for name in FORMATS["saved_model"].files if name != FACTS_FILE]
        files = {name: Path(written, name).read_bytes() for name in names}
    files[FACTS_FILE] = json.dumps(describe(source), indent=2).encode()
    return Exporter(files, {"operations": len(graph.operations)}, _run)


def _run(path: Path, batches: Sequence[Images]) -> list[Outputs]:
    return run_in_process([PROGRAM, "run", path], batches, ENVIRONMENT)
