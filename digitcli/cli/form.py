"""`digitcli form`: learn the fields of an empty form, and show those of a template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from digitcli import console
from digitcli.atomic_write import write_whole
from digitcli.cli.options import check_output
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import UsageError, counted, quoted
from digitcli.settings import argument, setting

if TYPE_CHECKING:
    from digitcli.tables.forms import Form

SUFFIXES = {"learn": (".toml",), "show": (".png",)}


@dataclass(frozen=True, kw_only=True)
class FormOptions:
    """The options of `digitcli form`."""

    action: Literal["learn", "show"] = argument(
        "ACTION", "learn finds the boxes and combs of an empty form; show draws those of a template over it."
    )
    file: Path = argument("FILE", "The picture of the empty form, or the template.")
    output: Path | None = setting(
        None, "", "Write the template to this .toml file, or the drawing to this .png file.", letter="-o",
        unit="file",
    )  # fmt: skip
    force: bool = setting(False, "", "Replace an existing output file.")


def form(options: FormOptions) -> None:
    """Learn where the fields of an empty form are, or show them.

    Example: digitcli form learn blank.png -o invoice.toml

    The template is text: give the fields names, types and checks. Then read filled forms with: digitcli
    predict scans --form invoice.toml -o out.csv

    Example: digitcli form show invoice.toml -o fields.png
    """
    check_output(options.output, SUFFIXES[options.action], options.force)
    if options.action == "learn" and options.output is None:
        raise UsageError("A template is a file.", "Name it with -o, for example -o form.toml.")
    with wait_with_signals():
        from digitcli.tables.forms import draw_form, learn_form, load_form
    if options.action == "learn":
        assert options.output is not None
        text = learn_form(options.file, options.output.parent)
        write_whole(options.output, text.encode())
        found = counted(text.count("[[fields]]"), "field")
        shown = f"see digitcli form show {quoted(options.output)}"
        console.show_notice(f"{options.output} has {found}; {shown}, and name them in the file.")
        return
    template = load_form(options.file)
    if options.output is not None:
        write_whole(options.output, draw_form(template))
    _show(template)


def _show(template: Form) -> None:
    rows = {}
    for index, name in enumerate(template.options.names):
        kind, digits = template.options.type_of(index), template.digits[index]
        place = f"at {', '.join(map(str, template.boxes[index]))}"
        rows[name] = ", ".join(
            filter(None, (counted(digits, "digit") * bool(digits), str(kind or ""), place))
        )
    rows |= {check.text: "check" for check in template.options.checks}
    console.show_table(console.pairs(rows))
