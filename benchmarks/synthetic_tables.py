"""Measure how drawn tables are read, cell by cell: `python benchmarks/synthetic_tables.py`.

The generators of `judging/tables.py` draw one table a page, or two with `--pairs`, below or beside each
other. Seeds 1 and 2 were used for development. The rows and the columns of a true table are aligned with
those of a found one by dynamic programming: in the same order, each with at most one partner, so that a row
that is missing costs that row alone. Of the handwritten numbers, a row shows the shares that are answered
rightly in the right cell (`cells`), and that are right there whether answered or refused (`offered`); of the
answers in aligned cells the share that is right (`precision`); and the answers in empty cells for each 100
numbers (`false`). `whole` is the share of the pages on which as many tables are found as were drawn.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from judging.ink import judging_room
from judging.score import judge_table
from judging.tables import TABLES, CellLabel, pair_page, table_page
from scenes import DrawnScene
from support import Output, Rows, open_app

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.recognition.reader import Reader
from digitcli.synthesis.page import Kind
from digitcli.tables.reading import read_tables
from digitcli.tables.table import Table

app = open_app(__doc__)
Counts = npt.NDArray[np.int64]


@app.command()
def main(tables: int = 300, seed: int = 1, pairs: bool = False, output: Output = None) -> None:
    """Read `--tables` pages, each kind in turn, and print their shares by kind and in the mean."""
    reader, room, rows = Reader(keep_pictures=True), judging_room(split(load_mnist()).test), Rows()
    draw, counts, seconds = pair_page if pairs else table_page, [], 0.0
    for index in range(tables):
        name = list(TABLES)[index % len(TABLES)]
        scene = draw(np.random.default_rng([seed, index]), room, name)
        began = time.process_time()
        (page,) = read_tables(reader, [scene.picture])
        seconds += time.process_time() - began
        counts.append(judge_page(scene, page.tables))
    kinds = list(TABLES)[:tables]
    for index, name in enumerate(kinds):
        rows.add(name, shares_of(counts[index :: len(TABLES)]))
    means = {field: np.mean([rows[kind][field] for kind in kinds]) for field in list(rows[kinds[0]])[2:]}
    total = shares_of(counts)
    rows.add("mean of kinds", {"pages": tables, "numbers": total["numbers"], **means})
    rows.add("all numbers", total)
    rows.add("time", {"cpu_seconds_a_page": seconds / tables})
    rows.save(output)


def shares_of(counts: Iterable[Counts]) -> dict[str, float | int]:
    """Return the shares of several counts of `judge_page`."""
    counts = list(counts)
    numbers, offered, right, answered, false, whole = np.sum(counts, axis=0).tolist()
    shares = {"pages": len(counts), "numbers": numbers, "cells": right / max(numbers, 1)}
    shares |= {"offered": offered / max(numbers, 1), "precision": right / max(answered, 1)}
    return shares | {"false": 100 * false / max(numbers, 1), "whole": whole / len(counts)}


def judge_page(scene: DrawnScene, found: Sequence[Table]) -> Counts:
    """Return the counts of `judge_table`, and whether as many tables are found as were drawn.

    Each found table is the partner of at most one true table.
    """
    labels = [each for each in scene.labels if isinstance(each, CellLabel) and each.kind is Kind.NUMBER]
    total, rest = np.zeros(5, np.int64), list(found)
    names = sorted({label.table for label in labels})
    for name in names:
        own = [label for label in labels if label.table == name]
        options = [judge_table(own, each, scene) for each in rest] or [
            judge_table(own, Table((), 0, 0), scene)
        ]
        best = max(range(len(options)), key=lambda index: tuple(options[index][1:3]))
        total += options[best]
        del rest[best : best + 1]
    return np.array([*total, len(found) == len(names)])


if __name__ == "__main__":
    app()
