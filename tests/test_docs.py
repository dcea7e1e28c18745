"""README and docs/: commands parse, examples run, links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import digitcli
from digitcli.cli import COMMANDS
from digitcli.comparison.specification import parse_specification
from digitcli.export.hugging_face import read_facts
from digitcli.inference.model_resolution import resolve_model
from digitcli.recognition.reader import Reader
from tests.support.command_lines import options_of, parse

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_TORCHRUN = {"--nproc-per-node", "--standalone", "--max-restarts"}
# of pip, tensorboard, mkdocs and torchrun
FOREIGN_OPTIONS = {"--index-url", "--logdir", "--strict", *OF_TORCHRUN}


def page_name(path: object) -> str:
    return path.name if isinstance(path, Path) else str(path)


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced code blocks of a page in a language; "" for blocks without one."""
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [block for named, block in fenced if named == language]


def outside_fences(page: Path) -> str:
    """Return the text of a page without its fenced code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def shell_lines(page: Path) -> Iterator[str]:
    """Yield the lines of console blocks and of indented blocks, without their prompt."""
    indented = re.findall(r"^ {4}(.*)$", outside_fences(page), re.MULTILINE)
    for line in [*"".join(blocks(page, "console")).splitlines(), *indented]:
        yield line.strip().removeprefix("$ ")


def commands(page: Path) -> Iterator[tuple[str, ...]]:
    """Yield the arguments of every `digitcli ...` in the shell lines of a page, also behind a pipe."""
    for line in shell_lines(page):
        if not re.search(r"^digitcli |[|&] *digitcli ", line):
            continue
        words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, "|"]:
            if not set(word) <= set("|&;<>"):
                command.append(word)
                continue
            if command[:1] == ["digitcli"]:
                yield tuple(command[1:])
            command = []


def options_of_commands() -> set[str]:
    """Return every option of the command line."""
    return {"--version", "--install-completion", "--show-completion"} | options_of(*COMMANDS)


def options_of_scripts() -> set[str]:
    """Return every option that a script in benchmarks/ or scripts/ declares."""
    names: set[str] = set()
    for script in [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        text = script.read_text()
        names |= set(re.findall(r'"(--[a-z-]+)"', text))
        for function in (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)):
            if any(ast.unparse(each) == "app.command()" for each in function.decorator_list):
                names |= {f"--{argument.arg.replace('_', '-')}" for argument in function.args.args}
    return names


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_readme_takes_five_minutes() -> None:
    assert len(README.read_text().splitlines()) <= 200


def test_readme_has_the_two_commands_that_set_everything_up() -> None:
    assert "    pip install . && digitcli train --arch cnn\n" in README.read_text()
    assert "    pip install '.[test]' && pytest\n" in README.read_text()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_package_is_installed_from_a_copy_of_the_repository(page: Path) -> None:
    assert not re.search(r"pip\s+install\s+'?digitcli\b", page.read_text()), "README has `pip install .`"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", outside_fences(page))
    for link, anchor in links:
        target = page.parent / link if link else page
        assert target.exists(), link
        assert not anchor or target.suffix != ".md" or anchor in headings(target), f"{link}#{anchor}"


@pytest.mark.parametrize(
    "arguments", sorted({command for page in PAGES for command in commands(page)}), ids=" ".join
)
def test_the_option_parser_accepts_documented_commands(arguments: tuple[str, ...]) -> None:
    parse(arguments)


def test_documented_comparisons_name_valid_settings() -> None:
    words = [word for page in PAGES for name, *words in commands(page) if name == "compare" for word in words]
    specifications = {word for word in words if ":" in word} - {"fast:blur=1"}  # an example of CONTRIBUTING
    assert specifications
    for specification in specifications:
        parse_specification(specification, "mnist", "cpu")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "scope.md"], ids=page_name)
def test_options_and_scripts_named_in_the_text_exist(page: Path) -> None:
    text = page.read_text()  # scope.md names what was removed
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*\b", text))
    if page.name != "scope.md":  # it names options that were removed
        assert named - options_of_commands() - options_of_scripts() - FOREIGN_OPTIONS == set()
    scripts = re.findall(r"\b(?:benchmarks|scripts)/\w+\.(?:py|json)\b", text)
    assert [script for script in scripts if not (ROOT / script).exists()] == []


def test_the_citation_names_the_version_of_the_package() -> None:
    assert f"\nversion: {digitcli.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.fixture
def example_folder(tmp_path: Path) -> Path:
    """Copy the example pictures into a folder, at the paths that the documentation uses."""
    shutil.copy(ROOT / "image.png", tmp_path)
    shutil.copytree(ROOT / "docs" / "pictures", tmp_path / "docs" / "pictures")
    return tmp_path


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "python-api.md"], ids=page_name)
def test_python_examples_run(example_folder: Path, page: Path) -> None:
    exec(compile("\n".join(blocks(page, "python")), page, "exec"), {})


def test_the_code_in_the_tensorflow_page_is_that_of_the_examples() -> None:
    examples = [*(ROOT / "examples" / "tensorflow").glob("*.py")]
    code = [source.read_text() for source in [*examples, ROOT / "digitcli/architectures/convnet.py"]]
    shown = blocks(ROOT / "docs" / "tensorflow.md", "python")
    assert len(shown) > 10
    assert [block for block in shown if not any(block in text for text in code)] == []


def test_example_pictures_are_read_correctly() -> None:
    texts = {
        "image.png": "4",
        "docs/pictures/number.jpg": "40713",
        "docs/pictures/page.jpg": "8052 314 159 57721",
        "docs/pictures/blackboard.jpg": "2026",
        "docs/pictures/form.png": "83059",
        "docs/pictures/blank.jpg": "",
    }
    readings = Reader(device="cpu").read_all([ROOT / name for name in texts])
    assert [reading.text for reading in readings] == list(texts.values())


def test_the_model_cards_tell_the_facts_of_their_file() -> None:
    cards = (ROOT / "models" / "README.md").read_text()
    for name, facts in read_facts(ROOT / "models" / "cards.toml").items():
        card = " ".join(cards.split(f"\n## {name}\n")[1].split("\n## ")[0].split())
        for fact in facts.values():
            assert " ".join(fact.split()) in card, name
        assert f"{resolve_model(name).header.metrics['test_accuracy']:.2%}".replace("%", " %") in card, name
