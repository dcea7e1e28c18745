"""Draw the terminal pictures of README.md: `python scripts/readme_pictures.py` writes docs/*.svg.

The commands are really run, training included; what a picture shows is what they printed.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from digitcli import console
from digitcli.cli.evaluate import evaluate
from digitcli.cli.models import models
from digitcli.cli.predict import predict
from digitcli.cli.train import _table
from digitcli.cli.views.training import TrainingView
from digitcli.config import TrainConfig
from digitcli.recognition.annotation import annotate
from digitcli.recognition.reader import Reader
from digitcli.training.events import Event, StepDone
from digitcli.training.trainer import train

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
WIDTH = 100
SHOWN_AT = 0.6  # of the training, the live view is caught


def main() -> None:
    """Draw them all."""
    os.chdir(ROOT)
    draw("predict", "digitcli predict image.png", lambda: predict(["image.png"]))
    draw("evaluate", "digitcli evaluate cnn", lambda: evaluate(["cnn"]))
    (DOCS / "annotated.png").write_bytes(annotated(DOCS / "pictures" / "page.jpg"))
    draw("models", "digitcli models", models)
    draw("layers", "digitcli models cnn", lambda: models("cnn"))
    draw("train", "digitcli train --arch cnn", train_cnn)


def draw(name: str, command: str, run: Callable[[], None]) -> None:
    """Run a command with a console that remembers, and write what it remembers."""
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
    print(f"docs/{name}.svg")


def annotated(path: Path) -> bytes:
    """A picture with what was read drawn into it."""
    return annotate(Reader(keep_pictures=True).read(path))


def train_cnn() -> None:
    """The default training, with its live view caught once on the way."""
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


if __name__ == "__main__":
    main()
