"""Two lattices that do not touch are two tables, and so are blocks of numbers far from each other."""

from __future__ import annotations

import numpy as np

from digitcli.tables.blocks import find_blocks


def lattice(x: float, y: float, step: float = 3.0) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Return nine numbers, and the level and the upright rules around them."""
    places = np.array([(x + step * (k % 3 + 0.5), y + step * (k // 3 + 0.5)) for k in range(9)])
    level = [np.array([(x, y + step * k), (x + 3 * step, y + step * k)]) for k in range(4)]
    upright = [np.array([(x + step * k, y), (x + step * k, y + 3 * step)]) for k in range(4)]
    return np.concatenate([places - 0.5, places + 0.5], axis=1), level, upright


def test_lattices_that_do_not_touch_are_two_tables() -> None:
    (upper, level, upright), (lower, more, others) = lattice(0, 0), lattice(0, 11)

    blocks = find_blocks(np.concatenate([lower, upper]), [*more, *level], [*others, *upright])

    assert [each.numbers.tolist() for each in blocks] == [list(range(9, 18)), list(range(9))]
    assert [len(each.level) + len(each.upright) for each in blocks] == [8, 8]


def test_a_fold_does_not_join_two_tables_and_rules_across_a_gap_do() -> None:
    (upper, level, upright), (lower, more, others) = lattice(0, 0), lattice(0, 11)
    for places, count in (([4.0], 2), ([0.0, 3.0, 6.0, 9.0], 1)):
        across = [np.array([(x, 0.0), (x, 20.0)]) for x in places]

        blocks = find_blocks(np.concatenate([upper, lower]), [*level, *more], [*upright, *others, *across])

        assert len(blocks) == count


def test_edges_of_paper_are_no_lattice_that_parts_rows() -> None:
    numbers, level, _ = lattice(0, 0, step=1.6)
    edges = [np.array([(x, -4.0), (x, 9.0)]) for x in (-1.5, 6.2)]
    lower, more = numbers + np.array([0, 4.8, 0, 4.8]), [rule + (0.0, 4.8) for rule in level]
    assert len(find_blocks(np.concatenate([numbers, lower]), [*level, *more], edges)) == 1


def test_blocks_beside_each_other_are_one_table_if_their_rows_line_up() -> None:
    left = lattice(0, 0)[0]
    for drop, count in ((0.0, 1), (1.4, 2)):
        assert len(find_blocks(np.concatenate([left, lattice(40, drop)[0]]), [], [])) == count


def test_blank_rows_do_not_end_a_table_without_rules() -> None:
    upper = lattice(0, 0)[0]
    for down, count in ((15, 1), (30, 2)):
        assert len(find_blocks(np.concatenate([upper, upper + [0, down, 0, down]]), [], [])) == count
