"""The text that is printed, and the stream to which it goes."""

from __future__ import annotations

import csv
import io
import sys

import pytest

from digitcli import console


def test_a_notice_goes_to_stderr_with_control_characters_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_notice("[red]scan[/].png is \x1b[31modd\udcff\n" + "and long " * 40)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Note: [red]scan[/].png is \\x1b[31modd\\udcff\\n")
    assert shown.err.count("\n") == 1


def test_a_notice_to_a_closed_stderr_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    for stream in (Gone(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        console.show_notice("lost")


def test_csv_begins_with_the_keys_and_leaves_the_cell_of_none_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"name": "a, b", "value": 1, "rest": None}, {"name": 'c"d', "value": 0.5, "rest": ""}]
    console.show_csv(rows)
    text = capsys.readouterr().out
    assert text == 'name,value,rest\n"a, b",1,\n"c""d",0.5,\n'
    assert [row["name"] for row in csv.DictReader(io.StringIO(text))] == ["a, b", 'c"d']


def test_a_terminal_width_that_is_no_number_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("0", "", "wide"):
        monkeypatch.setenv("COLUMNS", columns)
        shown = io.StringIO()
        console.open_console(shown).print("word " * 30)
        assert shown.getvalue().count("\n") == 1
