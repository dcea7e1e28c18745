"""Test `digitcli explain` for lines: `python benchmarks/line_attributions.py reader page_reader`.

The lines are composed from the test digits of MNIST. Those count that are read rightly and have two digits or
more. Two kinds of questions:

1. Does the score belong to its digit? Each digit of a line is covered by paper in turn. How often does the
   score of a digit fall most when that digit itself is covered? Three scores are compared: that of `explain`,
   against a blank and against the likeliest other digit, and the difference of the log-likelihoods of the
   whole text and of the text without the digit.
2. Do the maps of each method show what the network sees? One digit of each line is explained, the least
   certain. The share of the map inside its box and the deletion of pixels, the most important first, are
   compared with those of the ink itself and of chance; and the map, on the ink in the box, with that of a
   network whose weights are in a random order (rank correlation).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from digitcli.data.mnist import load_mnist_test
from digitcli.errors import UsageError
from digitcli.inference.checkpoint import Header
from digitcli.inference.ctc import digit_columns, log_probability
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.runtime import paper_level
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation.attribution import digit_score
from digitcli.interpretation.explain_lines import line_methods
from digitcli.interpretation.faithfulness import deletion, randomized, rank_correlation
from digitcli.interpretation.methods import one_map
from digitcli.interpretation.place_reader import PlaceReader, ReadLine, read_line
from digitcli.synthesis.lines import LineSynthesizer
from digitcli.training.composed_lines import STRIP_COMPOSERS, compose
from digitcli.training.line_sources import AnyLine
from digitcli.training.scene_source import scene_composer

SEED = 2026
LEAST_DIGITS = 2
# Points of quadrature for networks of random weights.
QUICK = ((50, 1),)
Map = npt.NDArray[np.float32]  # 40, W


@dataclass(frozen=True)
class Example:
    """A line that is read rightly, and the box of each digit: x0, y0, x1, y1 in pixels."""

    line: ReadLine
    boxes: list[tuple[int, int, int, int]]
    ink: Map
    paper: float


def main() -> None:
    """Print the figures of each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="shipped names, checkpoint files or run folders")
    parser.add_argument("--lines", type=int, default=300, help="composed lines (default: 300)")
    parser.add_argument("--maps", type=int, default=30, help="lines of which maps are made (default: 30)")
    arguments = parser.parse_args()
    for name in arguments.models:
        model = resolve_model(name)
        network = load_model(model)
        examples = list(examples_of(network, model.header, arguments.lines))
        digits = sum(len(example.boxes) for example in examples)
        print(f"{name}: {len(examples)} of {arguments.lines} lines, {digits} digits")
        print_falls(network, model.header, examples)
        print(f"{'':22}{'in box':>8}{'deletion':>10}{'last layer':>12}{'all layers':>12}")
        last, every = networks_of_random_weights(network)
        rows: dict[str, list[tuple[float, ...]]] = {}
        for example in examples[: arguments.maps]:
            for method, row in rows_of(example, model.header, last, every):
                rows.setdefault(method, []).append(row)
        for method, values in rows.items():
            in_box, deleted, of_last, of_all = np.nanmean(values, axis=0)
            print(f"{method:22}{in_box:8.2f}{deleted:10.3f}{of_last:12.2f}{of_all:12.2f}", flush=True)


def examples_of(network: nn.Module, header: Header, count: int) -> Iterator[Example]:
    """Compose lines as a network sees them, and yield those that it reads rightly."""
    random = np.random.default_rng(SEED)
    digits = load_mnist_test()
    lines: list[AnyLine]
    if header.architecture in STRIP_COMPOSERS:
        composer = scene_composer(digits, held_out=True)
        lines = list(STRIP_COMPOSERS[header.architecture](composer, random, count))
    else:
        lines = list(compose(LineSynthesizer(digits), random, count))
    for line in lines:
        read = read_line(network, header, line.image)
        if len(read.text) >= LEAST_DIGITS and read.text == line.digits:
            characters = line.text.replace(" ", "")
            corners = np.concatenate([np.floor(line.boxes[:, :2]), np.ceil(line.boxes[:, 2:])], axis=1)
            boxes = [
                tuple(box)
                for box, character in zip(corners.astype(int).tolist(), characters, strict=True)
                if character.isdecimal()
            ]
            paper = paper_level(line.image) / 255
            yield Example(read, boxes, one_map("ink", (read.batch - paper).abs()), paper)


def print_falls(network: nn.Module, header: Header, examples: list[Example]) -> None:
    """Print how often the score of a digit falls most when this digit is covered, for three scores."""
    hits: dict[str, list[bool]] = {}
    for example in examples:
        covered = torch.cat([example.line.batch, *covered_digits(example)])
        whole = whole_text_scores(network, header, example, covered)
        for index, (digit, (_, place)) in enumerate(
            zip(map(int, example.line.text), example.line.places, strict=True)
        ):
            with torch.no_grad():
                logits = place(covered)  # 1 + n, 11
            others = logits[0, :10].clone()
            others[digit] = -torch.inf
            scores = {
                "against a blank": logits[:, digit],
                "against the likeliest other digit": logits[:, digit] - logits[:, int(others.argmax())],
                "of the whole text": whole[:, index],
            }
            for name, score in scores.items():
                hits.setdefault(name, []).append(int((score[0] - score[1:]).argmax()) == index)
    for name, values in hits.items():
        print(f"  the score {name} falls most by its own digit: {np.mean(values):.1%} of {len(values)}")


def covered_digits(example: Example) -> Iterator[Tensor]:
    """Yield copies of a line, each with one digit covered by paper."""
    for x0, y0, x1, y1 in example.boxes:
        copy = example.line.batch.clone()
        copy[..., y0:y1, x0:x1] = example.paper
        yield copy


@torch.no_grad()
def whole_text_scores(network: nn.Module, header: Header, example: Example, batch: Tensor) -> Tensor:
    """Return by how much the text is likelier than the text without each digit, (N, n)."""
    text = example.line.text
    end = example.line.places[-1][0][1]
    columns = [
        digit_columns(logits[:end], header.alphabet, header.temperature)
        for logits in network(batch).float().numpy()
    ]
    return torch.tensor(
        [
            [
                log_probability(each, text) - log_probability(each, text[:index] + text[index + 1 :])
                for index in range(len(text))
            ]
            for each in columns
        ]
    )


def networks_of_random_weights(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return the network with the weights of its last layer, and of all layers, in a random order."""
    changed = dict(randomized(network))
    last = next(name for name in changed if name != "distances")  # that layer does not read
    return changed[last], list(changed.values())[-1]


def rows_of(
    example: Example, header: Header, last: nn.Module, every: nn.Module
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield each method with its figures for the least certain digit of a line."""
    places = example.line.places
    with torch.no_grad():
        shares = [
            place(example.line.batch).softmax(dim=1)[0, int(digit)].item()
            for digit, (_, place) in zip(example.line.text, places, strict=True)
        ]
    index = int(np.argmin(shares))
    columns, place = places[index]
    digit = torch.tensor([int(example.line.text[index])])

    def probability(batch: Tensor) -> Tensor:
        return torch.as_tensor(place(batch).softmax(dim=1)[:, int(digit)])

    def figures(values: Map, of_last: Map, of_all: Map) -> tuple[float, ...]:
        x0, y0, x1, y1 = example.boxes[index]
        size = np.abs(values)
        curve = deletion(probability, example.line.batch, torch.from_numpy(values)[None, None], example.paper)
        is_ink = np.zeros(values.shape, bool)
        is_ink[y0:y1, x0:x1] = example.ink[y0:y1, x0:x1] > 0
        correlations = [correlation(values[is_ink], other[is_ink]) for other in (of_last, of_all)]
        return float(size[y0:y1, x0:x1].sum() / size.sum()), float(curve.mean()), *correlations

    batch, quick = example.line.batch, line_methods(example.paper, QUICK)
    for method, compute in line_methods(example.paper).items():
        values = one_map(method, compute(digit_score(place, digit), batch))
        others = []
        for network in (last, every):
            score = digit_score(PlaceReader(network, header.alphabet, header.temperature, columns), digit)
            try:
                others.append(one_map(method, quick[method](score, batch)))
            except UsageError:  # integrated gradients of random weights need not add up
                others.append(np.full(values.shape, np.nan, np.float32))
        yield method, figures(values, *others)
    chance = np.random.default_rng(SEED).random(example.ink.shape, np.float32)
    yield "the ink itself", figures(example.ink, example.ink, example.ink)
    yield "chance", figures(chance, chance, chance)


def correlation(first: Map, second: Map) -> float:
    """Return the rank correlation of the sizes of values (P,); NaN where one of them was not computed."""
    if np.isnan(second).any():
        return float("nan")
    return float(rank_correlation(*(torch.from_numpy(np.abs(each))[None] for each in (first, second))))


if __name__ == "__main__":
    main()
