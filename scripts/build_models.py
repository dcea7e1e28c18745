"""Make the models in models/ from nothing: `python scripts/build_models.py WORK`.

    pip install -e '.[export]'

A model is a stage: the command on its card in `models/cards.toml` trains it in the folder WORK, then it is
stored in half precision, exported and quantized. Later stages use it: a teacher, a finder that chooses hard
negatives. Afterwards the confidence is calibrated, and the cards are written.

The same command continues where an earlier one has stopped, within a training, too. WORK/stages.json has the
hours of each stage, those of all cores added, and the SHA-256 of its weights. `--only NAME`, which may be
repeated, makes some of the stages.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

import graphs
import model_cards
from ship import MODELS, ship

from digitcli.atomic_write import write_whole
from digitcli.export.hugging_face import FACTS_FILE
from digitcli.inference.model_resolution import resolve_model

ROOT = Path(__file__).parents[1]
# Each stage stands behind those that it uses.
STAGES = (
    "cnn", "fast", "digit_or_none", "robust", "tiny", "micro",
    "finder", "glance", "reader", "grouper",
)  # fmt: skip
# What is run before the command on a card; training goes on where it was stopped.
BEFORE = {"digit_or_none": [f"python {Path(__file__).with_name('fetch_fonts.py')} fonts"]}
CALIBRATIONS = ("pictures", "pages", "limits")


@dataclass
class Stage:
    """What a stage took, over all attempts, and its digest once it is done."""

    core_hours: float = 0.0
    hours: float = 0.0
    sha256: str | None = None


def main() -> None:
    """Make the stages that are not done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="a folder for trainings, which is made")
    parser.add_argument("--only", action="append", choices=STAGES, default=[], help="a stage to make")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    cards = tomllib.loads((MODELS / FACTS_FILE).read_text(encoding="utf-8"))
    stages = [name for name in STAGES if name in (arguments.only or STAGES)]
    for name in stages:
        make(arguments.work, name, [*BEFORE.get(name, []), cards[name]["command"]])
    if any(resolve_model(name).header.task in ("line", "page") for name in stages):
        for command in CALIBRATIONS:
            run(["python", str(ROOT / "scripts/calibrate.py"), command], arguments.work)
    write_whole(MODELS / "README.md", model_cards.model_cards().encode())


def make(work: Path, name: str, commands: list[str]) -> None:
    """Make a stage unless it is done."""
    file = work / "stages.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    stage = Stage(**known.get(name, {}))
    if stage.sha256 is not None:
        return
    if any("--from" in command for command in commands):
        sys.exit(f"{name} goes on from other weights, so that it cannot be made from nothing.")
    began, used = time.perf_counter(), core_seconds()
    try:
        for command in commands:
            run(finished(shlex.split(command), name), work)
        ship(work / name, name)
        graphs.export_graphs([name])
        graphs.quantize_graphs([name])
        stage.sha256 = resolve_model(name).sha256
    finally:
        stage.hours += (time.perf_counter() - began) / 3600
        stage.core_hours += (core_seconds() - used) / 3600
        write_whole(file, (json.dumps({**known, name: asdict(stage)}, indent=2) + "\n").encode())
    print(f"{name}: {stage.core_hours:.2f} core-hours, {stage.sha256}", flush=True)


def finished(command: list[str], name: str) -> list[str]:
    """Return a command whose training has a folder, and goes on where it was stopped."""
    if command[:2] != ["digitcli", "train"]:
        return command
    folder = [] if "-o" in command else ["-o", name]
    return [*command, *folder, "--resume-or-start"]


def run(command: list[str], work: Path) -> None:
    """Run a command of this project in a folder; what it prints is shown. A failure ends the script."""
    program = {"digitcli": ["-m", "digitcli"], "python": []}[command[0]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    print(shlex.join(command), flush=True)
    done = subprocess.run([sys.executable, *program, *command[1:]], cwd=work, env=environment)
    if done.returncode:
        sys.exit(done.returncode)


def core_seconds() -> float:
    """Return the seconds that all cores have worked for this process and its children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
