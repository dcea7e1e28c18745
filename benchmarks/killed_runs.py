"""Kill workers and drivers of runs at random moments, and compare what remains with an undisturbed run.

    python benchmarks/killed_runs.py FOLDER --engine ray --seeds 20
    python benchmarks/killed_runs.py FOLDER --engine ray --seeds 80 --sleeps
    python benchmarks/killed_runs.py FOLDER --engine dask --seeds 10   # or spark; local is this machine alone

60 files in portions of five: digits, files that are damaged, empty or gone, and some that kill the process
that opens them. Dask and Spark run the recipes of examples/engines. Each seed has a line in
FOLDER/ENGINE.jsonl; the same command continues. `--sleeps` takes a reader that sleeps for 20 ms a picture in
place of the real one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import pyarrow.parquet as pq
import typer
from support import open_app

from digitcli.bulk.verification import verify
from digitcli.data.mnist import load_mnist_test

app = open_app(__doc__)
FILES, PORTION, WORKERS = 60, 5, 2
KILLS = (1, 4)  # range of the kills of a seed
ENGINES = Path(__file__).parents[1] / "examples" / "engines"
START_SHARE, START_SECONDS = 0.25, (0.5, 8.0)  # kills while an engine starts, and the range of their time
WORK_SECONDS = (0.0, 8.0)  # range of the time of the other kills, from the first portion that is begun
LIMIT_SECONDS = 300  # of a run
# Loaded by every process of Python: a file that begins with KILL ends the process that opens it.
HOOK = """
import importlib.abc, importlib.util, os, sys

class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        patch = PATCHES.pop(name)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (execute(module), patch(module))
        return spec

def kill(module):
    opened = module.open_pages
    def open_pages(source, **options):
        if isinstance(source, bytes) and source.startswith(b"KILL"):
            os._exit(137)
        return opened(source, **options)
    module.open_pages = open_pages

def sleep(module):
    import time
    from dataclasses import replace
    from digitcli.recognition.decision import decide_error
    from digitcli.errors import PictureError
    def read_all(self, pictures):
        for index, picture in enumerate(pictures):
            time.sleep(0.02)
            if isinstance(picture.content, bytes) and picture.content.startswith(b"KILL"):
                os._exit(137)
            error = PictureError("not_an_image", f"It has {len(str(picture.content))} characters.")
            yield replace(decide_error(error), file=picture.name, index=index, model=self.name)
    module.Reader.read_all = read_all

PATCHES = {"digitcli.recognition.pipeline": kill}
if os.environ.get("KILLED_RUNS_SLEEP"):
    PATCHES = {"digitcli.recognition.reader": sleep}
sys.meta_path.insert(0, Hook())
"""


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(help="A folder for files and results.")],
    engine: str = "local",
    seeds: int = 20,
    sleeps: bool = False,
) -> None:
    """Run and kill until every seed has its line."""
    folder = folder.resolve()
    prepare(folder)
    environment = {
        **os.environ, "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": f"{folder / 'hook'}{os.pathsep}{Path(__file__).parents[1]}",
    }  # fmt: skip
    if sleeps:
        environment["KILLED_RUNS_SLEEP"] = "1"
    name = f"{engine}{'-sleeps' * sleeps}"
    reference = folder / f"reference-{'sleeps' * sleeps}"
    finish(folder, reference, "local", environment)
    lines = folder / f"{name}.jsonl"
    known = {json.loads(line)["seed"] for line in lines.read_text().splitlines()} if lines.exists() else set()
    for seed in range(seeds):
        if seed not in known:
            line = one_seed(folder, reference, engine, seed, environment)
            with lines.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)


def prepare(folder: Path) -> None:
    """Write the files, the list of them, the manifest and the hook, unless they are there."""
    if (folder / "manifest.parquet").exists():
        return
    scans, images = folder / "scans", load_mnist_test().images
    scans.mkdir(parents=True, exist_ok=True)
    names = [scans / f"{number:02}.png" for number in range(FILES)]
    for number, path in enumerate(names):
        content = cv2.imencode(".png", 255 - np.pad(images[number], 20))[1].tobytes()
        kind = number % 20
        if kind == 3:
            content = content[:100]
        elif kind == 7:
            content = b""
        elif kind == 11:
            content = b"KILL" + content
        if kind != 15:  # that one is gone
            path.write_bytes(content)
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in names))
    (folder / "hook").mkdir(exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    command = ["plan", "list.txt", "-o", "manifest.parquet", "--portion-size", str(PORTION)]
    subprocess.run([sys.executable, "-m", "digitcli", *command], cwd=folder, check=True)


def start(folder: Path, out: Path, engine: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a run in a session of its own."""
    if engine in ("dask", "spark"):
        command = [str(ENGINES / f"{engine}_portions.py"), "manifest.parquet", str(out)]
    else:
        predict = ["predict", "--manifest", "manifest.parquet", "-o", str(out), "--engine", engine]
        command = ["-m", "digitcli", *predict, "--workers", str(WORKERS)]
    return subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(folder: Path, out: Path, engine: str, environment: dict[str, str]) -> int:
    """Give the command again until all portions are read; return how often that was."""
    for attempt in range(1, 20):
        process = start(folder, out, engine, environment)
        errors = end_of(process)
        if process.returncode == 0:
            return attempt
        print(errors[-300:], flush=True)
    raise SystemExit(f"{out} was never whole.")


def end_of(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a run, and return its messages; what waits for ever is ended, as an attempt."""
    try:
        return process.communicate(timeout=LIMIT_SECONDS)[1]
    except subprocess.TimeoutExpired:
        for each in [process.pid, *descendants(process.pid)]:
            kill(each)
        return f"It ran for {LIMIT_SECONDS} seconds. {process.communicate()[1]}"


def one_seed(
    folder: Path, reference: Path, engine: str, seed: int, environment: dict[str, str]
) -> dict[str, object]:
    """Kill a run some times, finish it, and compare it."""
    chosen, out = random.Random(seed), folder / f"out-{engine}"
    shutil.rmtree(out, ignore_errors=True)
    killed: list[tuple[str, int]] = []  # what was killed, and how many parts there were
    for _ in range(chosen.randint(*KILLS)):
        process = start(folder, out, engine, environment)
        if chosen.random() < START_SHARE:
            time.sleep(chosen.uniform(*START_SECONDS))
        else:
            wait_for_work(process, out)
            time.sleep(chosen.uniform(*WORK_SECONDS))
        workers = [each for each in descendants(process.pid) if is_worker(each)]
        parts = len(list(out.glob("*.parquet")))
        if workers and chosen.random() < 0.5:
            kill(chosen.choice(workers))
            killed.append(("worker", parts))
            end_of(process)
        elif process.poll() is None:
            family = descendants(process.pid)
            process.kill()
            process.communicate()
            killed.append(("driver", parts))
            for each in family:  # what an engine leaves behind would take the cores of the next run
                kill(each)
        else:
            process.communicate()
    attempts = finish(folder, out, engine, environment)
    result = verify(str(out))
    names = sorted(path.name for path in reference.glob("*.parquet"))
    files = Counter(
        file for part in out.glob("*.parquet") for file in pq.read_table(part)["file"].to_pylist()
    )
    listed = (folder / "list.txt").read_text().splitlines()
    differing = [name for name in names if (out / name).read_bytes() != (reference / name).read_bytes()]
    return {
        "seed": seed, "killed": killed, "attempts": attempts, "whole": result.is_whole,
        "missing": len(set(listed) - files.keys()), "double": files.total() - len(files),
        "differing": differing, "reasons": dict(result.by_reason),
    }  # fmt: skip


def wait_for_work(process: subprocess.Popen[str], out: Path) -> None:
    """Wait until a run has begun a portion, or has ended."""
    began = time.time()
    while process.poll() is None:
        time.sleep(0.05)
        with contextlib.suppress(FileNotFoundError):  # a portion that was just finished
            if any(path.stat().st_mtime > began for path in out.glob("*.try")):
                return


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, directly or not."""
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def children(pid: int) -> Iterator[int]:
    """Yield the processes that a process has started itself."""
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            yield from map(int, listed.read_text().split())
        except OSError:
            continue


def is_worker(pid: int) -> bool:
    """Tell whether a process reads portions."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(name in command for name in (b"spawn_main", b"ray::", b"pyspark.daemon"))


def kill(pid: int) -> None:
    """Kill a process at once, if it still runs."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    app()
