"""`digitcli form` makes templates of blanks, and `digitcli predict --form` reads by them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.support.forms import FIELDS, blank_form, filled_form, photograph
from tests.support.pictures import encoded
from tests.support.processes import Run


@pytest.fixture
def template(digitcli: Run) -> str:
    """The template of a form that was learned."""
    Path("blank.png").write_bytes(encoded(blank_form()))
    done = digitcli("form", "learn", "blank.png", "-o", "form.toml")
    assert done.returncode == 0, done.stderr
    assert "4 fields" in done.stderr
    return "form.toml"


def test_a_template_is_shown_as_a_table_and_drawn_over_the_blank(digitcli: Run, template: str) -> None:
    done = digitcli("form", "show", template, "-o", "fields.png")

    assert done.returncode == 0, done.stderr
    assert "6 digits" in done.stdout and all(name in done.stdout for name in FIELDS)
    assert Path("fields.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["learn", "blank.png"], 2, "A template is a file"),
        (["learn", "blank.png", "-o", "form.txt"], 2, "ends in .toml"),
        (["learn", "blank.png", "-o", "form.toml"], 7, "exists already"),
        (["lern", "blank.png"], 2, "Did you mean learn"),
        (["show", "missing.toml"], 3, "missing.toml cannot be read"),
    ],
)
def test_mistakes_are_errors(
    digitcli: Run, template: str, arguments: list[str], code: int, words: str
) -> None:
    before = Path(template).read_text()

    done = digitcli("form", *arguments)

    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert Path(template).read_text() == before


def test_pages_of_a_form_become_rows(digitcli: Run, template: str) -> None:
    """A page that is another form is refused, and a file that is broken stops no other."""
    page, _, _ = photograph(filled_form(blank_form(), {"field_1": "204857", "field_3": "52"}))
    Path("scans").mkdir()
    for name, picture in {"a.png": page, "b.png": photograph(blank_form(seed=3))[0]}.items():
        Path("scans", name).write_bytes(encoded(picture))
    Path("scans/c.png").write_bytes(b"nothing")

    done = digitcli("predict", "scans", "--form", template, "-o", "out.csv")

    assert done.returncode == 4
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("read", ""), ("refused", "not_this_form"), ("error", "not_an_image"),
    ]  # fmt: skip
    assert [rows[0][name] for name in FIELDS] == ["204857", "", "52", ""]
    assert "is not this form: " in done.stderr and "would have to" in done.stderr
    assert "1 read, 1 refused, 1 failed" in done.stderr


def test_the_fields_of_a_page_are_shown_below_each_other(digitcli: Run, template: str) -> None:
    page, _, _ = photograph(filled_form(blank_form(), {"field_3": "52"}))
    Path("a.png").write_bytes(encoded(page))

    done = digitcli("predict", "a.png", "--form", template)

    assert done.returncode == 0, done.stderr
    assert next(line for line in done.stdout.splitlines() if "field_3" in line).split()[-1] == "52"


@pytest.mark.parametrize("option", [["--table"], ["--columns", "a"], ["--length", "4"], ["--type", "amount"]])
def test_what_a_template_tells_is_no_option(digitcli: Run, template: str, option: list[str]) -> None:
    done = digitcli("predict", "a.png", "--form", template, *option)

    assert done.returncode == 2
    assert f"--form and {option[0]} do not go together" in done.stderr


def test_only_the_first_of_many_other_pages_are_explained(digitcli: Run, template: str) -> None:
    Path("scans").mkdir()
    for index in range(5):
        Path(f"scans/{index}.png").write_bytes(encoded(blank_form(seed=4)[:300]))

    done = digitcli("predict", "scans", "--form", template, "-o", "out.csv")

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is not this form: ") == 3
    assert "holds for 2 further pages" in done.stderr
