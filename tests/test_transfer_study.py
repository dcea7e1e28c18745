"""The study of fine-tuning: which pictures it draws, and what it writes about its runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transfer

from digitcli.data.dataset import Digits


def outcome(method: str, seed: int, accuracy: float, per_class: int = 5) -> transfer.Outcome:
    before = None if method == "from scratch" else 0.9
    return transfer.Outcome("swiss", per_class, method, seed, accuracy, before, before, before, 1.0)


def numbered(count: int) -> Digits:
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    return Digits(images, np.arange(count) % 10)


def test_every_seed_draws_other_pictures_and_the_test_pictures_stay() -> None:
    draw = transfer.from_parts(numbered(500), numbered(300))
    (first, test), (again, _), (other, same_test) = draw(5, 0), draw(5, 0), draw(5, 1)
    assert np.bincount(first.labels).tolist() == [5] * 10
    assert np.array_equal(first.images, again.images) and not np.array_equal(first.images, other.images)
    assert test is same_test


def test_pictures_of_one_writer_are_trained_on_or_tested_on() -> None:
    train, test = transfer.of_one_writer(numbered(400), 20, seed=3)
    assert (len(train), len(test)) == (200, 200)
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}


def test_the_table_has_means_with_their_spread() -> None:
    outcomes = [outcome(method, seed, 0.5 + 0.1 * seed) for method in transfer.METHODS for seed in (0, 1)]
    *_, line = transfer.table(outcomes).splitlines()
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["swiss", "5", "90.00", *["55.00 ± 7.07"] * 3, "90.00", "90.00", "90.00", "2"]


def test_the_chart_has_a_line_for_each_method_even_without_errors() -> None:
    outcomes = [outcome(method, 0, 1.0, count) for method in transfer.METHODS for count in (1, 5)]
    svg = transfer.chart(outcomes, "fast")
    assert all(method in svg for method in transfer.METHODS) and "test error" in svg


def test_a_target_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no target"):
        transfer.target_of("fashion", tmp_path, None)
