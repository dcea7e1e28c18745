"""Count the code that a picture takes: `python scripts/count_code.py PICTURE...`.

The pictures are read by the default models. Counted are the functions of the package that run after the
models are loaded, once each: their lines without comments, docstrings and blank lines, and the numbers
other than -1, 0, 1 and 2 in them and in the constants of their modules that they use. So a function that
only opens a model does not count, and a long module counts with what it does. To count another version of
the code, let PYTHONPATH name a checkout of it.
"""

from __future__ import annotations

import ast
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import digitcli

PACKAGE = Path(digitcli.__file__).parent
TRIVIAL = (-1, 0, 1, 2)


def main() -> None:
    """Read the pictures, and print a row for each module and the sum."""
    reader = digitcli.Reader()
    pictures = sys.argv[1:] or sys.exit(__doc__)
    for _ in reader.read_all(pictures):  # loads the models
        pass
    ran: dict[Path, set[int]] = defaultdict(set)

    def remember(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and PACKAGE in path.parents:
            ran[path].add(frame.f_code.co_firstlineno)

    threading.setprofile(remember)
    sys.setprofile(remember)
    for _ in reader.read_all(pictures):
        pass
    sys.setprofile(None)
    totals = [0, 0]
    for path in sorted(ran):
        lines, numbers = count(path.read_text(), ran[path])
        totals = [totals[0] + lines, totals[1] + numbers]
        print(f"{path.relative_to(PACKAGE)!s:44} {lines:6} {numbers:6}")
    print(f"{'lines, numbers':44} {totals[0]:6} {totals[1]:6}")


def count(content: str, first_lines: set[int]) -> tuple[int, int]:
    """Return the lines of code and the numbers of the functions that begin at these lines of a module."""
    tree, source = ast.parse(content), content.splitlines()
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and min([node.lineno, *(each.lineno for each in node.decorator_list)]) in first_lines
    ]
    lines: set[int] = set()
    for function in functions:
        lines |= set(lines_of_code(function, source))
    used = {node.id for function in functions for node in ast.walk(function) if isinstance(node, ast.Name)}
    constants = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    constants = [node for node in constants if names_of(node) & used]
    found = {id(node): node for root in [*functions, *constants] for node in numbers_in(root)}
    return len(lines) + len({node.lineno for node in constants}), len(found)


def lines_of_code(function: ast.FunctionDef, source: list[str]) -> Iterator[int]:
    """Yield the lines of a function with code."""
    docstring: range | tuple[()] = ()
    if ast.get_docstring(function) is not None:
        docstring = range(function.body[0].lineno, (function.body[0].end_lineno or 0) + 1)
    for number in range(function.lineno, (function.end_lineno or 0) + 1):
        text = source[number - 1].strip()
        if text and not text.startswith("#") and number not in docstring:
            yield number


def names_of(node: ast.Assign | ast.AnnAssign) -> set[str]:
    """Return the names that an assignment gives values to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}


def numbers_in(root: ast.AST) -> Iterator[ast.Constant]:
    """Yield the numbers in a piece of code that somebody chose."""
    for node in ast.walk(root):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value not in TRIVIAL:
            yield node


if __name__ == "__main__":
    main()
