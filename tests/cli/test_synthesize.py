"""`digitcli synthesize` writes a folder of lines and summarizes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.processes import Run, modules_loaded_by


def test_it_writes_a_folder_and_prints_a_summary(digitcli: Run, tmp_path: Path) -> None:
    done = digitcli("synthesize", "--out", "lines", "--count", "5", "--seed", "3", "--format", "json")
    assert done.returncode == 0 and done.stderr == ""
    result = json.loads(done.stdout)
    assert result.items() >= {"folder": "lines", "count": 5, "seed": 3, "strokes": None}.items()
    labels = (tmp_path / "lines" / "labels.csv").read_text().splitlines()
    assert labels[0] == "file,label,raw" and len(labels) == 6
    assert len(list((tmp_path / "lines").glob("*.png"))) == 5


def test_it_writes_into_a_folder_that_is_not_empty_only_with_force(digitcli: Run, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("old")
    assert digitcli("synthesize", "--out", ".", "-n", "2").returncode == 7
    assert (tmp_path / "labels.csv").read_text() == "old"
    done = digitcli("synthesize", "--out", ".", "-n", "2", "--force")
    assert done.returncode == 0 and "in the package" in done.stdout and "boxes.json" in done.stdout


MISTAKES = {
    ("synthesize",): 2,
    ("synthesize", "--out", "a", "--count", "0"): 2,
    ("synthesize", "--out", "a", "--seed", "-1"): 2,
    ("synthesize", "--out", "a", "--strokes", "none.tra"): 3,
    ("synthesize", "--out", "/dev/null"): 7,
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_mistakes_end_with_their_exit_code_and_write_nothing(
    digitcli: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = digitcli(*arguments)
    assert done.returncode == MISTAKES[arguments] and "Traceback" not in done.stderr
    assert done.stdout == "" and done.stderr and not list(tmp_path.iterdir())


def test_a_file_without_strokes_ends_with_exit_code_3(digitcli: Run, tmp_path: Path) -> None:
    (tmp_path / "strokes.xz").write_bytes(b"none")
    done = digitcli("synthesize", "--out", "a", "--strokes", "strokes.xz")
    assert done.returncode == 3 and "archive.ics.uci.edu" in done.stderr and not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--out", "/dev/null"], ["--out", "a", "--strokes", "none"]]
)
def test_help_and_mistakes_load_no_heavy_package(arguments: list[str]) -> None:
    code = (
        f"sys.argv[1:] = ['synthesize', *{arguments}]\nfrom digitcli.cli import exit_code_of_run\n"
        "exit_code_of_run()\nprint()"
    )
    assert not {"torch", "numpy", "cv2", "PIL"} & modules_loaded_by(code)


def test_synthesis_loads_no_torch() -> None:
    assert not {"torch", "torchvision"} & modules_loaded_by("import digitcli.synthesis.lines")
