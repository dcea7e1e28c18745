"""The original data of a fine-tuning run: those that its start model was trained on.

A run may take a share of each batch from them, and measures on their test part what it has forgotten.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import torch
from torch import nn

from digitcli.architectures.registry import find_architecture
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.evaluation.metrics import accuracy, exact_match
from digitcli.inference.torch_runtime import infer
from digitcli.synthesis.lines import Line
from digitcli.training.composed_lines import STRIP_COMPOSERS
from digitcli.training.configuration import TrainConfig
from digitcli.training.line_sources import ComposedLines
from digitcli.training.line_task import line_logits

# The number of original lines that are composed to test on: five times fewer than a run that learns to read
# lines, since each of them is read twice. The standard error of a difference is about 0.3 percentage points.
TEST_LINES = 1_000


class OriginalData(Protocol):
    """Data that the start model was trained on.

    name: The name of the dataset.
    digest: A hash of it.
    test_size: The number of test examples.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def digest(self) -> str: ...  # noqa: D102

    @property
    def test_size(self) -> int: ...  # noqa: D102

    def test_accuracy(self, network: nn.Module) -> float:
        """Return the accuracy of a network on the test examples."""


class OriginalDigits:
    """`OriginalData` of single digits.

    train: The training digits.
    """

    def __init__(self, name: str) -> None:
        dataset = load_dataset(name)
        self.name, self.digest = dataset.name, dataset.digest
        splits = split(dataset)
        self.train, self._test = splits.train, splits.test
        self.test_size = len(splits.test)

    def test_accuracy(self, network: nn.Module) -> float:
        """Return the accuracy on the test digits."""
        return accuracy(infer(network, self._test.images), torch.from_numpy(self._test.labels))


class OriginalLines:
    """`OriginalData` of lines, which are composed from digits and pen strokes.

    source: The lines.
    test_size: The number of lines to test on.
    """

    test_size = TEST_LINES

    def __init__(self, name: str, strokes: str | None, seed: int) -> None:
        self.source = ComposedLines(load_dataset(name), strokes, seed)
        self.name, self.digest = self.source.name, self.source.digest

    def test_accuracy(self, network: nn.Module) -> float:
        """Return the share of the test lines whose digits are all read correctly."""
        texts = [line.digits for line in self._test]
        return exact_match(line_logits(network, self._test), texts, self.source.alphabet)

    @cached_property
    def _test(self) -> list[Line]:
        return self.source.test(TEST_LINES)


def load_original(config: TrainConfig) -> OriginalDigits | OriginalLines | None:
    """Load the original data of a run; None if it has none, or if its architecture composes scenes.

    Raises:
        The errors of `load_dataset`.
    """
    if config.original is None:
        return None
    task = find_architecture(config.arch).task
    if task == "digit":
        return OriginalDigits(config.original)
    if task == "line" and config.arch not in STRIP_COMPOSERS:
        return OriginalLines(config.original, config.strokes, config.seed)
    return None
