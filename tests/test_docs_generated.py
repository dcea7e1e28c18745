"""The generated pages of docs/ agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from digitcli.cli import COMMANDS, with_command
from scripts import generate_docs, published_figures

ROOT = Path(__file__).parent.parent


def test_every_generated_page_is_current() -> None:
    stale = [path.name for path in generate_docs.stale_pages()]
    assert stale == [], "run python scripts/generate_docs.py"


def test_a_stale_page_is_named_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_docs, "ROOT", tmp_path)
    monkeypatch.setattr(generate_docs, "DOCS", tmp_path)
    monkeypatch.setattr(generate_docs, "README", tmp_path / "README.md")
    monkeypatch.setattr(generate_docs, "PAGES", {"page": lambda: "new\n"})
    page = tmp_path / "page.md"
    page.write_text("old\n")
    assert generate_docs.main(["--check"]) == 1
    assert "page.md" in capsys.readouterr().out
    assert page.read_text() == "old\n"
    assert generate_docs.main([]) == 0
    assert generate_docs.main(["--check"]) == 0
    assert page.read_text() == "new\n"


def test_the_reference_has_every_option_of_a_command() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    for name in COMMANDS:
        section = page.split(f"## digitcli {name}\n")[1].split("\n## ")[0]
        command = get_command(with_command([name])).commands[name]
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                options = (*parameter.opts, *parameter.secondary_opts)
                assert all(f"`{option}`" in section for option in options), (name, options)


def test_a_figure_that_was_edited_by_hand_is_found() -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    figure = "<!--=hands/polish/right-->"
    edited = re.sub(f"{figure}[^<]*", f"{figure}99.9 %", text)
    assert edited != text
    assert published_figures.filled(edited) == text


def test_no_line_begins_with_a_figure() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        found = re.findall("^ *<!--[=/].*", page.read_text(), re.MULTILINE)
        assert found == [], f"Markdown takes it for a block in {page.name}"


def test_figures_of_reading_are_not_typed() -> None:
    """Other pages that state how well pictures are read could drift from the results."""
    for page in (ROOT / "README.md", ROOT / "docs" / "limitations.md"):
        sections = re.split("^## ", page.read_text(), flags=re.MULTILINE)
        reading = [
            text for text in sections if text.startswith(("How well", "Models", "Finding", "Confidence"))
        ]
        assert len(reading) == 2
        for text in reading:
            typed = re.findall(r"\d+\.\d+ ?%", published_figures.without_figures(text))
            assert typed == [], page.name


def test_the_results_fit_on_a_page() -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    assert len(text.replace("|", " ").replace("---", " ").split()) <= 2500


def test_the_documentation_stays_short() -> None:
    pages = [page for page in (ROOT / "docs").glob("*.md") if page.name != "cli.md"]
    assert sum(len(page.read_text().split()) for page in pages) <= 45_000
