"""Compile an exported C program, run it on images, and measure its size."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from digitcli.errors import EnvironmentFault, QualityError
from digitcli.export.source import Images, Outputs
from digitcli.export.templating import TEMPLATES
from digitcli.threads import usable_cores

OPTIONS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2")
CHECK = TEMPLATES / "check.c"
CLASSES = 10


def find_compiler(*, required: bool) -> str | None:
    """Return the C compiler of this machine: that of the variable CC, or else cc, gcc or clang.

    Raises:
        EnvironmentFault: there is none, and it is required.
    """
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    if required:
        remedy = "Install gcc or clang, or write the files without a check with --no-verify."
        raise EnvironmentFault("There is no C compiler to check the exported program.", remedy)
    return None


def run(folder: Path, batches: Sequence[Images]) -> list[Outputs]:
    """Compile the program in a folder and compute the logits of images (N, 28, 28).

    Raises:
        QualityError: the program cannot be compiled without a warning, stops before its end, or its answer is
            not its best logit.
        EnvironmentFault: this machine cannot run what the compiler makes.
    """
    compiler = find_compiler(required=True)
    assert compiler is not None
    program = folder / "check"
    _compile(compiler, "-I", folder, folder / "digit_model.c", CHECK, "-o", program, "-lm")
    with ThreadPoolExecutor(usable_cores()) as pool:  # each thread waits for a process
        return list(pool.map(lambda batch: _run_batch(program, batch), batches))


def _run_batch(program: Path, batch: Images) -> Outputs:
    try:
        done = subprocess.run([program], input=batch.tobytes(), capture_output=True, check=True)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()[-300:] or f"exit code {error.returncode}"
        raise QualityError(f"The exported program stops before its end: {reason}") from error
    except OSError as error:
        remedy = "Name a compiler for this machine in the variable CC, or give --no-verify."
        raise EnvironmentFault(f"This machine cannot run the compiled program: {error}.", remedy) from error
    rows = np.frombuffer(done.stdout, np.float32).reshape(-1, CLASSES + 1)
    logits, answers = rows[:, :CLASSES], rows[:, CLASSES]
    if not np.array_equal(logits.argmax(axis=-1), answers):
        raise QualityError("The function digit_predict returns another digit than its logits tell.")
    return (logits,)


def flash_bytes(files: Mapping[str, bytes], compiler: str) -> dict[str, str | int]:
    """Return the bytes of the compiled program, and of its constants; nothing where `size` is missing."""
    size = shutil.which("size")
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        target = Path(folder, "digit_model.o")
        _compile(compiler, "-c", Path(folder, "digit_model.c"), "-o", target)
        if size is None:
            return {}
        done = subprocess.run([size, target], capture_output=True, text=True, check=True)
        constants = _bytes_of_constants(size, target)
    heading, values = (line.split() for line in done.stdout.splitlines()[:2])
    machine = os.uname().machine if hasattr(os, "uname") else "this machine"
    if heading[:2] != ["text", "data"]:
        return {}
    # Constants that hold addresses count as data where a compiler makes code that can lie anywhere.
    flash = int(values[0]) + int(values[1])
    return {"flash_bytes": flash, "constant_bytes": constants, "flash_of": machine}


def _bytes_of_constants(size: str, target: Path) -> int:
    """Return the bytes of the sections of a compiled program that hold constants, and no code."""
    done = subprocess.run([size, "-A", target], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return sum(int(row[1]) for row in rows if row and row[0].startswith((".rodata", ".data")))


def _compile(compiler: str, *arguments: str | Path) -> None:
    done = subprocess.run([compiler, *OPTIONS, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise QualityError(f"The exported program cannot be compiled: {done.stderr.strip()}")
