"""Draw the pictures of terminals in docs/: `python scripts/docs_pictures.py predict models` draws these two.

Without names every picture is drawn. The commands really run, training included (6 minutes): a picture shows
what a command printed.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from console_blocks import ROOT, copy_pictures
from PIL import Image
from rich.console import Console
from rich.text import Text

from digitcli.recognition.annotation import annotate
from digitcli.recognition.reader import Reader

DOCS = ROOT / "docs"
PHOTOGRAPH = DOCS / "pictures" / "page.jpg"
PHOTOGRAPH_HEIGHT, GAP = 420, 24  # pixels of the photograph beside the terminal, and between them
# The command in each picture, and the columns of its terminal.
COMMANDS = {
    "predict": ("digitcli predict image.png", 100),
    "run": ("digitcli predict docs/pictures/page.jpg", 66),
    "evaluate": ("digitcli evaluate cnn", 100),
    "models": ("digitcli models", 100),
    "layers": ("digitcli models cnn", 100),
    "train": ("digitcli train --arch cnn", 100),
}


def main(names: list[str]) -> int:
    """Draw the pictures of these names, or all of them. Return the exit code."""
    known = [*COMMANDS, "annotated"]
    if unknown := set(names) - set(known):
        print(f"There is no picture {', '.join(sorted(unknown))}. Give some of: {', '.join(known)}.")
        return 2
    for name in names or known:
        if name == "annotated":
            (DOCS / "annotated.png").write_bytes(annotate(Reader(keep_pictures=True).read(PHOTOGRAPH)))
        else:
            draw(DOCS / f"{name}.svg", *COMMANDS[name])
        if name == "run":
            put_photograph_beside(DOCS / "run.svg")
        print(f"docs: drew {name}")
    return 0


def draw(path: Path, command: str, width: int) -> None:
    """Run a command, and write what it prints on a terminal as an SVG picture."""
    environment = {**os.environ, "COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    with tempfile.TemporaryDirectory() as folder:
        copy_pictures(Path(folder))
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(
            words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )  # fmt: skip
    screen = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, highlight=False)
    screen.print(f"[bold green]$[/] {command}")
    screen.print(Text.from_ansi(done.stdout))
    screen.save_svg(str(path), title="digitcli")


def put_photograph_beside(path: Path) -> None:
    """Draw the photograph beside what the terminal prints for it."""
    with Image.open(PHOTOGRAPH) as opened:
        width = round(opened.width * PHOTOGRAPH_HEIGHT / opened.height)
        small = opened.convert("RGB").resize((2 * width, 2 * PHOTOGRAPH_HEIGHT))  # sharp on dense screens
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=70)
    terminal = path.read_text()
    sides = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', terminal)
    assert sides is not None
    shown_width, shown_height = float(sides[1]), float(sides[2])
    height = max(PHOTOGRAPH_HEIGHT, shown_height)
    image = base64.b64encode(stream.getvalue()).decode()
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + GAP + shown_width:g} {height:g}">\n'
        f'<image width="{width}" height="{PHOTOGRAPH_HEIGHT}" href="data:image/jpeg;base64,{image}"/>\n'
        f'<svg x="{width + GAP}" width="{shown_width:g}" height="{shown_height:g}" {terminal[4:]}\n</svg>\n'
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
