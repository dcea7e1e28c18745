"""`digitcli tune` as a person or a program meets it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from tests.support.processes import Run

SEARCH = ("tune", "--arch", "softmax:epochs=2,optimizer=sgd", "--vary", "lr=1e-3..1", "--trials", "3")


def test_a_table_with_a_command_that_works_and_records_for_programs(
    digitcli: Run, tmp_path: Path, few_digits: Path
) -> None:
    shown = digitcli(*SEARCH, "--data", few_digits)
    assert shown.returncode == 0, shown.stderr
    note, *lines = shown.stderr.splitlines()
    assert "The first training has the recipe as it is" in note
    assert [line.split()[0] for line in lines] == ["recipe", "1/3", "2/3", "3/3"]
    assert (tmp_path / "runs/tune/softmax_epochs=2,optimizer=sgd/study.jsonl").exists()
    record = json.loads(digitcli(*SEARCH, "--data", few_digits, "--format", "json").stdout)
    assert record["trials"][0] == record["best"] and len(record["trials"]) == 3
    assert f"  {shlex.join(record['confirmation'])}" in shown.stdout.splitlines()
    lr = record["recipe_settings"]["lr"]
    assert any(line.split()[0] == "recipe" and f" {lr} " in line for line in shown.stdout.splitlines())
    confirmed = digitcli(*record["confirmation"][1:], "--seeds", "1")
    assert confirmed.returncode == 0, confirmed.stderr
    runs = [line.split()[1] for line in confirmed.stderr.splitlines()[:2]]
    assert runs == record["confirmation"][2:4]


def test_mistakes_are_told_before_anything_is_loaded(digitcli: Run, few_digits: Path) -> None:
    for arguments, message in (
        (("--arch", "shipped/cnn"), "is trained already"),
        (("--arch", "reader"), "reads lines"),
        (("--vary", "lrr"), "There is no setting 'lrr'"),
        (("--trials", "0"), "--trials"),
        (("--arch", "nothing"), "nothing"),
        (("softmax:epochs=1",), "with --arch, for example: digitcli tune --arch cnn"),
    ):
        failed = digitcli("tune", *arguments)
        assert failed.returncode == 2 and message in failed.stderr, failed.stderr
