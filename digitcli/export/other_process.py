"""Run Python programs in a process of their own, which need not import digitcli."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from digitcli.errors import EnvironmentFault
from digitcli.export.source import Images, Outputs
from digitcli.inference.onnx_runtime import as_batch


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
