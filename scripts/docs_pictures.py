"""Draw the pictures of terminals in docs/: `python scripts/docs_pictures.py predict models` draws these two.

Without names every picture is drawn. The commands really run, training included (6 minutes): a picture shows
what a command printed.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from digitcli import TrainConfig, console
from digitcli.cli.evaluate import evaluate
from digitcli.cli.models import models
from digitcli.cli.predict import predict
from digitcli.cli.train import TrainingView, _table
from digitcli.events import Event, StepDone
from digitcli.recognition.annotation import annotate
from digitcli.recognition.reader import Reader
from digitcli.training.trainer import train

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
WIDTH = 100
SHOWN_AT = 0.6  # share of the training after which the live view is caught


def main(names: list[str]) -> int:
    """Draw the pictures of these names, or all of them. Return the exit code."""
    if unknown := set(names) - set(PICTURES):
        print(f"There is no picture {', '.join(sorted(unknown))}. Give some of: {', '.join(PICTURES)}.")
        return 2
    os.chdir(ROOT)
    for name in names or PICTURES:
        PICTURES[name]()
        print(f"docs: drew {name}")
    return 0


def draw(name: str, command: str, run: Callable[[], None]) -> None:
    """Run a command on a console that records, and write the record as an SVG picture."""
    screen = Console(
        record=True,
        width=WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        force_interactive=False,
        highlight=False,
    )
    console.out = console.err = screen
    screen.print(f"[bold green]$[/] {command}")
    run()
    screen.save_svg(str(DOCS / f"{name}.svg"), title="digitcli")


def draw_annotated() -> None:
    """Draw a page with the answer and a box around every digit."""
    page = Reader(keep_pictures=True).read(DOCS / "pictures" / "page.jpg")
    (DOCS / "annotated.png").write_bytes(annotate(page))


def train_cnn() -> None:
    """Train the default architecture, and print the live view once on the way."""
    view = TrainingView()
    caught = False

    def on_event(event: Event) -> None:
        nonlocal caught
        view(event)
        if isinstance(event, StepDone) and event.progress >= SHOWN_AT and not caught:
            caught = True
            console.err.print(view.draw_progress(event))

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        result = train(TrainConfig(arch="cnn"), on_event=on_event)
    console.show_table(console.pairs(_table(result)))


PICTURES: dict[str, Callable[[], None]] = {
    "predict": lambda: draw("predict", "digitcli predict image.png", lambda: predict(["image.png"])),
    "annotated": draw_annotated,
    "evaluate": lambda: draw("evaluate", "digitcli evaluate cnn", lambda: evaluate(["cnn"])),
    "models": lambda: draw("models", "digitcli models", models),
    "layers": lambda: draw("layers", "digitcli models cnn", lambda: models("cnn")),
    "train": lambda: draw("train", "digitcli train --arch cnn", train_cnn),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
