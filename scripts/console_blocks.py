"""Run the commands whose output README.md and docs/ show, and write the outputs anew.

`python scripts/console_blocks.py` rewrites every output in which anything but a time or a speed differs from
what the program prints now. With `--check` it writes nothing, shows every difference beyond the tolerances
below, and ends with exit code 1 if there is one. Commands that
take long are run only with `--all`. Pages that you name, for example `README.md`, are read alone.

In a fenced block of the language `console`, `$ digitcli ...` is a command, and the lines up to the next `$`
are its output. A command without such lines is not run. The commands of a page run in order, in one folder
that holds the example pictures, in a pipe that is 80 characters wide. A block shows

- standard output without blank lines, and of standard error only lines whose first word the block shows and
  standard output does not have, for instance `epoch 1/1 ...`;
- a line that begins with `...` for any number of lines. Where an output is written anew, each part between
  two such lines keeps its number of lines, and begins at the first line that has the same first word.

Two lines are equal if their words and whole numbers are. A percentage may differ by one percentage point, any
other number with a decimal point by 0.01. Times and speeds depend on the machine and are not compared.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# docs/cli.md is written by scripts/generate_docs.py.
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {ROOT / "docs" / "cli.md"})]

# Beginnings of commands that take longer than about three seconds, with the reason. The test leaves them out.
SLOW = {
    "digitcli train": "It trains a network.",
    "digitcli compare": "It trains networks, or evaluates several.",
    "digitcli synthesize": "It composes hundreds of lines.",
    "digitcli calibrate": "It reads hundreds of pictures.",
    "digitcli evaluate reader": "It reads hundreds of pictures.",
    "digitcli export": "It answers 10,000 digits with the model and with the export.",
}
# Beginnings of commands that cannot be run here, with the reason.
IMPOSSIBLE = {
    "digitcli adapt outlined": "The pictures are not part of the repository.",
    "digitcli compare shipped/fast runs/noisy": "Python code of another page and a training make the run.",
}

ENVIRONMENT = {"COLUMNS": "80"}  # characters, the width of a usual terminal
BLOCK = re.compile(r"^ *```console\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^( *)\$ (digitcli .*)\n((?:(?! *\$ ).*\n)*)", re.MULTILINE)
TIME_OR_SPEED = re.compile(r"\b\d+:\d\d(?::\d\d)?\b|\b[\d.,]+ (?:images/s|a second|ms|s)\b")
# Arithmetic differs a little between kinds of processors, and so do figures.
TOLERANCES = {
    re.compile(r"\d+(?:\.\d+)?(?= %| to [\d.]+ %)"): 1.0,  # percentage points
    re.compile(r"\d+\.\d+"): 0.01,  # fractions and other numbers with a decimal point
}

Run = Callable[[Sequence[str]], subprocess.CompletedProcess[str]]


@dataclasses.dataclass(frozen=True)
class Output:
    """The output of a command as a page shows it, and where it stands in the text of the page."""

    command: str
    lines: list[str]
    indent: str
    start: int  # characters from the beginning of the page
    end: int


def main(arguments: Sequence[str]) -> int:
    """Write every output that differs, or only show it. Return the exit code."""
    options = {argument for argument in arguments if argument.startswith("-")}
    pages = [Path(argument).resolve() for argument in arguments if argument not in options] or PAGES
    if options - {"--check", "--all"} or not set(pages) <= set(PAGES):
        print(__doc__)
        return 2
    found = False
    for page in pages:
        text = page.read_text("utf-8")
        with tempfile.TemporaryDirectory() as folder:
            copy_pictures(Path(folder))
            run = functools.partial(run_process, folder)
            shown = outputs(text, everything="--all" in options)
            different = list(differences(shown, run, is_exact="--check" not in options))
        for output, printed in reversed(different):  # from the end: the places before do not move
            lines = rewritten(output.lines, printed)
            print(f"{page.relative_to(ROOT)}: $ {output.command}")
            print("\n".join(line for line in difflib.ndiff(output.lines, lines) if line[0] != "?"))
            new = "".join(f"{output.indent}{line}\n" for line in lines)
            text = text[: output.start] + new + text[output.end :]
            found = True
        if different and "--check" not in options:
            page.write_text(text, encoding="utf-8")
    return 1 if found and "--check" in options else 0


def copy_pictures(folder: Path) -> None:
    """Copy the example pictures into a folder, at the paths that the pages use."""
    shutil.copy(ROOT / "image.png", folder)
    shutil.copytree(ROOT / "docs" / "pictures", folder / "docs" / "pictures")


def run_process(folder: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a process in a folder."""
    command = [sys.executable, "-m", "digitcli", *arguments]
    environment = {**os.environ, **ENVIRONMENT}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


def outputs(text: str, everything: bool = False) -> Iterator[Output]:
    """Yield the outputs that a page shows, in order; those of slow commands only if `everything` is true."""
    left_out = tuple(IMPOSSIBLE if everything else {**IMPOSSIBLE, **SLOW})
    for block in BLOCK.finditer(text):
        for match in COMMAND.finditer(block[1]):
            indent, command, shown = match.groups()
            lines = filled_lines(shown)
            if lines and not command.startswith(left_out):
                start, end = (block.start(1) + place for place in match.span(3))
                yield Output(command, [line.removeprefix(indent) for line in lines], indent, start, end)


def differences(
    shown: Iterable[Output], run: Run, *, is_exact: bool = False
) -> Iterator[tuple[Output, list[str]]]:
    """Run commands in order, and yield each output that differs, with the lines that are printed now.

    With `is_exact`, figures have no tolerance.

    Raises RuntimeError if a command fails.
    """
    for output in shown:
        done = run(shlex.split(output.command, comments=True)[1:])
        if done.returncode:
            raise RuntimeError(f"{output.command} ends with exit code {done.returncode}:\n{done.stderr}")
        printed = printed_lines(done, output.lines)
        if not agree(output.lines, printed, is_exact):
            yield output, printed


def printed_lines(done: subprocess.CompletedProcess[str], shown: Sequence[str]) -> list[str]:
    """Return the lines of standard output, after those of standard error that the block shows."""
    out, err = (filled_lines(text) for text in (done.stdout, done.stderr))
    words = {line.split()[0] for line in shown} - {line.split()[0] for line in out}
    return [line for line in err if line.split()[0] in words] + out


def filled_lines(text: str) -> list[str]:
    """Return the lines of a text that are not blank, without blanks at their end."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def is_gap(line: str) -> bool:
    """Tell whether a line stands for lines that are left out."""
    return line.startswith("...")


def agree(shown: Sequence[str], printed: Sequence[str], is_exact: bool = False) -> bool:
    """Tell whether the printed lines are those shown, where a gap stands for any number of lines."""
    if not shown:
        return not printed
    if is_gap(shown[0]):
        return any(agree(shown[1:], printed[start:], is_exact) for start in range(len(printed) + 1))
    if not printed or not same_line(shown[0], printed[0], is_exact):
        return False
    return agree(shown[1:], printed[1:], is_exact)


def same_line(shown: str, printed: str, is_exact: bool = False) -> bool:
    """Tell whether two lines have the same words and nearly the same figures, or exactly the same."""
    old, new = (" ".join(TIME_OR_SPEED.sub("TIME", line).split()) for line in (shown, printed))
    for figure, tolerance in () if is_exact else TOLERANCES.items():
        for before, now in zip(figure.findall(old), figure.findall(new), strict=False):
            if abs(float(before) - float(now)) > tolerance + 1e-9:  # decimals are not exact in binary
                return False
        old, new = figure.sub("FIGURE", old), figure.sub("FIGURE", new)
    return old == new


def rewritten(shown: Sequence[str], printed: Sequence[str]) -> list[str]:
    """Return the printed lines with the gaps that are shown; a part that is no longer printed is left out."""
    lines: list[str] = []
    for gap, part in itertools.groupby(shown, is_gap):
        old = list(part)
        if gap:
            lines += old
            continue
        if lines:  # after a gap
            word, words = old[0].split()[0], [line.split()[0] for line in printed]
            printed = printed[words.index(word) :] if word in words else []
        lines += printed[: len(old)]
        printed = printed[len(old) :]
    return lines if is_gap(shown[-1]) else [*lines, *printed]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
