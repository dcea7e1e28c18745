"""Fit the confidence of the reader of pages, and measure how reliable it is, on composed pages.

    python scripts/calibrate_pages.py [--models runs/finder-1 runs/strip_reader-1]

The pages are written by the people and in the fonts that training holds out, with MNIST's validation digits.
The script fits the weights of `recognition.pages.acceptance` on every second page. On the others it measures
which confidence keeps the share of wrong answers below which limit. It writes the weights and the limits into
the checkpoint of the reader of strips.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.evaluation.calibration import risk_table
from digitcli.evaluation.metrics import calibration_error
from digitcli.imaging.strips import LineBox
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.ctc import ANY_DIGITS
from digitcli.inference.model_resolution import resolve_models
from digitcli.recognition.hypotheses import SEPARATORS
from digitcli.recognition.pages.acceptance import FEATURES, features
from digitcli.recognition.pages.crops import crop_lines
from digitcli.recognition.pages.finding import find_lines, reading_order
from digitcli.recognition.pages.page_reader import PageReader
from digitcli.recognition.pages.recognize import recognize_region, run_networks
from digitcli.recognition.reader import Reader
from digitcli.synthesis.page import Kind, Label, line_box
from digitcli.synthesis.scenes import Scene, SceneComposer
from digitcli.training.scene_source import scene_composer

SEED = 4711
SIDES_PX = (200, 1400)  # of the large pages; a third of the pages are small
LARGEST_CUT = 0.1  # share outside of the page, above which a number is neither right nor wrong
LEAST_OVERLAP = 0.3  # share of the smaller of two boxes that are the same line
WEIGHT_DECAY = 1e-3
READING_ALONE = {"reading": 1.0}


@dataclass(frozen=True)
class Answer:
    """A number that was read.

    features: the values that the weights of the confidence multiply.
    is_right: whether the number stands there.
    """

    features: list[float]
    is_right: bool


def main() -> None:
    """Read the pages, print the measurements and write them into the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["finder", "page_reader"])
    parser.add_argument("--pages", type=int, default=700)
    arguments = parser.parse_args()
    page_reader = Reader(*arguments.models, device="cpu").models.page_reader
    assert page_reader is not None
    composer = scene_composer(split(load_mnist()).validation, held_out=True)
    pages = [list(_answers(composer, number, page_reader)) for number in range(arguments.pages)]
    fitted, measured = (list(itertools.chain(*pages[first::2])) for first in (0, 1))
    weights = fit(fitted)
    acceptance = dict(zip(FEATURES, weights.tolist(), strict=True))
    print({name: round(weight, 3) for name, weight in acceptance.items()})
    values = torch.tensor([answer.features for answer in measured], dtype=torch.float64)
    is_right = torch.tensor([answer.is_right for answer in measured])
    print(f"{len(measured)} numbers, {is_right.double().mean():.2%} right, by the reader alone:")
    _report(values[:, 0].sigmoid(), is_right)
    print("by all features:")
    confidences = (values @ weights).sigmoid()
    table = _report(confidences, is_right)
    for limit in (0.02, 0.05, 0.1, 0.2, 0.5):
        below = confidences < limit
        print(f"  below {limit:.0%}: {(below & is_right).sum()} right and {(below & ~is_right).sum()} wrong")
    path = next(model.path for model in resolve_models(arguments.models) if model.header.task == "line")
    header, tensors = read_checkpoint(path)
    write_checkpoint(path, dataclasses.replace(header, risk=table, acceptance=acceptance), tensors)


def fit(answers: Sequence[Answer]) -> Tensor:
    """Return the weights (F,) of a logistic regression that tells right answers from wrong ones."""
    values = torch.tensor([answer.features for answer in answers], dtype=torch.float64)  # N, F
    is_right = torch.tensor([answer.is_right for answer in answers])
    weights = torch.zeros(values.shape[1], dtype=values.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(values @ weights, is_right.to(values.dtype))
        loss = loss + WEIGHT_DECAY * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


def _answers(composer: SceneComposer, number: int, page_reader: PageReader) -> Iterator[Answer]:
    """Yield the numbers that are read on a page, except those of which it is unclear what is right."""
    scene = _compose(composer, np.random.default_rng([SEED, number]))
    lines = find_lines(scene.picture, page_reader.finder.maps).lines
    regions = crop_lines(scene.picture, reading_order(lines))
    for evidence in run_networks(regions, page_reader.line_models, READING_ALONE):
        expected = _expected(evidence.crops.line.box, scene)
        for part in [] if expected is None else evidence.parts():
            nothing = part.hypotheses(ANY_DIGITS).get("", 0.0)
            (result,) = recognize_region(part, None, 1)
            if result.number is not None:
                text, probability = result.number.text, result.confidence
                values = features(probability, nothing, len(text), evidence.crops)
                yield Answer(list(values.values()), text in (expected or ()))


def _compose(composer: SceneComposer, random: np.random.Generator) -> Scene:
    if random.random() < 1 / 3:
        return composer.small_picture(random)
    height, width = (round(float(np.exp(random.uniform(*np.log(SIDES_PX))))) for _ in range(2))
    return composer.page(random, height, width)


def _expected(box: LineBox, scene: Scene) -> set[str] | None:
    """Return the digits of the numbers that stand in a box; None if one of them is cut off."""
    size = scene.picture.shape[::-1]
    numbers = [
        label
        for label in scene.labels
        if label.kind is Kind.NUMBER and box.overlap(line_box(label)) > LEAST_OVERLAP
    ]
    if any(not label.text or line_box(label).share_outside(size) > LARGEST_CUT for label in numbers):
        return None
    return {digits for label in numbers for digits in _digits_of(label)}


def _digits_of(label: Label) -> list[str]:
    """Return the digits of each number of a label, which may hold several."""
    numbers = "".join(" " if character in SEPARATORS else character for character in label.text).split()
    return ["".join(filter(str.isdecimal, number)) for number in numbers]


def _report(confidences: Tensor, is_right: Tensor) -> dict[str, float]:
    table = risk_table(confidences.tolist(), is_right.tolist())
    print(f"  expected calibration error {calibration_error(confidences, is_right):.4f}")
    for error, threshold in table.items():
        share = (confidences >= threshold).double().mean()
        print(f"  at most {float(error):.1%} wrong: confidence {threshold:.4f}, {share:.1%} answered")
    return table


if __name__ == "__main__":
    main()
