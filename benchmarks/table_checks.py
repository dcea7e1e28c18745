"""Measure what checks make of the numbers of tables: `python benchmarks/table_checks.py --seed 2`.

Tables of 5 to 12 rows and 3 to 9 columns hold numbers of one to three digits, their totals and some empty
cells; one in twenty has a wrong total. A third has totals of rows, a third of rows and columns, and a third
running totals and row numbers. A simulated reader sees each digit as a point beside that of its class, nearer
to classes that look alike and noisier for bad writing, and answers the posterior. It loses one of 500 digits,
and is as much less sure of all. Cells are wrong where their text is, and mended where they are read rightly
then. Each interval is the wider one of Wilson's and a bootstrap of the tables, whose cells are not
independent. The constants of `digitcli.tables.arithmetic` were chosen on seed 1.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from support import Output, Rows, open_app

from digitcli.evaluation.metrics import calibration_error, wilson_interval
from digitcli.recognition.readings import Digit, Number
from digitcli.tables.arithmetic import apply_checks, parse_check
from digitcli.tables.table import Cell, Table

app = open_app(__doc__)
ALIKE = ((0, 6), (1, 7), (2, 7), (3, 5), (3, 8), (4, 9), (5, 6), (5, 8), (7, 9))
LIKENESS = 0.35  # of the points of two digits that look alike, of 1.2 for the same digit
SHARPNESS, SPREAD = 5.0, 0.45  # median distance of the points in noises, and its deviation as a logarithm
LOST, EMPTY, MISTAKEN = 0.002, 0.05, 0.05  # shares of digits, cells and tables
SURE = 0.97
THRESHOLD = 0.62  # of the default models
KINDS = ("rows", "both", "running")
Flags = npt.NDArray[np.bool_]
Facts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reader:
    """A simulated reader with some candidates for each digit and number."""

    candidates: int
    sharpness: float  # 1 is calibrated, more is too sure
    threshold: float

    def read(self, text: str, random: np.random.Generator) -> Number:
        """Read a number."""
        kept = [int(each) for each in text if random.random() >= LOST] or [int(text[0])]
        digits, texts = [], {"": (1 - LOST) ** len(kept)}
        for digit in kept:
            shares = self._shares(digit, random)
            (best, share), *others = [(str(each), shares[each]) for each in np.argsort(-shares)]
            digits.append(Digit(best, share, (0, 0, 9, 9), tuple(others[: self.candidates - 1])))
            longer = {text + str(k): p * shares[k] for text, p in texts.items() for k in range(10)}
            texts = dict(sorted(longer.items(), key=lambda pair: -pair[1])[: self.candidates])
        (best, confidence), *rivals = texts.items()
        number = Number(tuple(digits), confidence, best, tuple(rivals))
        return number if confidence >= self.threshold else number.refused_for("low_confidence")

    def _shares(self, digit: int, random: np.random.Generator) -> Facts:
        alike = 1.2 * np.eye(10)
        for pair in ALIKE:
            alike[pair] = alike[pair[::-1]] = LIKENESS
        points = np.linalg.cholesky(alike) * SHARPNESS * np.exp(random.normal(0, SPREAD))
        logits = -((points[digit] + random.normal(size=10) - points) ** 2).sum(axis=1) / 2
        shares = np.exp(self.sharpness * (logits - logits.max()))
        return shares / shares.sum()


def write_table(random: np.random.Generator) -> tuple[npt.NDArray[np.object_], list[str]]:
    """Return the digits of each cell of a table (R, C), and its checks."""
    kind = KINDS[random.integers(3)]
    rows, columns = random.integers(5, 13), 3 if kind == "running" else random.integers(3, 10)
    lengths = random.integers(1, 4, size=columns)
    values = np.array([[random.integers(10 ** (n - 1), 10**n) for n in lengths] for _ in range(rows)])
    is_empty = random.random(values.shape) < EMPTY
    values[is_empty] = 0
    values[:, -1], is_empty[:, -1] = values[:, :-1].sum(axis=1), False
    totals = [(row, columns - 1) for row in range(rows)]
    checks = ["1 = count", "3 = running(2)"] if kind == "running" else ["last = sum(1..last-1)"]
    if kind == "running":
        values[:, 0], values[:, 2] = np.arange(1, rows + 1), random.integers(1000) + values[:, 1].cumsum()
        is_empty[:, 0] = False
    elif kind == "both":
        values[-1], is_empty[-1] = values[:-1].sum(axis=0), False
        totals += [(rows - 1, column) for column in range(columns - 1)]
        checks.append("row last = sum(rows 1..last-1)")
    if random.random() < MISTAKEN:
        row, column = totals[random.integers(len(totals))]
        step = 10 ** random.integers(len(str(values[row, column]))) * random.choice([-9, -2, -1, 1, 2, 9])
        values[row : rows if kind == "running" else row + 1, column] += step  # the next ones go on from it
    return np.where(is_empty, "", abs(values).astype(str).astype(object)), checks


def judge_table(random: np.random.Generator, reader: Reader) -> tuple[Facts, Facts, float]:
    """Return the `facts` of a table before and after the checks, and their seconds."""
    texts, checks = write_table(random)
    cells = tuple(Cell(*at, reader.read(text, random)) for at, text in np.ndenumerate(texts) if text)
    table, start = Table(cells, *texts.shape), time.perf_counter()
    after = apply_checks(table, [parse_check(check) for check in checks], reader.threshold)
    return facts(table, texts), facts(after, texts), time.perf_counter() - start


def facts(table: Table, texts: npt.NDArray[np.object_]) -> Facts:
    """Return whether each cell is right, whether it is read, and how sure; (N, 3)."""
    pairs = [(cell.number, texts[cell.row, cell.column]) for cell in table.cells]
    return np.array([(each.text == text, each.status == "read", each.confidence) for each, text in pairs])


def share_of(part: Flags, whole: Flags, tables: npt.NDArray[np.int64]) -> dict[str, float | int]:
    """Return which share of some cells (N,) has a property, with its 95 % interval; `tables` are theirs."""
    few, n = (np.bincount(tables, each, tables[-1] + 1) for each in (part & whole, whole))
    picks = np.random.default_rng(1).integers(len(n), size=(2000, len(n)))
    low, high = np.percentile(few[picks].sum(axis=1) / n[picks].sum(axis=1), [2.5, 97.5])
    few, n = int(few.sum()), int(n.sum())
    wilson = wilson_interval(few, n)
    return {"n": n, "share": few / n, "low": min(low, wilson[0]), "high": max(high, wilson[1])}


def describe(is_right: Flags, is_read: Flags, confidence: Facts) -> dict[str, float | int]:
    """Return how good the numbers are; `expected` is what confidences say about `wrong_of_sure`."""
    sure, few = confidence > SURE, {"right": is_right, "read": is_read, "wrong_of_read": ~is_right[is_read]}
    few |= {"sure": sure, "wrong_of_sure": ~is_right[sure], "expected": 1 - confidence[sure]}
    means = {name: float(each.mean()) for name, each in few.items()}
    return {"n": len(is_right), **means, "ece": calibration_error(confidence, is_right)}


@app.command()
def main(
    tables: int = 1000, seed: int = 2, threshold: float = THRESHOLD, candidates: int = 5,
    sharpness: float = 1.0, output: Output = None,
) -> None:  # fmt: skip
    """Judge `--tables` tables, read with `--candidates`; a `--sharpness` above 1 is too sure."""
    rows, reader = Rows(), Reader(candidates, sharpness, threshold)
    randoms = [np.random.default_rng([seed, index]) for index in range(tables)]
    before, after, seconds = zip(*(judge_table(random, reader) for random in randoms), strict=True)
    of_table = np.repeat(np.arange(tables), [len(each) for each in before])
    (right, read, sure), (right_now, read_now, sure_now) = (np.concatenate(t).T for t in (before, after))
    right, read, right_now, read_now = (each > 0 for each in (right, read, right_now, read_now))
    rows.add("wrong cells mended", share_of(right_now & read_now, ~right, of_table))
    rows.add("right cells refused", share_of(~read_now, right & read, of_table))
    rows.add("right cells changed", share_of(~right_now, right, of_table))
    rows.add("before", describe(right, read, sure))
    rows.add("after", describe(right_now, read_now, sure_now))
    rows.add("milliseconds", {f"{q} %": 1e3 * np.percentile(seconds, q) for q in (50, 95)})
    rows.save(output)


if __name__ == "__main__":
    app()
