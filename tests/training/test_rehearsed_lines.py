"""Pools of stored lines with composed lines among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from digitcli.synthesis.lines import Line
from digitcli.training import rehearsed_lines
from digitcli.training.line_sources import POOL_BATCHES, LineBatch
from digitcli.training.rehearsed_lines import RehearsedPools

STORED, COMPOSED, BATCH_SIZE = "01234", "9", 2


def line(text: str) -> Line:
    return Line(np.zeros((40, 40), np.uint8), text, np.array([[4, 4, 30, 30]], np.float32))


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> RehearsedPools:
    def compose(synthesizer: Any, random: np.random.Generator, count: int) -> list[Line]:
        return [line(COMPOSED)] * count

    monkeypatch.setattr(rehearsed_lines, "compose", compose)
    synthesizer: Any = None
    return RehearsedPools([line(text) for text in STORED], synthesizer, 0.25, BATCH_SIZE, seed=3)


def characters_of(pool: list[LineBatch]) -> list[int]:
    return np.concatenate([batch.characters for batch in pool]).tolist()


def test_a_pool_has_the_share_and_passes_take_every_stored_line_once(pools: RehearsedPools) -> None:
    pool_size = POOL_BATCHES * BATCH_SIZE
    seen: list[int] = []
    for number in range(3):
        characters = characters_of(pools[number])
        assert len(characters) == pool_size
        seen += characters
    counts = sorted(np.unique(seen, return_counts=True)[1].tolist())
    stored = 3 * pool_size * 3 // 4
    assert counts[-1] == 3 * pool_size // 4 and sum(counts[:-1]) == stored
    assert {*counts[:-1]} == {stored // len(STORED), stored // len(STORED) + 1}


def test_a_pool_depends_on_its_number_only(pools: RehearsedPools) -> None:
    first = characters_of(pools[1])
    assert characters_of(pools[0]) != first
    assert characters_of(pools[1]) == first
