"""Lines of pages whose strips say what the tests choose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from digitcli.imaging.network_inputs import LineBox, Strip
from digitcli.inference.line_finding import FoundLine
from digitcli.recognition.confidence import Weights
from digitcli.recognition.constraints import Constraints, parse_constraints
from digitcli.recognition.line_reading import Answer, Line
from digitcli.recognition.numbers import recognize
from digitcli.recognition.readings import Nothing, Number
from digitcli.strip_format import ALPHABET
from tests.support.networks import line_output

BOX = LineBox(210, 60, 380, 60, 0.0)
# Its pixels are twice as large on the page.
STRIP = Strip(np.zeros((3, 40, 200), np.uint8), np.array([[2.0, 0, 10], [0, 2.0, 20]]), (900, 200))


def answer(*places: dict[str, float], strip: Strip = STRIP) -> Answer:
    """Return the answer to a strip whose places show characters with these probabilities."""
    return Answer.of(strip, line_output(*places), ALPHABET, 1.0)


def spelt(text: str, likely: float = 0.999, strip: Strip = STRIP) -> Answer:
    """Return the answer to a strip that shows a text."""
    return answer(*({character: likely} for character in text), strip=strip)


def line_of(*answers: Answer, box: LineBox = BOX, row: int = 0, **fields: Any) -> Line:
    """Return a line with the answers to its strips."""
    return Line(row, FoundLine(box, 0.99, 0.0, 30), answers, **fields)


def constraints_of(options: Mapping[str, str]) -> Constraints:
    """Return the constraints that some options give, at least one."""
    constraints = parse_constraints(**cast(dict[str, Any], options))
    assert constraints is not None
    return constraints


def read_place(
    line: Line, options: Mapping[str, str] | None = None, weights: Weights | None = None, top_k: int = 3
) -> Number | Nothing:
    """Read a number, under the constraints that some options give."""
    return recognize(line, weights or Weights(), constraints_of(options) if options else None, top_k)


def read_number(
    line: Line, options: Mapping[str, str] | None = None, weights: Weights | None = None, top_k: int = 3
) -> Number:
    """Read a number that stands there for certain."""
    number = read_place(line, options, weights, top_k)
    assert isinstance(number, Number)
    return number


GREY = np.full((120, 900), 200, np.uint8)
HEIGHT_PX, STEP_PX, WIDTH_PX = 20.0, 22.5, 15.0  # of a digit on the page; from one digit to the next


def strip_at(x: float, y: float, angle: float = 0.0) -> Strip:
    """Return a strip whose digits are 20 pixels high on the page; the first one begins near x, and has y."""
    cos, sin = math.cos(angle) * HEIGHT_PX / 32, math.sin(angle) * HEIGHT_PX / 32
    matrix = np.array([[cos, -sin, x - cos * 6 + sin * 20], [sin, cos, y - sin * 6 - cos * 20]])
    return Strip(np.zeros((3, 40, 400), np.uint8), matrix, (900, 120))


def shown(shown: str | Sequence[dict[str, float]], x: float, *, row: int = 0, y: float = 50.0) -> Line:
    """Return a line that shows characters, whose first one begins at x."""
    places = [{each: 0.999} for each in shown] if isinstance(shown, str) else list(shown)
    length = STEP_PX * len(places) - STEP_PX + WIDTH_PX
    box = LineBox(x + length / 2, y, length, HEIGHT_PX, 0.0)
    return line_of(answer(*places, strip=strip_at(x, y)), box=box, row=row)
