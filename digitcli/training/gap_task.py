"""The task of telling which digits of a page form one number: gaps of synthetic pages, and what is measured.

The gaps are those that the shipped networks see: they find the lines of each page and read them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.gap_format import VALUES
from digitcli.inference.line_finding import find_lines
from digitcli.inference.predictor import load_line_recognizer, load_page_finder
from digitcli.recognition.gaps import PlacedDigit, digits_of, gaps_between, network_input
from digitcli.recognition.line_reading import read_lines, reading_order
from digitcli.recognition.pages import PageNetworks
from digitcli.synthesis.page import Kind, Label, numbers_of
from digitcli.synthesis.page_layouts import LAYOUTS
from digitcli.synthesis.scenes import SceneComposer
from digitcli.synthesis.shares import choose
from digitcli.training.task import SceneKind

SIDES_PX, DIGIT_PX = (350.0, 1300.0), (14.0, 60.0)  # of the pages, and of the digits on them
NEAR = 0.45  # heights of a digit between its middle and that of the character that it shows
SIZES = (0.5, 2.0)  # range of the height of that character, in heights of the digit
# Changes of what is seen, so that the network also works where the others see less well. Chosen by hand.
NOISE = dict.fromkeys(("gap", "distance", "drop", "ratio", "before", "behind", "size"), 0.05)
LOG_ODDS_NOISE, CONTRAST_NOISE, LEVEL_NOISE = 0.4, 0.2, 0.05
BLIND_SHARE, REVERSED_SHARE = 0.15, 0.3  # pages without what the readers see in gaps; light on dark
FINDER, READER = "finder", "reader"  # the shipped networks that find and read the lines


@dataclass(frozen=True)
class GapsOfPage:
    """What the network sees of G gaps of a page, uint8 (G, 2329), and whether each separates numbers (G,).

    Where that is not known, it is -1.
    """

    rows: npt.NDArray[np.uint8]
    is_split: npt.NDArray[np.int8]


def compose_pages(composer: SceneComposer, random: np.random.Generator, count: int) -> list[GapsOfPage]:
    """Compose pages with gaps between digits, at least one of which is known."""
    networks, pages = page_networks(), list[GapsOfPage]()
    while len(pages) < count:
        layout = LAYOUTS[choose(random, "layouts.gaps")]
        height, width = (round(float(np.exp(random.uniform(*np.log(SIDES_PX))))) for _ in range(2))
        digit_px = float(np.exp(random.uniform(*np.log(DIGIT_PX))))
        scene = composer.page(random, height, width, digit_px=digit_px, layout=layout)
        places = reading_order(find_lines(scene.picture, networks.finder.maps).lines)
        lines = read_lines(scene.picture, places, networks.readers)
        digits = digits_of(lines)
        gaps = gaps_between(digits, lines)
        owners = owners_of(digits, scene.labels)
        is_split = [
            -1 if before < 0 or behind < 0 else int(before != behind)
            for gap, before, behind in zip(gaps, owners, owners[1:], strict=False)
            if gap is not None
        ]
        if max(is_split, default=-1) >= 0:
            rows = network_input(scene.picture, digits, gaps, lines)[0]
            pages.append(GapsOfPage(rows, np.array(is_split, np.int8)))
    return pages


def owners_of(digits: Sequence[PlacedDigit], labels: Sequence[Label]) -> list[int]:
    """Return for each digit that was read the index of its number on the page, or -1 if it shows none."""
    written = [label for label in labels if label.kind is Kind.NUMBER and label.text]
    boxes, owners = [], []
    for owner, number in enumerate(number for label in written for number in numbers_of(label)):
        characters = number.text.replace(" ", "")
        for character, corners in zip(characters, number.corners, strict=True):
            if character.isdecimal():
                boxes.append((*corners.mean(axis=0), np.ptp(corners[:, 1])))
                owners.append(owner)
    found: list[int] = []
    x, y, heights = np.array(boxes, np.float64).reshape(-1, 3).T
    for digit in digits:
        distances = np.hypot(x - digit.x, y - digit.y) / digit.height
        nearest = int(distances.argmin()) if len(distances) else -1
        shows = nearest >= 0 and distances[nearest] < NEAR
        shows = shows and SIZES[0] < heights[nearest] / digit.height < SIZES[1]
        found.append(owners[nearest] if shows else -1)
    return found


@functools.cache
def page_networks() -> PageNetworks:
    """Return the shipped networks that find and read lines."""
    reader = load_line_recognizer(READER, "cpu", threads=1)
    return PageNetworks(load_page_finder(FINDER, "cpu", threads=1), (reader,))


def _loss(network: nn.Module, pages: list[GapsOfPage], device: torch.device) -> Tensor:
    """Return the loss of a batch: a gap of many on a page weighs less than one of few."""
    losses, weights = [], []
    for page in pages:
        known = page.is_split >= 0
        logits = network(_changed(_to_input(page, device)))[0]
        targets = torch.from_numpy(page.is_split[known]).to(device, logits.dtype)
        losses.append(F.binary_cross_entropy_with_logits(logits[torch.from_numpy(known)], targets))
        weights.append(float(known.sum()) ** 0.5)
    mean = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
    assert isinstance(mean, Tensor)
    return mean


def _measure(
    network: nn.Module, batches: list[list[GapsOfPage]], device: torch.device
) -> tuple[float, float]:
    """Return the loss, and the share of gaps that are decided correctly."""
    losses, right = list[Tensor](), list[Tensor]()
    for page in itertools.chain.from_iterable(batches):
        known = torch.from_numpy(page.is_split >= 0)
        logits = network(_to_input(page, device))[0].float().cpu()[known]
        targets = torch.from_numpy(page.is_split).float()[known]
        losses.append(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"))
        right.append((logits > 0) == (targets > 0))
    return float(torch.cat(losses).mean()), float(torch.cat(right).float().mean())


def _to_input(page: GapsOfPage, device: torch.device) -> Tensor:
    return torch.from_numpy(page.rows).to(device).float().div_(255)[None, None]


def _changed(gaps: Tensor) -> Tensor:
    """Change what is seen of the gaps of a page (1, 1, G, 2329) at random."""
    gaps, names = gaps.clone(), list(VALUES)
    for index, (name, (low, high)) in enumerate(VALUES.items()):
        is_log_odds = name in ("separator", "operator") or name.startswith(("score", "other_", "length"))
        noise = LOG_ODDS_NOISE if is_log_odds else NOISE.get(name, 0.0)
        gaps[..., index] += noise / (high - low) * torch.randn_like(gaps[..., index])
    if float(torch.rand(())) < BLIND_SHARE:
        for name in ("separator", "operator"):
            gaps[..., names.index(name)] = 0.5  # log-odds of 0
    first = len(VALUES) + 4
    patches = gaps[..., first:]
    if float(torch.rand(())) < REVERSED_SHARE:  # the darkest pixels become the lightest
        patches = 1 - patches.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    contrast, level = 1 + CONTRAST_NOISE * float(torch.randn(())), LEVEL_NOISE * float(torch.randn(()))
    gaps[..., first:] = ((patches - 0.5) * contrast + 0.5 + level).clamp(0, 1)
    return gaps


GAPS = SceneKind(
    "page", epoch=2_000, validation=60, test=200, pool_batches=64, uses=8,
    compose=compose_pages, loss=_loss, measure=_measure, networks=(FINDER, READER),
)  # fmt: skip
