"""Measure what portions cost: `python benchmarks/portions.py KIND FOLDER`.

Seconds are those of the processor.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import typer

from digitcli.bulk.engines import begin_run
from digitcli.bulk.manifest import Entry, plan_pictures, write_manifest
from digitcli.bulk.parquet import to_bytes, to_table
from digitcli.bulk.portions import FACTS, PART, PortionResult, read_portion, worker_reader
from digitcli.errors import PictureError
from digitcli.recognition.decision import decide_error
from digitcli.recognition.reader_config import ReaderConfig

app = typer.Typer(help=__doc__, add_completion=False)  # `support` loads PyTorch, which a worker has not
PORTION = 1_000
# Runs a command and prints its CPU seconds and its largest resident set. A child process is charged with the
# memory of the one that starts it, so that a small one must.
LAUNCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=2)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
PLACE = 9_191_919  # where the number of a portion stands in a part
MEGABYTE = 1e6


@app.command()
def pictures(folder: Path, count: int = PORTION) -> None:
    """Draw pictures of one number each, by the generators that training never sees."""
    from judging.ink import judging_room  # a worker, which is measured below, has not loaded them
    from judging.score import WORLDS, single_number

    from digitcli.data.mnist import load_mnist_test

    room, worlds = judging_room(load_mnist_test()), list(WORLDS.values())
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        scene = single_number(worlds[number % len(worlds)], np.random.default_rng(number), room)
        cv2.imwrite(str(folder / f"{number:06}.png"), scene.picture)


@app.command()
def parts(folder: Path, count: int = 100_000) -> None:
    """Verify this many parts of one row."""
    manifest, out = str(folder / "manifest.parquet"), folder / "out"
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest((Entry(f"{number}.png", f"/gone/{number}.png") for number in range(count)), manifest, 1)
    config = ReaderConfig().with_identity()
    begin_run(str(out), manifest, config)
    row = to_table([decide_error(PictureError("not_found", "It does not exist.", ""))])
    result = PortionResult(PLACE, count, 1, 1, config.digest, {"error": 1}, {"not_found": 1})
    content = to_bytes(row, {FACTS: json.dumps(vars(result), sort_keys=True)})
    for portion in range(count):  # quicker than to write Parquet each time
        number = str(portion).rjust(len(str(PLACE)))
        (out / PART.format(portion)).write_bytes(content.replace(str(PLACE).encode(), number.encode()))
    command = [sys.executable, "-c", LAUNCH, sys.executable, "-m", "digitcli", "verify", str(out)]
    seconds, peak = map(float, subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split())
    print(json.dumps({"parts": count, "cpu_seconds": seconds, "peak_mb": peak * 1024 / MEGABYTE}))


@app.command()
def worker(folder: Path, seconds: float = 300) -> None:
    """Read the pictures of a folder again and again as a worker does; print a line for each time."""
    config = ReaderConfig()
    worker_reader(config)
    print(json.dumps({"start_cpu_seconds": round(time.process_time(), 2), "torch": "torch" in sys.modules}))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        manifest = f"{temporary}/manifest.parquet"
        plan_pictures([str(folder)], manifest, PORTION)
        for number in itertools.count(1):
            result = read_portion(manifest, 0, f"{temporary}/{number}", config)
            line = {
                "pictures": number * result.pictures, "own_mb": own_bytes() / MEGABYTE,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE,
                "bytes_per_page": Path(temporary, str(number), PART.format(0)).stat().st_size / result.pages,
                "cpu_ms_per_picture": 1e3 * result.cpu_seconds / result.pictures,
            }  # fmt: skip
            print(json.dumps({name: round(value, 1) for name, value in line.items()}), flush=True)
            if time.monotonic() - began > seconds:
                return


def own_bytes() -> int:
    """Return the memory that only this process has (USS)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    app()
