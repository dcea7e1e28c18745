"""One place of a line is a classification, with the probabilities of CTC."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.inference.checkpoint import Header
from digitcli.interpretation.explain import PlaceReader, read_line
from digitcli.strip_format import STRIP_PAPER

ALPHABET = "0123456789.-"
COLUMNS, PLACE, TEMPERATURE = 9, (2, 7), 1.5


class FixedColumns(nn.Module):
    """A line network that answers with its parameter, whatever the line."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, lines: Tensor) -> Tensor:
        return self.logits.expand(len(lines), -1, -1)


@pytest.fixture
def network() -> FixedColumns:
    return FixedColumns(
        3 * torch.randn(COLUMNS, len(ALPHABET) + 1, generator=torch.Generator().manual_seed(0))
    )


def log_probability(network: FixedColumns, text: list[int]) -> Tensor:
    """The log-probability of a text at the place by PyTorch's CTC, where marks count as the blank."""
    columns = (network.logits[slice(*PLACE)] / TEMPERATURE).log_softmax(dim=-1)
    merged = torch.cat([columns[:, :10], columns[:, 10:].logsumexp(dim=-1, keepdim=True)], dim=-1)
    lengths = torch.tensor([len(merged)]), torch.tensor([len(text)])
    return -F.ctc_loss(
        merged[:, None], torch.tensor([text], dtype=torch.long), *lengths, blank=10, reduction="sum"
    )


def test_the_logit_of_a_digit_is_the_ctc_likelihood_over_that_of_a_blank(network: FixedColumns) -> None:
    reader = PlaceReader(network, ALPHABET, TEMPERATURE, PLACE)
    (logits,) = reader(torch.zeros(1, 1, 40, 4 * COLUMNS)).detach()
    assert logits.shape == (11,) and logits[10] == 0
    blank = log_probability(network, [])
    expected = [float((log_probability(network, [digit]) - blank).detach()) for digit in range(10)]
    assert logits[:10].tolist() == pytest.approx(expected, abs=1e-4)


def test_its_gradient_is_that_of_ctc_and_ends_at_the_place(network: FixedColumns) -> None:
    logits = PlaceReader(network, ALPHABET, TEMPERATURE, PLACE)(torch.zeros(1, 1, 40, 4 * COLUMNS))
    (actual,) = torch.autograd.grad(logits[0, 4], network.logits)
    (expected,) = torch.autograd.grad(
        log_probability(network, [4]) - log_probability(network, []), network.logits
    )
    assert torch.allclose(actual, expected, atol=1e-5)
    assert actual[: PLACE[0]].abs().max() == actual[PLACE[1] :].abs().max() == 0 < actual.abs().max()


class InkReader(nn.Module):
    """A line network that reads a 1 in columns of much ink, and a blank elsewhere."""

    def forward(self, lines: Tensor) -> Tensor:
        ink = (lines - lines[..., -1:]).abs().mean(dim=(1, 2)).unflatten(-1, (-1, 4)).mean(dim=-1)  # N, T
        logits = torch.zeros(*ink.shape, len(ALPHABET) + 1)
        logits[..., 1], logits[..., -1] = 40 * ink, 10
        return logits


def test_a_line_is_read_and_divided_without_its_padding() -> None:
    header = Header(architecture="reader", task="line", alphabet=ALPHABET)
    for channels, paper in ((1, 0), (3, STRIP_PAPER)):
        image = np.full((channels, 40, 50), paper, np.uint8)
        image[..., 8:12] = image[..., 40:44] = 255
        line = read_line(InkReader(), header, image if channels > 1 else image[0])
        assert line.text == "11" and 0.9 < line.confidence <= 1
        (first, _), (second, _) = line.places
        assert first[0] == 0 and first[1] == second[0] and second[1] == 13  # of 16 with the padding
        assert line.batch.shape == (1, channels, 40, 64)
