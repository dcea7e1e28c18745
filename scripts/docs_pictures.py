"""Draw the pictures of terminals in docs/: `python scripts/docs_pictures.py predict models` draws these two.

Without names every picture is drawn. The commands really run, training included (6 minutes): a picture shows
what a command printed.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from rich.console import Console

from digitcli import TrainConfig, console
from digitcli.cli.evaluate import EvaluateOptions, evaluate
from digitcli.cli.models import models
from digitcli.cli.predict import PredictOptions, predict
from digitcli.cli.train import TrainingView, _table
from digitcli.events import Event, StepDone
from digitcli.recognition.annotation import annotate
from digitcli.recognition.reader import Reader
from digitcli.training.trainer import train

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
WIDTH = 100
RUN_WIDTH, PHOTOGRAPH_HEIGHT, GAP = 66, 420, 24  # columns of the terminal, and pixels beside it
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


def draw(name: str, command: str, run: Callable[[], None], width: int = WIDTH) -> None:
    """Run a command on a console that records, and write the record as an SVG picture."""
    screen = Console(
        record=True,
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        force_interactive=False,
        highlight=False,
    )
    console.out = console.err = screen
    screen.print(f"[bold green]$[/] {command}")
    run()
    screen.save_svg(str(DOCS / f"{name}.svg"), title="digitcli")


def draw_run() -> None:
    """Draw a photograph beside what the terminal prints for it."""
    photograph = DOCS / "pictures" / "page.jpg"
    with Image.open(photograph) as opened:
        scale = PHOTOGRAPH_HEIGHT / opened.height
        width = round(opened.width * scale)
        small = opened.convert("RGB").resize((2 * width, 2 * PHOTOGRAPH_HEIGHT))  # sharp on dense screens
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=70)
    command = f"digitcli predict {photograph.relative_to(ROOT)}"
    draw("run", command, lambda: read(str(photograph.relative_to(ROOT))), width=RUN_WIDTH)
    terminal = (DOCS / "run.svg").read_text()
    sides = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', terminal)
    assert sides is not None
    shown_width, shown_height = float(sides[1]), float(sides[2])
    height = max(PHOTOGRAPH_HEIGHT, shown_height)
    image = base64.b64encode(stream.getvalue()).decode()
    (DOCS / "run.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + GAP + shown_width:g} {height:g}">\n'
        f'<image width="{width}" height="{PHOTOGRAPH_HEIGHT}" href="data:image/jpeg;base64,{image}"/>\n'
        f'<svg x="{width + GAP}" width="{shown_width:g}" height="{shown_height:g}" {terminal[4:]}\n</svg>\n'
    )


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


def read(picture: str) -> None:
    """Run `digitcli predict` on one picture."""
    predict(PredictOptions(pictures=(picture,)))


PICTURES: dict[str, Callable[[], None]] = {
    "predict": lambda: draw("predict", "digitcli predict image.png", lambda: read("image.png")),
    "run": draw_run,
    "annotated": draw_annotated,
    "evaluate": lambda: draw(
        "evaluate", "digitcli evaluate cnn", lambda: evaluate(EvaluateOptions(models=("cnn",)))
    ),
    "models": lambda: draw("models", "digitcli models", models),
    "layers": lambda: draw("layers", "digitcli models cnn", lambda: models("cnn")),
    "train": lambda: draw("train", "digitcli train --arch cnn", train_cnn),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
