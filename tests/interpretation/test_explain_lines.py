"""Explanations of lines by shipped models: what speaks for a digit is where that digit stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.errors import ModelError, UsageError
from digitcli.imaging.network_inputs import cut_whole
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation import attribution
from digitcli.interpretation.attribution import COMPLETENESS, LEAST_LOGITS, QUADRATURES
from digitcli.interpretation.explain import CAUTION, read_line
from digitcli.interpretation.explain import explain_lines as explain
from digitcli.interpretation.explanation import Attribution, Explanation, Method
from digitcli.strip_format import ALPHABET

WIDTH_PX, GAP_PX = 24, 4  # of a digit, and of the paper beside it
TEXT = "704"

ROUGHLY = 0.05  # share of a score


@pytest.fixture(scope="module")
def line(digits: Digits) -> npt.NDArray[np.uint8]:
    """The digits 7, 0 and 4 in a row, dark on light, as `reader` sees them: uint8 (3, 40, W)."""
    cells = [np.pad(digits.images[index][:, 2:26], ((6, 6), (GAP_PX, GAP_PX))) for index in (0, 3, 4)]
    return cut_whole(255 - np.hstack(cells)).image


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Take few steps: coarse squares, few noisy copies, and few points, which add up roughly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attribution, "LINE_OCCLUSION_PX", (8, 8))
        patch.setattr(attribution, "QUADRATURES", ((240, 3),))
        patch.setattr(attribution, "COMPLETENESS", ROUGHLY)
        patch.setattr(attribution, "NOISY_COPIES", 2)
        yield


@pytest.fixture(scope="module")
def zero(line: npt.NDArray[np.uint8]) -> Explanation:
    methods: list[Method] = ["occlusion", "integrated-gradients", "saliency", "feature-maps", "filters"]
    (explanation,) = explain("reader", [("line", line)], methods, position=2)
    return explanation


def adds_up(shares: Attribution) -> bool:
    expected = pytest.approx(shares.score - shares.baseline, rel=ROUGHLY, abs=LEAST_LOGITS)
    return bool(shares.values.sum() == expected)


def test_a_digit_of_a_line_is_explained_against_a_blank_and_another_digit(zero: Explanation) -> None:
    assert (zero.text, zero.position, zero.digit) == (TEXT, 2, 0)
    assert zero.confidence > 0.9 and zero.probability(0) > 0.9 and sum(zero.probabilities) == pytest.approx(1)
    cell = WIDTH_PX + 2 * GAP_PX
    assert zero.span[0] < 1.5 * cell < zero.span[1]
    assert [each.against for each in zero.attributions] == 3 * [None, zero.other_digit]
    assert all(each.values.shape == zero.image.shape[-2:] for each in zero.attributions)
    for each in zero.attributions:  # what speaks for the digit is where it stands
        by_cell = np.abs(each.values).reshape(40, 3, cell).sum(axis=(0, 2))
        assert by_cell.argmax() == 1, each.name
    assert all(adds_up(each) for each in zero.attributions[2:4])
    assert zero.attributions[2].score > 5 > -5 > zero.attributions[2].baseline
    first, *maps = zero.layers
    assert first.kind == "filters" and {layer.maps.ndim for layer in maps} == {3} and len(maps) > 5


def test_the_shares_of_a_digit_add_up_within_a_hundredth(
    line: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take the points of quadrature with which all lines add up; a single digit is quick enough for them."""
    monkeypatch.setattr(attribution, "COMPLETENESS", COMPLETENESS)
    monkeypatch.setattr(attribution, "QUADRATURES", QUADRATURES[1:2])
    read = read_line(
        load_model("reader"), resolve_model("reader").header, line[:, :, : WIDTH_PX + 2 * GAP_PX]
    )
    (_, reader) = read.places[0]

    def score(images: torch.Tensor) -> torch.Tensor:
        return reader(images)[:, 7]

    shares = attribution.integrated_gradients(score, read.batch)
    assert read.text == "7" and shares.max() > 0  # an error is raised if they do not add up


def test_the_least_certain_digit_is_explained_by_default(line: npt.NDArray[np.uint8]) -> None:
    faint = line.copy()
    faint[:, 24:, 60:] = 128 - (128 - faint[:, 24:, 60:].astype(int)) // 5  # the stem of the last digit
    (explanation,) = explain("reader", [("line", faint)], [])
    every = [next(explain("reader", [("line", faint)], [], position=place)) for place in (1, 2, 3)]
    certainties = [each.probability(each.digit) for each in every]
    assert explanation.position == 1 + certainties.index(min(certainties)) == 3


def test_covering_a_digit_lowers_its_own_score_most(line: npt.NDArray[np.uint8]) -> None:
    read = read_line(load_model("reader"), resolve_model("reader").header, line)
    cell = WIDTH_PX + 2 * GAP_PX
    covered = read.batch.repeat(4, 1, 1, 1)
    for place in range(3):
        covered[place + 1, ..., place * cell : (place + 1) * cell] = 128 / 255
    for place, (digit, (_, reader)) in enumerate(zip(read.text, read.places, strict=True)):
        with torch.no_grad():
            scores = reader(covered)[:, int(digit)]
        assert int((scores[0] - scores[1:]).argmax()) == place


def test_lines_and_models_that_cannot_be_explained(line: npt.NDArray[np.uint8]) -> None:
    (explanation,) = explain("reader", [("blank", np.full((3, 40, 80), 128, np.uint8))])
    assert (explanation.text, explanation.digit, explanation.attributions) == ("", None, ())
    for position in (0, 4, -1):
        with pytest.raises(UsageError, match=f"read as 704, which has no digit {position}") as caught:
            next(explain("reader", [("line", line)], position=position))
        assert "from 1 to 3" in caught.value.remedy
    for model in ("cnn", "finder"):
        with pytest.raises(ModelError, match=f"{model} does not read lines"):
            next(explain(model, []))


def test_a_strip_on_grey_paper_is_explained_by_its_ink(line: npt.NDArray[np.uint8]) -> None:
    strip = cut_whole(200 - (128 - line[0, :, :60]) // 2)
    (explanation,) = explain(
        "reader", [("strip", strip.image)], ["integrated-gradients", "occlusion"], position=1
    )
    assert explanation.text == TEXT[:2] and explanation.digit == 7
    assert {each.values.shape for each in explanation.attributions} == {strip.image.shape[1:]}
    shares = explanation.attributions[0]
    assert adds_up(shares)
    corner = explanation.attributions[2].values[:8, -8:]  # paper covers paper
    assert np.abs(corner).max() < 0.05 < explanation.attributions[2].values.max()


@pytest.mark.parametrize("architecture", ["reader", "glance"])
def test_every_architecture_of_lines_is_explained(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "COMPLETENESS", 10.0)  # of random weights
    monkeypatch.setattr(attribution, "QUADRATURES", ((4, 1),))
    torch.manual_seed(0)
    header = Header(architecture=architecture, task="line", alphabet=ALPHABET)
    weights = create_model(architecture).state_dict()
    weights["classes.bias"][7] = 9.0  # it reads a 7 everywhere
    path = tmp_path / "line.safetensors"
    write_checkpoint(path, header, weights)
    image = np.random.default_rng(0).integers(0, 255, (3, 40, 24), np.uint8)
    methods: list[Method] = ["occlusion", "integrated-gradients", "saliency", "smoothgrad"]
    (explanation,) = explain(path, [("noise", image)], methods, against=1)
    assert explanation.text == "7" and explanation.notes == (CAUTION,)
    assert [each.name for each in explanation.attributions[:2]] == ["occlusion/7", "occlusion/7-1"]
    assert all(
        each.values.shape == (40, 24) and np.isfinite(each.values).all() for each in explanation.attributions
    )
