"""README tells the truth: its commands run, its Python runs, its tree is the tree, its pictures are there."""

from __future__ import annotations

import re
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from digitcli.comparison.saved import read_comparison
from digitcli.recognition.reader import Reader
from tests.support.processes import Run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced code blocks in that language; "" for those that name none."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [block for named, block in fenced if named == language]


COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in blocks("console")
    for line in block.splitlines()
    if line.startswith("digitcli ")
]


def test_the_two_commands_that_set_everything_up_are_there() -> None:
    assert "    pip install . && digitcli train --arch cnn\n" in README
    assert "    pip install '.[test]' && pytest\n" in README


@pytest.fixture
def beside_the_pictures(tmp_path: Path) -> Path:
    """A folder in which the pictures that README names lie where they lie in the repository."""
    shutil.copy(ROOT / "image.png", tmp_path)
    shutil.copytree(ROOT / "docs" / "pictures", tmp_path / "docs" / "pictures")
    return tmp_path


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands_run(digitcli: Run, beside_the_pictures: Path, arguments: list[str]) -> None:
    before = sorted(beside_the_pictures.rglob("*"))
    dry = ["--dry-run"] if arguments[0] == "train" and "--print-config" not in arguments else []
    done = digitcli(*arguments, *dry)
    without_gpu = "cuda" in arguments and not torch.cuda.is_available()
    assert done.returncode == (6 if without_gpu else 0), done.stderr
    assert sorted(beside_the_pictures.rglob("*")) == before


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.splitlines()[0])
def test_python_runs(beside_the_pictures: Path, block: str) -> None:
    command = [sys.executable, "-c", block]
    done = subprocess.run(command, cwd=beside_the_pictures, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


EXAMPLES = {
    "image.png": "4",
    "docs/pictures/number.jpg": "40713",
    "docs/pictures/page.jpg": "8052 314 159 27182",
    "docs/pictures/blackboard.jpg": "2026",
    "docs/pictures/form.png": "83059",
    "docs/pictures/blank.jpg": "",
}


def test_the_example_pictures_are_read_right() -> None:
    paths = [ROOT / name for name in EXAMPLES]
    assert [reading.text for reading in Reader(device="cpu").read_all(paths)] == list(EXAMPLES.values())


def test_the_tree_is_the_tree() -> None:
    tree = next(block for block in blocks("") if block.startswith("digitcli/"))
    named = sorted(re.findall(r"\b\w+\.py\b", tree))
    files = [*(ROOT / "digitcli").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    assert named == sorted(path.name for path in files if not path.name.startswith("__"))


def test_the_table_of_architectures_says_what_the_saved_runs_say() -> None:
    results = README.split("**Side by side**")[1].split("**Over several seeds**")[0].splitlines()
    for model in read_comparison(ROOT / "benchmarks" / "zoo.json"):
        (row,) = [line for line in results if line.startswith(f"| `{model.label}` |")]
        mean = 100 * statistics.fmean(run.accuracy for run in model.runs)
        assert f"| {mean:.2f} " in row and f"| {len(model.runs)} |" in row


def test_the_table_of_switches_says_what_the_saved_runs_say() -> None:
    table = README.split("What each switch changes")[1].split("Clean digits do not show")[0].splitlines()
    for model in read_comparison(ROOT / "benchmarks" / "switches.json"):
        switch = model.label.removeprefix("fast:epochs=8").removeprefix(",")
        (row,) = [line for line in table if line.startswith(f"| `{switch}` |" if switch else "| as it is |")]
        assert len(model.runs) == 5
        assert f"| {100 * statistics.fmean(run.accuracy for run in model.runs):.2f} ± " in row


@pytest.mark.parametrize("file", ["stochastic_depth", "dropout"])
def test_the_table_of_what_fast_has_not_says_what_the_saved_runs_say(file: str) -> None:
    plain, changed = sorted(
        read_comparison(ROOT / "benchmarks" / f"{file}.json"), key=lambda model: len(model.label)
    )
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{changed.label}` |")]
    for model in (plain, changed):
        assert len(model.runs) == 5
        assert f"| {100 * statistics.fmean(run.accuracy for run in model.runs):.2f} ± " in row


def test_every_figure_is_filled_in() -> None:
    assert not re.search(r"\b(RESULTS|FIG)_", README)


def test_what_is_linked_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
