"""The lines to train on: pools, batches and their targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digitcli.data.dataset import Dataset, Digits
from digitcli.errors import InputError
from digitcli.synthesis.line_folders import read_lines, write_lines
from digitcli.synthesis.lines import Line, LineSynthesizer
from digitcli.synthesis.scenes import SceneComposer
from digitcli.training import line_sources
from digitcli.training.line_sources import (
    POOL_BATCHES,
    ComposedLines,
    StoredLines,
    StoredPools,
    as_batch,
)
from digitcli.training.synthetic_lines import compose, compose_ink_of_strips


def test_pools_of_stored_lines_contain_every_line_once_an_epoch(line_folder: Path) -> None:
    lines = read_lines(line_folder)
    pools = StoredPools(lines, batch_size=3, seed=0)
    texts = [batch.lengths.tolist() for number in range(5) for batch in pools[number]]
    epochs = np.array(texts).reshape(-1)
    assert len(epochs) == 5 * POOL_BATCHES * 3 == 32 * len(lines)  # 1,920 lines: 32 epochs of 60
    assert sorted(epochs.tolist()) == sorted(32 * [len(line.text) for line in lines])


def test_a_pool_depends_on_the_seed_and_its_number(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_sources, "POOL_BATCHES", 4)

    def first(seed: int, number: int) -> np.ndarray:
        return ComposedLines(Dataset("d", digits), seed).pools(2)[number][0].images

    image = first(0, 1)
    assert np.array_equal(image, first(0, 1))
    assert not np.array_equal(image, first(0, 2)) and not np.array_equal(image, first(1, 1))


def test_some_writers_are_held_out(digits: Digits) -> None:
    lines = ComposedLines(Dataset("d", digits), 0)
    training, held_out = lines.training_synthesizer()._writers, lines.validation_synthesizer()._writers
    assert (len(training), len(held_out)) == (147, 16)
    assert not {id(writer) for writer in training} & {id(writer) for writer in held_out}


def test_half_of_the_lines_of_a_pool_are_the_ink_of_strips(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_sources, "POOL_BATCHES", 4)
    counts: list[int] = []
    composed = compose_ink_of_strips

    def counting(composer: SceneComposer, random: np.random.Generator, count: int) -> list[Line]:
        counts.append(count)
        return composed(composer, random, count)

    monkeypatch.setattr(line_sources, "compose_ink_of_strips", counting)
    batches = ComposedLines(Dataset("d", digits), 0).pools(6)[0]
    assert counts == [12] and sum(len(batch.lengths) for batch in batches) == 24


def test_a_batch_contains_the_columns_and_boxes_of_its_characters(digits: Digits) -> None:
    lines = compose(LineSynthesizer(digits), np.random.default_rng(1), 12)
    batch = as_batch(lines, np.random.default_rng(2))
    columns = batch.images.shape[-1] // 4
    assert batch.images.shape == (12, 1, 40, 4 * columns) and batch.nearest.shape == (12, columns)
    for row, line in enumerate(lines):
        marked = batch.nearest[row][batch.nearest[row] < 15]
        assert len(marked) <= len(line.text) and (len(marked) > 0) == bool(line.text)
        boxed = batch.boxes[row][batch.boxed[row]]
        assert (boxed[:, 3] >= boxed[:, 2]).all()  # the foot lies below the top


def test_too_few_lines_are_an_input_error(tmp_path: Path) -> None:
    write_lines(tmp_path / "few", count=3, seed=0)
    with pytest.raises(InputError, match="too few"):
        StoredLines(tmp_path / "few", 0)


def test_a_line_whose_boxes_are_not_known_has_its_text_only() -> None:
    line = Line(np.zeros((40, 64), np.uint8), "12-", np.zeros((0, 4), np.float32))
    batch = as_batch([line], np.random.default_rng(0))
    assert batch.lengths.tolist() == [3] and len(batch.characters) == 3
    assert not batch.boxed.any() and not batch.boxes.any()


def test_each_column_has_the_box_of_the_nearest_character(digits: Digits) -> None:
    image = np.zeros((40, 40), np.uint8)
    corners = np.array([[18, 1, 26, 39], [26, 3, 34, 39]], np.float32)  # middles at columns 5 and 7
    batch = as_batch([Line(image, "1,", corners)], np.random.default_rng(0))
    tops = batch.boxes[0, 3:10, 2] * 20
    assert tops.round().tolist() == [1, 1, 1, 1, 3, 3, 3]
