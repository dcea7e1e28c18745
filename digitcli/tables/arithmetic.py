"""Arithmetic as evidence about the numbers of a table: totals, running totals and row numbers.

A check makes equations between cells. Each cell has candidates with probabilities, by which it was read, and
each equation a message to every cell: how well each of its candidates fits what the others may be. The
messages of one equation are exact, from the distribution of partial sums before and behind each cell (the
forward-backward algorithm; Rabiner, "A tutorial on hidden Markov models", 1989). Several equations exchange
messages (the sum-product and the max-product algorithm; Kschischang, Frey & Loeliger, "Factor graphs and the
sum-product algorithm", 2001), which is exact for running totals, and an approximation where rows and columns
are summed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from digitcli.errors import UsageError, counted, did_you_mean
from digitcli.recognition.numbers import digit_shares, without_text
from digitcli.recognition.readings import LEAST_CONFIDENCE, LIKELY, Digit, Number
from digitcli.tables.table import Cell, Table
from digitcli.tables.values import AROUND

WRITER_DOUBT = 0.02  # probability that an equation does not hold on paper, by hand; 0.01 and 0.05 do as well
CHANCE = 0.1  # probability that an equation that does not hold fits all the same: as a free last digit does
# Probability that a text that is no candidate is the one that fits. 27 numbers of three digits differ from a
# number in one digit, 243 in two. With 0.01, 0.02 and 0.05, 71, 71 and 69 % of the wrong cells are mended and
# the confidences are 0.24, 0.16 and 0.11 % off, by 600 tables of `benchmarks/table_checks.py --seed 1`.
UNKNOWN_FITS = 0.02
EMPTY_CONFIDENCE = 0.98  # probability that nothing is written where nothing was found (by hand)
MOST_CANDIDATES = 8  # of a cell, which bounds the time (by hand)
# Of a candidate that counts, since each widens the range of the sums; the later ones where these are too many
# with the first (by hand).
LEAST_SHARE, *_ = LEAST_SHARES = 1e-5, 1e-3, 1e-2
UNKNOWN_SHARE = 0.1  # of what the texts of a number leave, which digits do not explain: lost ones (by hand)
MOST_SUMS = 2**20  # partial sums of an equation; one with more is passed over, never approximated
MOST_SWEEPS = 12  # of messages through all equations; on 200 synthetic tables all settle before
SETTLED = 1e-3  # change of a message, relative to its largest value, from which it counts as the same
# Reasons that say only that a number is not certain, so that a check can lift them.
DOUBTS = frozenset({"low_confidence", "two_candidates", "too_faint"})
FORMS = "total = sum(1..8), 4 = 1 + 2 - 3, balance = running(amount), no = count or row last = sum(2..last-1)"
_PLACE = re.compile(r"(\d+)|last(?:-(\d+))?", re.ASCII)
# A sign, or a parenthesis that stands for a minus, and decimals.
_MARKS = re.compile(rf"[{re.escape(AROUND)}]*([-(]?).*?(?:([.,])(\d\d?))?[){re.escape(AROUND)}]*", re.ASCII)
_ROWS = re.compile(r"\brows?\s+(?=\d|last\b)")

Place = tuple[int, int]  # row and column of a cell, from 0 on
Shares = npt.NDArray[np.float64]
Beliefs = dict[Place, Shares]


@dataclass(frozen=True)
class Check:
    """A rule of arithmetic that columns or rows of a table satisfy.

    text: as it was given.
    form: totals and differences, running totals, or numbers that grow by one.
    is_of_rows: whether the places are rows; otherwise they are columns.
    result: the place of the total.
    terms: the sign of each span of places, with its first and its last one.
    """

    text: str
    form: Literal["sum", "running", "count"]
    is_of_rows: bool
    result: str
    terms: tuple[tuple[int, str, str], ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The places that the check names."""
        return (self.result, *(place for _, *span in self.terms for place in span))


def parse_check(text: str) -> Check:
    """Parse a check, for example `total = sum(1..8)`.

    A place is a number from 1 on, `last`, `last-1` or the name of a column. The places are rows where the
    text begins with `row`. Between terms stand ` + ` and ` - ` with spaces around them.

    Raises:
        UsageError: the check cannot be parsed.
    """
    is_of_rows = _ROWS.match(text.strip()) is not None
    left, _, right = (part.strip() for part in _ROWS.sub("", text).partition("="))
    form: Literal["sum", "running", "count"] = "sum"
    signed = [part.strip() for part in re.split(r"(?:^|\s)([+-])\s", f"+ {right}")[1:]]
    terms = [(int(f"{sign}1"), place, place) for sign, place in zip(signed[::2], signed[1::2], strict=True)]
    if span := re.fullmatch(r"sum\s*\((.+?)\.\.(.+)\)", right):
        terms = [(1, span[1].strip(), span[2].strip())]
    elif amount := re.fullmatch(r"running\s*\((.+)\)", right):
        form, terms = "running", [(1, amount[1].strip(), amount[1].strip())]
    elif right == "count":
        form, terms = "count", []
    places = [left, *(place for term in terms for place in term[1:])]
    if not all(re.fullmatch(r"[^()=]+", place) for place in places):
        raise UsageError(f"--check '{text}' cannot be parsed.", f"Give for example {FORMS}.")
    if _ROWS.search(text) and not is_of_rows:
        raise UsageError(f"--check '{text}' mixes columns and rows.", "Begin it with 'row' to check rows.")
    return Check(text, form, is_of_rows, left, tuple(terms))


@dataclass(frozen=True)
class Equation:
    """An equation between cells: the sum of their numbers, each times its weight, is a constant."""

    cells: tuple[Place, ...]
    weights: tuple[int, ...]
    constant: int = 0

    def holds(self, values: Mapping[Place, int]) -> bool:
        """Tell whether numbers satisfy the equation."""
        pairs = zip(self.cells, self.weights, strict=True)
        return sum(weight * values[cell] for cell, weight in pairs) == self.constant

    def sums(self, candidates: Mapping[Place, Candidates]) -> int:
        """Return how many partial sums there are at most, between the least and the greatest one."""
        values = [candidates[cell].values for cell in self.cells]
        pairs = zip(values, self.weights, strict=True)
        return 1 + sum(abs(weight) * (max(each) - min(each)) for each, weight in pairs)


def equations(check: Check, table: Table) -> list[Equation]:
    """Return what a check says about the cells of a table.

    A row counts where its result is written, and the one before as well if the check needs it; rows that are
    printed, as headings are, do not, unless the whole table is. The same holds for columns where rows are
    summed. One or two digits behind the last mark are decimals, and three are thousands.

    Raises:
        UsageError: the table does not have a row or column of the check, or the result is one of its terms.
    """
    numbers = {(cell.row, cell.column): cell for cell in table.cells if cell.number}
    is_handwritten = not all(cell.is_printed for cell in numbers.values())
    result = _index(check, check.result, table)
    weights: Counter[Place] = Counter({(0, result): -1})  # by line, relative to the one at hand, and place
    for sign, first, last in check.terms:
        start, end = (_index(check, place, table) for place in (first, last))
        if start > end or start <= result <= end:
            cause = f"--check '{check.text}' adds {'no places' if start > end else 'the result to itself'}."
            raise UsageError(cause, "Give the places that add up to the result, the first one first.")
        weights.update({(0, place): sign for place in range(start, end + 1)})
    if check.form != "sum":
        weights[-1, result] += 1
    found = []
    for line in range(check.form != "sum", table.columns if check.is_of_rows else table.rows):
        places = [(line + step, place) for step, place in weights]
        cells = tuple((place, at) if check.is_of_rows else (at, place) for at, place in places)
        written = [numbers[cell] for cell in cells if cell in numbers]
        needed = [cell for cell, (_, place) in zip(cells, places, strict=True) if place == result]
        is_heading = is_handwritten and all(cell.is_printed for cell in written)
        if all(cell in numbers for cell in needed) and not is_heading:
            units = [_unit(numbers.get(cell)) for cell in cells]
            least = min(units, key=abs)
            scales = [
                weight * round(unit / abs(least))
                for weight, unit in zip(weights.values(), units, strict=True)
            ]
            found.append(Equation(cells, tuple(scales), -(check.form == "count") * round(1 / abs(least))))
    return found


def _unit(cell: Cell | None) -> float:
    """Return what the last digit of a cell counts, negative for a number with a minus in front.

    Three digits behind a mark are thousands.
    """
    match = _MARKS.fullmatch(cell.number.raw) if cell and cell.number else None
    if match is None:
        return 1.0
    return (-1 if match[1] else 1) * 10.0 ** -len(match[3] or "")


def _index(check: Check, place: str, table: Table) -> int:
    """Return the row or column, from 0 on, that a place of a check names."""
    source = f"--check '{check.text}'"
    return (
        _numbered(place, table.rows, "row", source) if check.is_of_rows else column_in(place, table, source)
    )


def check_name(place: str, names: Sequence[str], source: str) -> None:
    """Check that the place of a column is a number from 1 on, `last`, `last-1` or one of the names.

    source: what names the place.

    Raises:
        UsageError: it is none of them.
    """
    if place not in names and not _PLACE.fullmatch(place):
        remedy = did_you_mean(place, names) if names else "Name the columns with --columns."
        raise UsageError(f"The table has no column '{place}', which {source} names.", remedy)


def column_in(place: str, table: Table, source: str) -> int:
    """Return the column, from 0 on, of a place, see `check_name`.

    Raises:
        UsageError: the table does not have it.
    """
    check_name(place, table.names, source)
    if place in table.names:
        return table.names.index(place)
    return _numbered(place, table.columns, "column", source)


def _numbered(place: str, count: int, kind: str, source: str) -> int:
    match = _PLACE.fullmatch(place)
    index = -1 if match is None else int(match[1]) - 1 if match[1] else count - 1 - int(match[2] or 0)
    if 0 <= index < count:
        return index
    cause = f"The table has no {kind} '{place}', which {source} names."
    raise UsageError(cause, f"It has {counted(count, kind)}, from 1 on.")


@dataclass(frozen=True)
class Candidates:
    """What a cell may hold.

    texts: the digits of each candidate; no digits count as 0.
    shares: the probability of each, and last that of all other texts; (N + 1,).
    """

    texts: tuple[str, ...]
    shares: Shares

    @property
    def values(self) -> tuple[int, ...]:
        """Return the number that each candidate means."""
        return tuple(int(text or 0) for text in self.texts)


def candidates_of(number: Number | None, least_share: float = LEAST_SHARE) -> Candidates:
    """Return the texts of a cell with their probabilities, as it was read; the answer is the first.

    Those that the number names come first. Texts made of the likely digits share what these leave, but are at
    most as likely as independent digits make them.
    """
    if number is None or not number.digits:
        empty = EMPTY_CONFIDENCE if number is None else LEAST_SHARE
        return Candidates(("",), np.array([empty, 1 - empty]))
    shares = {number.text: number.confidence} | {
        text: share for text, share in number.alternatives if text not in ("", number.text)
    }
    products = {"": 1.0}
    for digit in number.digits:
        likely = {digit.digit: digit.confidence, **dict(digit.alternatives)}
        longer = {text + each: share * by for text, share in products.items() for each, by in likely.items()}
        products = dict(sorted(longer.items(), key=lambda pair: -pair[1])[:MOST_CANDIDATES])
    others = {text: share for text, share in products.items() if text not in shares}
    left = (1 - UNKNOWN_SHARE) * max(0.0, 1 - sum(shares.values()))
    scale = min(1.0, left / max(sum(others.values()), LEAST_SHARE))
    shares |= {text: scale * share for text, share in others.items()}
    rivals = without_text(shares, number.text)[: MOST_CANDIDATES - 1]
    kept = [(number.text, number.confidence), *(pair for pair in rivals if pair[1] > least_share)]
    texts, known = zip(*kept, strict=True)
    found = np.array([*known, max(1 - sum(known), LEAST_SHARE)])
    return Candidates(texts, found / found.sum())


def messages(
    equation: Equation, candidates: Sequence[Candidates], shares: Sequence[Shares], join: np.ufunc
) -> list[Shares]:
    """Return for each cell of an equation how well each of its candidates (N + 1,) fits the other cells.

    shares: how likely the candidates are without this equation; those of a cell join to 1.
    join: `np.add` for probabilities, `np.maximum` for those of the likeliest assignment alone.

    That the equation does not hold on paper is as likely for all candidates. An unknown text, of this cell or
    another, may fit as well.
    """
    pairs_of = zip(candidates, equation.weights, strict=True)
    steps = [[weight * value for value in each.values] for each, weight in pairs_of]
    target = equation.constant - sum(map(min, steps))
    moves = [[step - min(each) for step in each] for each in steps]
    pairs = [list(zip(move, share.tolist(), strict=False)) for move, share in zip(moves, shares, strict=True)]
    front, back = [np.ones(1)], [np.ones(1)]
    for pair in pairs[:-1]:
        front.append(_added(front[-1], pair, join))
    for pair in pairs[:0:-1]:
        back.append(_added(back[-1], pair, join))
    sent = []
    for index, (before, behind) in enumerate(zip(front, reversed(back), strict=True)):
        others = [share[-1] for place, share in enumerate(shares) if place != index]
        is_any_unknown = 1 - np.prod(1 - np.array(others)) if join is np.add else max(others, default=0.0)
        unseen = np.array([is_any_unknown * UNKNOWN_FITS] * len(moves[index]) + [0.0])
        fits = [_meeting(before, behind, target - move, join) for move in moves[index]]
        holds = join(np.array([*fits, UNKNOWN_FITS]), unseen)
        sent.append(join((1 - WRITER_DOUBT) * holds, WRITER_DOUBT * CHANCE))
    return sent


def _added(sums: Shares, pairs: Sequence[tuple[int, float]], join: np.ufunc) -> Shares:
    """Return the probability of each partial sum, from 0 on, after another cell."""
    longer = np.zeros(len(sums) + max(move for move, _ in pairs))
    for move, share in pairs:
        part = longer[move : move + len(sums)]
        join(part, share * sums, out=part)
    return longer


def _meeting(before: Shares, behind: Shares, total: int, join: np.ufunc) -> float:
    """Return how likely two partial sums add up to a total."""
    first, last = max(0, total - len(behind) + 1), min(len(before) - 1, total)
    if first > last:
        return 0.0
    left, right = before[first : last + 1], behind[total - last : total - first + 1][::-1]
    return float(left @ right if join is np.add else (left * right).max())


def beliefs(system: Sequence[Equation], candidates: Mapping[Place, Candidates], join: np.ufunc) -> Beliefs:
    """Return how likely each candidate of each cell is, given the equations.

    With `np.maximum` these are the probabilities of the likeliest assignments in which the cell has it,
    relative to the likeliest of all. The equations pass on messages in turn, to and fro, until they settle.
    """
    now = {cell: each.shares / join.reduce(each.shares) for cell, each in candidates.items()}
    sent = [[np.ones(len(now[cell])) for cell in equation.cells] for equation in system]
    for sweep in range(MOST_SWEEPS):
        change = 0.0
        for index in range(len(system))[:: -1 if sweep % 2 else 1]:
            cells, old = system[index].cells, sent[index]
            rest = [now[cell] / message for cell, message in zip(cells, old, strict=True)]
            rest = [each / join.reduce(each) for each in rest]
            new = messages(system[index], [candidates[cell] for cell in cells], rest, join)
            sent[index] = [message / message.max() for message in new]
            for cell, without, message, before in zip(cells, rest, sent[index], old, strict=True):
                now[cell] = without * message / join.reduce(without * message)
                change = max(change, float(abs(message - before).max()))
        if change < SETTLED:
            break
    return now


@dataclass(frozen=True)
class Verdict:
    """What is known about a number after all evidence.

    shares: the probability of each candidate.
    odds: of the likeliest assignment with this text against that with the old one, or any if it is the same.
    """

    text: str
    shares: dict[str, float]
    odds: float


def _verdicts(system: Sequence[Equation], candidates: Mapping[Place, Candidates]) -> dict[Place, Verdict]:
    """Return the verdict on each cell.

    A cell changes to its text in the likeliest assignment if that is likelier right than wrong, and if all of
    its equations hold then; otherwise it stays, and so do the others of an equation that does not hold.
    """
    likeliest, shares = (beliefs(system, candidates, join) for join in (np.maximum, np.add))
    best = {cell: int(each.argmax()) for cell, each in likeliest.items()}
    changed = {
        cell
        for cell, index in best.items()
        if 0 < index < len(candidates[cell].texts) and shares[cell][index] > LIKELY
    }
    while True:
        chosen = {cell: best[cell] if cell in changed else 0 for cell in best}
        values = {cell: candidates[cell].values[index] for cell, index in chosen.items()}
        broken = {cell for equation in system if not equation.holds(values) for cell in equation.cells}
        if not broken & changed:
            break
        changed -= broken
    verdicts = {}
    for cell, index in chosen.items():
        texts, share = candidates[cell].texts, likeliest[cell]
        known = dict(zip(texts, shares[cell].tolist(), strict=False))
        other = share[0] if index else np.delete(share, index).max()
        verdicts[cell] = Verdict(texts[index], known, float(share[index] / max(other, LEAST_CONFIDENCE)))
    return verdicts


def apply_checks(table: Table, checks: Sequence[Check], threshold: float) -> Table:
    """Return a table whose numbers are as likely as the checks make them, and changed where they demand it.

    threshold: the confidence below which a number is refused; its reason is `check` if it was read before.
        Numbers that were refused for their confidence are read if a check makes them certain.

    Raises:
        UsageError: the table does not have a row or column of a check.
    """
    numbers = {(cell.row, cell.column): cell.number for cell in table.cells}
    equations_of = [(check, equation) for check in checks for equation in equations(check, table)]
    system = [equation for _, equation in equations_of]
    places = {cell for equation in system for cell in equation.cells}
    for least_share in LEAST_SHARES:
        candidates = {cell: candidates_of(numbers.get(cell), least_share) for cell in places}
        if all(equation.sums(candidates) <= MOST_SUMS for equation in system):
            break
    system = [equation for equation in system if equation.sums(candidates) <= MOST_SUMS]
    verdicts = _verdicts(system, {cell: candidates[cell] for each in system for cell in each.cells})
    cells = [judged(cell, verdicts.get((cell.row, cell.column)), threshold) for cell in table.cells]
    written = {(cell.row, cell.column): cell.number.text for cell in cells if cell.number}
    values = {cell: int(written.get(cell) or 0) for cell in places}
    unmet = [
        f"column {equation.cells[0][1] + 1}" if check.is_of_rows else f"row {equation.cells[0][0] + 1}"
        for check, equation in equations_of
        if not equation.holds(values)
    ]
    return replace(table, cells=tuple(cells), unmet=tuple(dict.fromkeys(unmet)))


def judged(cell: Cell, verdict: Verdict | None, threshold: float, reason: str = "check") -> Cell:
    """Return a cell with the number that evidence makes of it, or refused for `reason` if it was not sure."""
    if verdict is None or cell.number is None or not cell.number.digits:
        return cell
    before, number = cell.number, _with_text(cell.number, verdict)
    if number.confidence < threshold:
        number = number.refused_for(reason)
    elif before.reason in DOUBTS:
        number = replace(number, status="read", reason=None)
    is_confirmed = before.status == "refused" and number.status == "read"
    change = f"was {before.text}" if number.text != before.text else "confirmed" if is_confirmed else None
    changes = [cell.change, change and f"{change}, odds {verdict.odds:,.0f} : 1"]
    return replace(cell, number=number, change="; ".join(filter(None, changes)) or None)


def _with_text(number: Number, verdict: Verdict) -> Number:
    """Return a number with another text and the probabilities of all candidates."""
    text, old, raw = verdict.text, number.digits, number.raw
    x, y, width, height = number.box
    is_as_long = len(text) == len(old)
    digits = []
    for place, digit in enumerate(text):
        box = (x + place * width // len(text), y, width // len(text), height)
        whole = old[place] if is_as_long else Digit(digit, 0.0, box)
        shares = digit_shares(verdict.shares, text, place)
        rivals = tuple(without_text(shares, digit)[: max(len(each.alternatives) for each in old)])
        digits.append(replace(whole, digit=digit, confidence=min(1.0, shares[digit]), alternatives=rivals))
    if text != number.text:
        raw = _rewritten(raw, text)
    return replace(
        number,
        digits=tuple(digits),
        confidence=min(1.0, verdict.shares[text]),
        raw=raw,
        alternatives=tuple(without_text(verdict.shares, text)[: len(number.alternatives)]),
        is_changed=number.is_changed or text != number.text,
    )


def _rewritten(raw: str, text: str) -> str:
    """Return what was written with other digits; more or fewer of them keep the sign and the decimals."""
    if sum(map(str.isdecimal, raw)) == len(text):
        following = iter(text)
        return "".join(next(following) if each.isdecimal() else each for each in raw)
    match = _MARKS.fullmatch(raw)
    if match is None or not match[3]:
        return ("-" if match and match[1] else "") + text
    whole, cents = text[: -len(match[3])], text[-len(match[3]) :]
    return ("-" if match[1] else "") + whole + match[2] + cents
