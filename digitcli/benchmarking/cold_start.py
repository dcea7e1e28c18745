"""How long a person waits: `digitcli predict` from the start of its process to its end."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from digitcli.benchmarking.measurement import Calls, Subject, first_digits
from digitcli.errors import EnvironmentFault

WARM_UP_PROCESSES, PROCESSES = 1, 9


def measure_processes(subject: Subject) -> Calls:
    """Let `digitcli predict` read a picture of a test digit, each time in a process of its own.

    Raises:
        EnvironmentFault: one ends with an error.
    """
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        picture = str(Path(folder) / "digit.png")
        Image.fromarray(255 - first_digits(1)[0]).save(picture)
        command = [sys.executable, "-m", "digitcli", "predict", picture, "--model", subject.name]
        command += ["--device", str(subject.device), "--runtime", subject.runtime, "--format", "jsonl"]
        for _ in range(WARM_UP_PROCESSES + PROCESSES):
            started = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True)
            seconds.append(time.perf_counter() - started)
            if done.returncode:
                raise EnvironmentFault(f"digitcli predict failed: {done.stderr.strip()}", "Leave --cold out.")
    return Calls(seconds[WARM_UP_PROCESSES:], None, None)
