"""Stored lines with a share of composed lines among them, so that a line network does not forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitcli.data.dataset import Failure
from digitcli.synthesis.lines import Line, LineSynthesizer
from digitcli.training.composed_lines import compose
from digitcli.training.line_sources import (
    POOL_BATCHES,
    ComposedLines,
    LineBatch,
    LinePools,
    StoredLines,
    as_batches,
)
from digitcli.training.task import derive_seed


@dataclass(frozen=True)
class RehearsedPools:
    """`LinePools` of stored lines and, by a share, of newly composed ones.

    Each pass takes all stored lines in another order, and a pool may begin and end within a pass.
    """

    lines: Sequence[Line]
    synthesizer: LineSynthesizer
    share: float
    batch_size: int
    seed: int

    def __getitem__(self, number: int) -> list[LineBatch]:
        """Return a pool; its share of composed lines is exact, that of a batch depends on their widths."""
        random = np.random.default_rng(derive_seed(self.seed, number))
        size = POOL_BATCHES * self.batch_size
        composed = round(self.share * size)
        stored = size - composed
        passes, places = np.divmod(np.arange(number * stored, (number + 1) * stored), len(self.lines))
        orders = {each: self._order(each) for each in np.unique(passes).tolist()}
        indices = [int(orders[each][place]) for each, place in zip(passes.tolist(), places, strict=True)]
        lines = [*(self.lines[index] for index in indices), *compose(self.synthesizer, random, composed)]
        return as_batches(lines, self.batch_size, random)

    def _order(self, number: int) -> np.ndarray:
        return np.random.default_rng(derive_seed(self.seed, 0, number)).permutation(len(self.lines))


class RehearsedLines:
    """A `LineSource` of stored lines that rehearses composed lines; it is validated on stored lines only."""

    composes = True
    failures: tuple[Failure, ...] = ()

    def __init__(self, stored: StoredLines, composed: ComposedLines, share: float, seed: int) -> None:
        self.name, self.digest, self.alphabet = stored.name, stored.digest, stored.alphabet
        self.sizes = stored.sizes
        self._stored, self._composed, self._share, self._seed = stored, composed, share, seed

    def pools(self, batch_size: int) -> LinePools:
        """Return pools of lines of both kinds."""
        synthesizer = self._composed.training_synthesizer()
        return RehearsedPools(self._stored.train, synthesizer, self._share, batch_size, self._seed)

    def validation(self) -> list[Line]:
        """Return the held-out stored lines to validate on."""
        return self._stored.validation()

    def test(self) -> list[Line]:
        """Return the held-out stored lines to test on."""
        return self._stored.test()
