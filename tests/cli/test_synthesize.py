"""`digitcli synthesize` writes a folder of pictures and summarizes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.processes import Run, modules_loaded_by


def test_it_writes_a_folder_only_over_another_with_force(digitcli: Run, tmp_path: Path) -> None:
    done = digitcli("synthesize", "--out", "lines", "--count", "5", "--seed", "3", "--format", "json")
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout).items() >= {"folder": "lines", "count": 5, "seed": 3}.items()
    labels = (tmp_path / "lines" / "labels.csv").read_text()
    assert labels.startswith("file,label,raw\n") and len(labels.splitlines()) == 6
    assert len(list((tmp_path / "lines").glob("*.png"))) == 5
    assert digitcli("synthesize", "--out", "lines", "-n", "2").returncode == 7
    assert (tmp_path / "lines" / "labels.csv").read_text() == labels
    done = digitcli("synthesize", "--out", "lines", "-n", "2", "--force")
    assert done.returncode == 0 and "boxes.json" in done.stdout


@pytest.mark.parametrize(
    "arguments, code",
    [
        ((), 2),
        (("--out", "a", "--count", "0"), 2),
        (("--out", "a", "--seed", "-1"), 2),
        (("--out", "/dev/null"), 7),
    ],
)
def test_mistakes_end_with_their_exit_code_and_write_nothing(
    digitcli: Run, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    done = digitcli("synthesize", *arguments)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert done.stdout == "" and done.stderr and not list(tmp_path.iterdir())


def test_mistakes_load_no_heavy_package_and_synthesis_no_torch() -> None:
    code = (
        "sys.argv[1:] = ['synthesize', '--out', '/dev/null']\nfrom digitcli.cli import exit_code_of_run\n"
        "exit_code_of_run()\nprint()"
    )
    assert not {"torch", "numpy", "cv2", "PIL"} & modules_loaded_by(code)
    assert not {"torch", "torchvision"} & modules_loaded_by("import digitcli.synthesis.picture_folders")
