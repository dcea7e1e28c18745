"""Generate the pages of docs/ that follow from the code, and copy what was measured into the others.

Whole pages are the command line, the architectures and the layout. Figures and tables within README.md and
docs/ are those of `scripts/published_figures.py`. `python scripts/generate_docs.py` writes the pages. With
`--check` it writes nothing, names every page that is stale, and ends with exit code 1 if there is one.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import published_figures
from typer.models import ArgumentInfo, OptionInfo

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import ARCHITECTURES, TORCHVISION, resolve_recipe
from digitcli.cli import COMMANDS, load_command
from digitcli.inference.model_index import list_models
from digitcli.settings import settings_of

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
NOTE = "<!-- This page is generated. Do not edit it: run `python scripts/generate_docs.py`. -->"
VALUES = {bool: "flag", int: "whole number", float: "number", str: "text", Path: "path"}
FOLDERS = {
    "scripts": "Scripts for maintainers",
    "benchmarks": "Scripts that reproduce published figures",
    "examples/engines": "Recipes for engines and batch queues, see docs/beyond-one-machine.md",
    "examples/tensorflow": "The textbook's networks in TensorFlow, beside PyTorch",
}

CLI_TEXT = """\
Every command has `--help`. Results go to standard output, everything else goes to standard error.
[Output format](output-format.md) explains the records and the exit codes."""
ARCHITECTURES_TEXT = """\
This page lists every network that digitcli can train. An architecture is a network without weights:
`digitcli train --arch NAME` trains it by its recipe, and `digitcli models NAME` shows it layer by layer.
The task `digit` reads one digit in 28x28 pixels, the task `line` a line of writing 40 pixels high. MACs
are multiply-accumulate operations for one image, or for a line of 200 x 40 pixels. [Results](results.md)
has the accuracies. A network of your own takes one function and one line in a table: see
`CONTRIBUTING.md`."""
RECIPES_TEXT = """\
A recipe is how an architecture is trained. `digitcli train --print-config --arch NAME` prints a whole
recipe, and most settings are options of [`digitcli train`](cli.md#digitcli-train). These are the
defaults for every architecture:"""
LAYOUT_TEXT = """\
This page tells in which folder to look; the first sentence of each file says what it holds. A module
imports only from folders below its own, and a test checks this. `tests/` mirrors the package, and
`tests/support/` holds what several tests share. `models/` holds the released weights.
`digitcli/recognition/pipeline.py` leads a picture from its file to its reading, and `pages.py` a page. A
training step takes this way: `train` in `training/trainer.py`, `take_step` in `training/loop.py`,
`DigitTask.loss_of` in `training/digit_task.py`, `step_on` in `training/optimization.py`."""


def main(arguments: Sequence[str]) -> int:
    """Write every page, or check that every page is current. Return the exit code."""
    if set(arguments) - {"--check"}:
        print(__doc__)
        return 2
    stale = stale_pages()
    for path, text in stale.items():
        if arguments:
            print(f"{path.relative_to(ROOT)} is stale: run python scripts/generate_docs.py")
        else:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))
    return 1 if arguments and stale else 0


def stale_pages() -> dict[Path, str]:
    """Return the new text of every page whose file is missing or has another text."""
    pages = {DOCS / f"{name}.md": page() for name, page in PAGES.items()}
    written = [path for path in (README, *sorted(DOCS.glob("*.md"))) if path not in pages and path.exists()]
    pages |= {path: published_figures.filled(path.read_text("utf-8")) for path in written}
    return {
        path: text for path, text in pages.items() if not path.exists() or path.read_text("utf-8") != text
    }


def cli_page() -> str:
    """Describe every command with the arguments and options that its function in `digitcli/cli/` declares."""
    summaries = [(f"[`{name}`](#digitcli-{name})", plain(summary)) for name, summary in COMMANDS.items()]
    return document(
        "Command-line reference",
        CLI_TEXT,
        table(("command", "what it does"), summaries),
        *(block for name in COMMANDS for block in command_blocks(name)),
    )


def command_blocks(name: str) -> list[str]:
    """Describe one command: a heading, the text of its help, and a table for each panel of options."""
    function = load_command(name)
    blocks = [f"## digitcli {name}", *help_paragraphs(function)]
    panels: dict[str, list[tuple[str, ...]]] = {"Arguments": [], "Options": []}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind, declared = typing.get_args(parameter.annotation)
        if getattr(declared, "hidden", False):
            continue
        panel = declared.rich_help_panel or ("Arguments" if isinstance(declared, ArgumentInfo) else "Options")
        names, values = spelling(parameter.name, kind, declared), value(kind, declared)
        text = plain(declared.help or "") + default(parameter.default)
        panels.setdefault(panel, []).append((names, values, text))
    for panel, rows in panels.items():
        heading = "argument" if panel == "Arguments" else "option"
        blocks += [f"**{plain(panel)}**", table((heading, "value", "what it does"), rows)] if rows else []
    return blocks


def help_paragraphs(function: Callable[..., Any]) -> list[str]:
    """Return the paragraphs of a command's help; an example becomes a block of code."""
    return [help_paragraph(part) for part in inspect.cleandoc(function.__doc__ or "").split("\n\n")]


def help_paragraph(text: str) -> str:
    """Return a paragraph as Markdown; an example becomes a block of code, and so do indented lines."""
    if text.startswith(" "):
        return "\n".join(f"    {line.strip()}" for line in text.splitlines())
    text = " ".join(text.split())
    if text.startswith("Example: "):
        return f"```console\n{text.removeprefix('Example: ')}\n```"
    return plain(text)


def spelling(name: str, kind: Any, declared: ArgumentInfo | OptionInfo) -> str:
    """Return how a person types an argument or an option, e.g. `--epochs`, `-e`."""
    if isinstance(declared, ArgumentInfo):
        return f"`{declared.metavar or name.upper()}`"
    # Typer takes the first name of an option that is declared in `Annotated` for its default.
    texts = [text for text in (declared.default, *(declared.param_decls or ())) if isinstance(text, str)]
    words = [word for text in texts if text.startswith("-") for word in text.split("/")]
    option = "--" + name.replace("_", "-")
    usual = [option, f"--no-{option[2:]}"] if without_none(kind) is bool else [option]
    return ", ".join(f"`{word}`" for word in words or usual)


def value(kind: Any, declared: ArgumentInfo | OptionInfo) -> str:
    """Return what an option takes: its placeholder, its choices, or the kind of value and its range."""
    kind = without_none(kind)
    repeated = typing.get_origin(kind) is list
    kind = typing.get_args(kind)[0] if repeated else kind
    if typing.get_origin(kind) is Literal:
        text = ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    elif isinstance(declared, OptionInfo) and declared.metavar:
        text = " or ".join(f"`{word}`" for word in declared.metavar.strip("[]").split("|"))
    else:
        text = VALUES[kind]
    if declared.min is not None or declared.max is not None:
        text += f" from {declared.min}" if declared.max is None else f" {declared.min} to {declared.max}"
    return text + ", repeatable" if repeated else text


def without_none(kind: Any) -> Any:
    """Return the type itself of `type | None`."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        (kind,) = (part for part in typing.get_args(kind) if part is not types.NoneType)
    return kind


def default(setting: Any) -> str:
    """Return the sentence that tells a default; nothing for a flag, or where the help itself tells it."""
    return "" if setting in (None, False, inspect.Parameter.empty) else f" The default is `{setting}`."


def architectures_page() -> str:
    """Describe every architecture by its docstring, its size, its paper and its recipe."""
    own = {row.name: row for row in ARCHITECTURES}  # not those of plug-ins that happen to be installed
    figures = {row.name: row for row in list_models() if row.name in own}
    rows = []
    for name, row in own.items():
        what = plain(first_sentence(row.load().__doc__))
        size, macs = figures[name].parameters, figures[name].macs
        rows.append((f"`{name}`", what, row.family, row.task, f"{size:,}", f"{macs:,}", row.paper))
    torchvision = f"`{TORCHVISION}NAME`", "Any classifier of torchvision, for one channel and ten classes."
    rows.append((*torchvision, "torchvision", "digit", "", "", ""))
    headings = ("name", "what", "family", "task", "parameters", "MACs", "paper")
    settings = [
        (f"`{declared.name}`", declared.group, shown(declared.default), plain(declared.help))
        for declared in settings_of(Recipe)
    ]
    recipes = [(f"`{name}`", changes(resolve_recipe(name))) for name in own]
    recipes.append((torchvision[0], changes(resolve_recipe(f"{TORCHVISION}resnet18"))))
    return document(
        "Architectures",
        ARCHITECTURES_TEXT,
        published_figures.table(headings, rows),
        "## Recipes",
        RECIPES_TEXT,
        published_figures.table(("setting", "group", "default", "what it does"), settings),
        "And this is where the recipe of each architecture differs from these defaults:",
        published_figures.table(("architecture", "recipe"), recipes),
    )


def changes(recipe: Recipe) -> str:
    """Return the settings of a recipe that differ from the defaults, as `digitcli compare` takes them."""
    usual = vars(Recipe())
    return ", ".join(
        f"`{name}={shown(setting).strip('`')}`"
        for name, setting in vars(recipe).items()
        if setting != usual[name]
    )


def shown(setting: Any) -> str:
    """Return a setting as a person types it."""
    words = {True: "on", False: "off", None: ""}
    text = words[setting] if isinstance(setting, bool | None) else str(setting)
    return f"`{text}`" if text else "none"


def layout_page() -> str:
    """List the folders of the package with what they are for and their files."""
    package = ROOT / "digitcli"
    folders = [package, *sorted(path.parent for path in package.rglob("*/__init__.py"))]
    rows = [
        (
            str(folder.relative_to(ROOT)),
            plain(first_sentence(docstring(folder / "__init__.py"))),
            files_of(folder),
        )
        for folder in folders
    ]
    rows += [(name, f"{title}.", files_of(ROOT / name)) for name, title in FOLDERS.items()]
    return document("Layout", LAYOUT_TEXT, *(f"**`{name}/`** {text} {files}" for name, text, files in rows))


def files_of(folder: Path) -> str:
    """Name the Python files of a folder, without their suffix."""
    return ", ".join(f"`{path.stem}`" for path in sorted(folder.glob("*.py")) if path.name != "__init__.py")


def docstring(path: Path) -> str | None:
    """Return the docstring of a module, which is not imported."""
    return ast.get_docstring(ast.parse(path.read_text("utf-8")))


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring in one line."""
    paragraph = " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])(?<!e\.g\.)(?<!al\.)\s", paragraph)[0]


def plain(text: str) -> str:
    """Escape what Markdown would take for markup; code in backticks stays code."""
    parts = re.split(r"(`[^`]+`)", text)
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"([*_\[\]])", r"\\\1", parts[number]).replace("<", "&lt;")
    return "".join(parts).replace("|", "\\|")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def document(title: str, *blocks: str) -> str:
    """Return a whole page: its title, the note that it is generated, and its blocks."""
    return "\n\n".join((f"# {title}", NOTE, *blocks)) + "\n"


PAGES = {"cli": cli_page, "architectures": architectures_page, "layout": layout_page}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
