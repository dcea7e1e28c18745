"""The generated pages of docs/ say what the code says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from digitcli.cli import COMMANDS, with_command
from digitcli.comparison.specification import parse_specification
from scripts import generate_docs

ROOT = Path(__file__).parent.parent


def test_every_generated_page_is_current() -> None:
    stale = [path.name for path in generate_docs.stale_pages()]
    assert stale == [], "run python scripts/generate_docs.py"


def test_a_stale_page_is_named_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_docs, "ROOT", tmp_path)
    monkeypatch.setattr(generate_docs, "DOCS", tmp_path)
    monkeypatch.setattr(generate_docs, "PAGES", {"page": lambda: "new\n"})
    page = tmp_path / "page.md"
    page.write_text("old\n")
    assert generate_docs.main(["--check"]) == 1
    assert "page.md" in capsys.readouterr().out
    assert page.read_text() == "old\n"
    assert generate_docs.main([]) == 0
    assert generate_docs.main(["--check"]) == 0
    assert page.read_text() == "new\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_every_option_of_a_command(name: str) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    section = page.split(f"## digitcli {name}\n")[1].split("\n## ")[0]
    (command,) = [
        command for key, command in get_command(with_command([name])).commands.items() if key == name
    ]
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert all(f"`{option}`" in section for option in (*parameter.opts, *parameter.secondary_opts))


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def commands_in_pages() -> Iterator[tuple[str, list[str]]]:
    """Return each command that a page shows, with the name of the page."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for line in re.findall(r"^(?:    )?(digitcli .*)$", page.read_text("utf-8"), re.MULTILINE):
            yield page.name, shlex.split(line, comments=True)[1:]


def test_every_option_that_a_page_shows_exists() -> None:
    commands = {name: get_command(with_command([name])).commands[name] for name in COMMANDS}
    options = {
        name: {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for name, command in commands.items()
    }
    wrong = [
        (page, word)
        for page, (name, *words) in commands_in_pages()
        for word in words
        if word.startswith("-") and word != "-" and word.split("=")[0] not in {*options[name], "--help"}
    ]
    assert wrong == []


def test_every_specification_that_a_page_compares_is_valid() -> None:
    specifications = [
        word
        for _, (name, *words) in commands_in_pages()
        if name == "compare"
        for word in words
        if ":" in word
    ]
    assert specifications
    for specification in specifications:
        parse_specification(specification, "mnist", "cpu")
