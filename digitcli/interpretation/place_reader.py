"""A line network as a classifier of one place of a line: which digit stands there, if any?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.inference.checkpoint import Header
from digitcli.inference.ctc import DIGITS, beam_search, digit_columns, divide
from digitcli.inference.runtime import count_columns, pad_lines, padded_width, width_step
from digitcli.inference.torch_runtime import as_input, device_of


class PlaceReader(nn.Module):
    """A network from lines (N, C, 40, W) to the logits (N, 11) of the digits at one place, and of none.

    The place is a range of columns. The logit of a digit is the logarithm of the probability that these
    columns show this digit, once, over the probability that they show none; therefore that of none is 0. As
    in connectionist temporal classification, the probability of a digit is the sum over its alignments, which
    are the runs of neighbouring columns that show it while all others are blank (Graves et al., 2006). Marks
    count as the blank. The softmax of the logits is calibrated by the temperature of the model.
    """

    def __init__(
        self, network: nn.Module, alphabet: str, temperature: float, columns: tuple[int, int]
    ) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.columns = slice(*columns)
        self.digits = [alphabet.index(digit) for digit in DIGITS]
        self.others = [index for index in range(len(alphabet) + 1) if index not in self.digits]

    def forward(self, lines: Tensor) -> Tensor:
        """Return logits (N, 11); the last is 0."""
        logits = self.network(lines).float()[:, self.columns] / self.temperature  # N, T, A + 1
        blank = logits[..., self.others].logsumexp(dim=-1, keepdim=True)
        first, *others = (logits[..., self.digits] - blank).unbind(dim=1)  # T times N, 10
        ending = total = first  # alignments whose run ends at the column, and all so far
        for lead in others:
            ending = F.softplus(ending) + lead  # the run begins here, or goes on
            total = torch.logaddexp(total, ending)
        return F.pad(total, (0, 1))


@dataclass(frozen=True)
class ReadLine:
    """A line that is read.

    batch: the line as the network sees it, padded as for `predict`, float32 (1, C, 40, W).
    text, confidence: the likeliest text and its probability.
    places: the columns of each digit, see `ctc.divide`, and the network as their classifier.
    """

    batch: Tensor
    text: str
    confidence: float
    places: list[tuple[tuple[int, int], PlaceReader]]


@torch.no_grad()
def read_line(network: nn.Module, header: Header, image: npt.NDArray[np.uint8]) -> ReadLine:
    """Read a line, uint8 (40, W) or (3, 40, W), by the network of a checkpoint, and divide it into digits."""
    padded = pad_lines([image], padded_width(image, width_step(header.architecture)))
    batch = as_input(torch.from_numpy(padded).to(device_of(network)))
    logits = network(batch)[0].float().cpu().numpy()
    logits = logits[: count_columns(image.shape[-1], padded.shape[-1], len(logits))]
    columns = digit_columns(logits, header.alphabet, header.temperature)
    text, log_probability = beam_search(columns)[0]
    places = [
        (place, PlaceReader(network, header.alphabet, header.temperature, place))
        for place in divide(columns, text)
    ]
    return ReadLine(batch, text, min(1.0, math.exp(log_probability)), places)
