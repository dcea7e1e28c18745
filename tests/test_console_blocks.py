"""The console blocks of README and docs/ show what the commands print."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from scripts import console_blocks
from scripts.console_blocks import PAGES, agree, differences, outputs, rewritten
from tests.support.processes import Run

QUICK = {page: list(outputs(page.read_text())) for page in PAGES}
SHOWN = """\
picture   reads  sure
a.png     4      98.7 %
b.png     blank  89.3 %  that nothing is written
"""
PAGE = f"""\
Text.

```console
$ digitcli predict pictures   # a folder
{SHOWN}$ digitcli predict others -o others.csv
$ digitcli train
epoch 1/2  loss 0.7270  14,390 images/s  0:03
...
test       99.2 %
```
"""


def pretend(*texts: str) -> console_blocks.Run:
    """Return a function that pretends to run commands, which print these texts one after the other."""
    rest = iter(texts)
    progress = "Reading\nepoch 1/2  loss 0.7266  9,000 images/s  0:09\n"
    return lambda arguments: CompletedProcess(arguments, 0, next(rest), progress)


@pytest.mark.parametrize("page", [page for page in PAGES if QUICK[page]], ids=lambda page: page.name)
def test_the_outputs_on_a_page_are_those_of_the_program(page: Path, tmp_path: Path, digitcli: Run) -> None:
    def run(arguments: Sequence[str]) -> CompletedProcess[str]:
        return digitcli(*arguments, env=console_blocks.ENVIRONMENT)

    console_blocks.copy_pictures(tmp_path)
    different = [(output.command, printed) for output, printed in differences(QUICK[page], run)]
    assert different == [], "run python scripts/console_blocks.py"


def test_all_readings_on_the_pages_are_checked() -> None:
    for page in PAGES:
        tables = re.findall(r"^ *picture +reads +sure$", page.read_text(), re.MULTILINE)
        checked = [output for output in QUICK[page] if output.lines[0].startswith("picture ")]
        assert len(tables) == len(checked), page.name


def test_a_text_agrees_with_itself_whatever_its_columns_and_small_changes_of_percentages() -> None:
    for change, agrees in {
        ("", ""): True,
        ("     ", "  "): True,  # columns of another width
        ("98.7 %", "98.2 %"): True,
        ("98.7 %", "96.7 %"): False,
        ("blank", "refused"): False,
        ("  4  ", "  9  "): False,
        ("b.png     blank  89.3 %  that nothing is written\n", ""): False,
        ("written\n", "written\nc.png     7      99.9 %\n"): False,
    }.items():
        assert agree(SHOWN.splitlines(), SHOWN.replace(*change).splitlines()) is agrees, change


def test_a_gap_stands_for_any_number_of_lines() -> None:
    shown = ["...", "a 1", "... and so on", "d 4"]
    assert agree(shown, ["a 1", "d 4"])
    assert agree(shown, ["title", "a 1", "b 2", "c 3", "d 4"])
    assert not agree(shown, ["title", "b 2", "d 4"])
    assert not agree(shown, ["a 1", "d 4", "e 5"])


def test_an_output_that_is_written_anew_keeps_its_gaps() -> None:
    shown = ["...", "accuracy 97 %, 3 wrong", "... and so on"]
    printed = ["model cnn", "accuracy 99 %, 1 wrong", "device cpu"]
    assert rewritten(shown, printed) == ["...", "accuracy 99 %, 1 wrong", "... and so on"]
    assert rewritten(["a 1", "b 2"], ["a 1", "b 3", "c 4"]) == ["a 1", "b 3", "c 4"]


def test_progress_that_a_block_shows_is_compared_but_not_its_times() -> None:
    shown = list(outputs(PAGE, everything=True))
    assert [output.command.split()[1] for output in shown] == ["predict", "train"]
    assert list(differences(shown, pretend(SHOWN, "run runs/1\ntest 99.3 %\n"))) == []
    ((output, printed),) = differences(shown, pretend(SHOWN, "run runs/1\ntest 90.3 %\n"))
    assert rewritten(output.lines, printed)[1:] == ["...", "test 90.3 %"]


def test_check_leaves_a_stale_page_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    printed = SHOWN.replace("89.3", "50.0")
    for name, value in {"ROOT": tmp_path, "PAGES": [page], "copy_pictures": lambda folder: None}.items():
        monkeypatch.setattr(console_blocks, name, value)
    monkeypatch.setattr(console_blocks, "run_process", lambda folder, arguments: pretend(printed)(arguments))
    assert console_blocks.main(["--check"]) == 1
    assert page.read_text() == PAGE
    assert console_blocks.main([]) == 0
    assert page.read_text() == PAGE.replace("89.3", "50.0")
    assert console_blocks.main(["--check"]) == 0
