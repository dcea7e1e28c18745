"""Fit the confidence of the reader of pages, and measure how reliable it is, on composed pages.

    python scripts/calibrate.py [--models runs/finder-1 runs/reader-1 runs/picture_reader-1]

The pages are written by the people and in the fonts that training holds out, with MNIST's validation digits.
The script fits the weights of `recognition.acceptance` for the reader of whole pictures on small pictures,
and for the page finder and the reader on every second page. On the other pages it measures which confidence
keeps the share of wrong answers below which limit. It writes the weights and limits into the checkpoints.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from digitcli.inference.predictor import LineRecognizer
from digitcli.recognition.acceptance import FEATURES, features
from digitcli.recognition.crops import crop_lines
from digitcli.recognition.finding import find_lines, reading_order
from digitcli.recognition.hypotheses import SEPARATORS, likeliest_text
from digitcli.recognition.reader import Reader, is_line_reader
from digitcli.recognition.recognize import (
    RecognitionModels,
    RegionEvidence,
    read_easy_picture,
    recognize_region,
    run_networks,
)
from digitcli.recognition.results import DEFAULT_MODELS
from digitcli.synthesis.page import Kind, Label, line_box
from digitcli.synthesis.scenes import Scene, SceneComposer, scene_composer

SEED = 4711
SIDES_PX = (200, 1400)  # of the large pages; a third of the pages are small
LARGEST_CUT = 0.1  # share outside of the page, above which a number is neither right nor wrong
LEAST_OVERLAP = 0.3  # share of the smaller of two boxes that are the same line
WEIGHT_DECAY = 1e-3
READING_ALONE = {"reading": 1.0}
LEAST_PROBABILITY = 0.05  # of a text in a whole picture; less likely ones tell nothing of easy pictures


@dataclass(frozen=True)
class Answer:
    """A number that was read.

    features: the values that the weights of the confidence multiply.
    is_easy: whether the reader of whole pictures has answered.
    is_right: whether the number stands there.
    """

    features: list[float]
    is_easy: bool
    is_right: bool


def main() -> None:
    """Read the pages, print the measurements and write them into the checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=DEFAULT_MODELS)
    parser.add_argument("--pages", type=int, default=1200)
    parser.add_argument("--pictures", type=int, default=6000)
    arguments = parser.parse_args()
    models = Reader(*arguments.models, device="cpu").models
    composer = scene_composer(split(load_mnist()).validation, held_out=True)
    weights_of_pictures = torch.zeros(len(FEATURES), dtype=torch.float64)
    if models.picture_reader is not None:
        weights_of_pictures = _fit_pictures(composer, models.picture_reader, arguments.pictures)
    pages = [list(_answers(composer, number, models)) for number in range(arguments.pages)]
    fitted, measured = (list(itertools.chain(*pages[first::2])) for first in (0, 1))
    weights = fit([answer for answer in fitted if not answer.is_easy])
    is_right = torch.tensor([answer.is_right for answer in measured])
    share = sum(answer.is_easy for answer in measured) / len(measured)
    print(f"{len(measured)} numbers, {share:.1%} easy, {is_right.double().mean():.2%} right, by the reader:")
    _report(torch.tensor([answer.features[0] for answer in measured]).sigmoid(), is_right)
    confidences = [
        _confidence(answer, weights_of_pictures if answer.is_easy else weights) for answer in measured
    ]
    print("by all features:")
    table = _report(torch.tensor(confidences), is_right)
    for limit in (0.02, 0.05, 0.1, 0.2, 0.5):
        below = torch.tensor(confidences) < limit
        print(f"  below {limit:.0%}: {(below & is_right).sum()} right and {(below & ~is_right).sum()} wrong")
    for model in resolve_models(arguments.models):
        if is_line_reader(model):
            _store(model.path, weights, table)
        elif model.header.task == "line":
            _store(model.path, weights_of_pictures, {})


def _fit_pictures(composer: SceneComposer, model: LineRecognizer, count: int) -> Tensor:
    """Return the weights for the reader of whole pictures, which uses them from now on."""
    model.header = dataclasses.replace(model.header, acceptance={})
    answers: list[Answer] = []
    for number in range(count):
        scene = composer.small_picture(np.random.default_rng([SEED, number, 1]))
        easy = read_easy_picture(scene.picture, model, certain=LEAST_PROBABILITY)
        answers += _answers_to_whole(easy, scene) if easy else []
    weights = fit(answers)
    is_right = torch.tensor([answer.is_right for answer in answers])
    print(f"{len(answers)} of {count} small pictures, {is_right.double().mean():.2%} right, read as a whole:")
    _report(torch.tensor([_confidence(answer, weights) for answer in answers]), is_right)
    model.header = dataclasses.replace(model.header, acceptance=_by_name(weights))
    return weights


def _by_name(weights: Tensor) -> dict[str, float]:
    return dict(zip(FEATURES, weights.tolist(), strict=True))


def _confidence(answer: Answer, weights: Tensor) -> float:
    return float((torch.tensor(answer.features, dtype=torch.float64) @ weights).sigmoid())


def _store(path: Path, weights: Tensor, table: dict[str, float]) -> None:
    print({name: round(weight, 3) for name, weight in _by_name(weights).items()})
    header, tensors = read_checkpoint(path)
    write_checkpoint(path, dataclasses.replace(header, risk=table, acceptance=_by_name(weights)), tensors)


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


def _answers(composer: SceneComposer, number: int, models: RecognitionModels) -> Iterator[Answer]:
    """Yield the numbers that are read on a page, except those of which it is unclear what is right."""
    assert models.finder is not None
    scene = _compose(composer, np.random.default_rng([SEED, number]))
    easy = models.picture_reader and read_easy_picture(scene.picture, models.picture_reader)
    if easy:
        yield from _answers_to_whole(easy, scene)
        return
    regions = crop_lines(scene.picture, reading_order(find_lines(scene.picture, models.finder.maps).lines))
    for region, evidence in zip(regions, run_networks(regions, models), strict=True):
        assert region.line is not None
        yield from _answers_of(evidence, _expected(region.line.box, scene))


def _answers_of(evidence: RegionEvidence, expected: set[str] | None) -> Iterator[Answer]:
    crops = evidence.crops
    for part in [] if expected is None else evidence.parts():
        nothing = part.hypotheses(ANY_DIGITS).get("", 0.0)
        (result,) = recognize_region(dataclasses.replace(part, acceptance=READING_ALONE), None, 1)
        if result.number is not None:
            text, probability = result.number.text, result.confidence
            values = features(probability, nothing, len(text), crops)
            yield Answer(list(values.values()), crops.line is None, text in (expected or ()))


def _answers_to_whole(evidence: RegionEvidence, scene: Scene) -> list[Answer]:
    """Return the numbers that a whole picture was read as; all are wrong if one is missing."""
    height, width = scene.picture.shape
    expected = _expected(LineBox(width / 2, height / 2, width, height, 0.0), scene)
    texts = {likeliest_text(part.hypotheses(ANY_DIGITS), 1.0) for part in evidence.parts()}
    return list(_answers_of(evidence, set() if expected and expected != texts else expected))


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
