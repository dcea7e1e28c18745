"""The task of telling which digits of a page form one number: gaps of synthetic pages, and what is measured.

The gaps are those that the shipped networks see: they find the lines of each page and read them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.data.dataset import Dataset, split
from digitcli.gap_format import VALUES
from digitcli.inference.line_finding import find_lines
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.predictor import load_line_recognizer, load_page_finder
from digitcli.recognition.gaps import PlacedDigit, digits_of, gaps_between, network_input
from digitcli.recognition.line_reading import read_lines, reading_order
from digitcli.recognition.pages import PageNetworks
from digitcli.synthesis.page import Kind, Label, numbers_of
from digitcli.synthesis.page_layouts import (
    Layout,
    fill_with_form,
    fill_with_free_numbers,
    fill_with_marks,
    fill_with_table,
    fill_with_text,
)
from digitcli.synthesis.page_parts import (
    fill_with_choices,
    fill_with_combs,
    fill_with_exercises,
    fill_with_one_comb,
    fill_with_spaced_numbers,
    fill_with_sums,
)
from digitcli.synthesis.scenes import SceneComposer
from digitcli.training.data_parallel import ONE_PROCESS, Processes
from digitcli.training.synthetic_lines import handwriting_digest, scene_composer
from digitcli.training.task import FinalMetrics, PoolReader, derive_seed

# What the pages show. Whether a row of boxes is a comb or a row of cells depends on these shares: with 0.09
# of the pages as tables of single digits, 17 % of the gaps in other such tables were decided wrongly, with
# 0.25 none.
LAYOUT_SHARES: dict[Layout, float] = {
    fill_with_marks: 0.22, fill_with_combs: 0.15, fill_with_table: 0.17, fill_with_form: 0.11,
    fill_with_exercises: 0.1, fill_with_sums: 0.04, fill_with_text: 0.06, fill_with_free_numbers: 0.06,
    fill_with_one_comb: 0.02, fill_with_choices: 0.02, fill_with_spaced_numbers: 0.05,
}  # fmt: skip
SIDES_PX, DIGIT_PX = (350.0, 1300.0), (14.0, 60.0)  # of the pages, and of the digits on them
NEAR = 0.45  # heights of a digit between its middle and that of the character that it shows
SIZES = (0.5, 2.0)  # range of the height of that character, in heights of the digit
EPOCH_PAGES, VALIDATION_PAGES, TEST_PAGES = 2_000, 60, 200
POOL_PAGES, USES = 64, 8  # of a pool, and how often each is used: to compose a page takes most of the time
# Changes of what is seen, so that the network also works where the others see less well. Chosen by hand.
NOISE = dict.fromkeys(("gap", "distance", "drop", "ratio", "before", "behind", "size"), 0.05)
LOG_ODDS_NOISE, CONTRAST_NOISE, LEVEL_NOISE = 0.4, 0.2, 0.05
BLIND_SHARE, REVERSED_SHARE = 0.15, 0.3  # pages without what the readers see in gaps; light on dark
_VALIDATION_SEED, _TEST_SEED = (0, 1), (0, 2)
# The shipped networks that read the lines.
READERS = ("page_reader", "reader")


@dataclass(frozen=True)
class GapsOfPage:
    """What the network sees of G gaps of a page, uint8 (G, 2329), and whether each separates numbers (G,).

    Where that is not known, it is -1.
    """

    rows: npt.NDArray[np.uint8]
    is_split: npt.NDArray[np.int8]


def compose_pages(
    composer: SceneComposer, networks: PageNetworks, random: np.random.Generator, count: int
) -> list[GapsOfPage]:
    """Compose pages with gaps between digits, at least one of which is known."""
    pages: list[GapsOfPage] = []
    layouts, shares = list(LAYOUT_SHARES), np.array(list(LAYOUT_SHARES.values()))
    while len(pages) < count:
        layout = layouts[int(random.choice(len(layouts), p=shares / shares.sum()))]
        height, width = (round(float(np.exp(random.uniform(*np.log(SIDES_PX))))) for _ in range(2))
        digit_px = float(np.exp(random.uniform(*np.log(DIGIT_PX))))
        scene = composer.page(random, height, width, digit_px=digit_px, layout=layout)
        places = reading_order(find_lines(scene.picture, networks.finder.maps).lines)
        lines = read_lines(scene.picture, places, networks.readers, is_alone=len(places) == 1)
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


@dataclass(frozen=True)
class GapPools:
    """An endless sequence of pools of batches of pages; pool n depends on nothing but the seed and n."""

    composer: SceneComposer
    batch_size: int
    seed: int

    def __getitem__(self, number: int) -> list[list[GapsOfPage]]:
        """Compose the pages of a pool, and return batches in which each of them occurs `USES` times."""
        random = np.random.default_rng(derive_seed(self.seed, number))
        pages = compose_pages(self.composer, page_networks(), random, POOL_PAGES)
        order = np.concatenate([random.permutation(POOL_PAGES) for _ in range(USES)])
        return [[pages[index] for index in chosen] for chosen in order.reshape(-1, self.batch_size)]


class GapTask:
    """A `TrainingTask` on the gaps of synthetic pages."""

    unit = "page"
    least_temperature = 1.0

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        workers: int,
        processes: Processes = ONE_PROCESS,
    ) -> None:
        self.name, self.failures, self.digest = dataset.name, dataset.failures, handwriting_digest(dataset)
        self.sizes = {"train": EPOCH_PAGES, "validation": VALIDATION_PAGES, "test": TEST_PAGES}
        self.sources = {name: resolve_model(name).sha256 for name in ("finder", *READERS)}
        self.header: dict[str, Any] = {}
        self.batch_size = min(recipe.batch_size, POOL_PAGES)
        self.steps = max(EPOCH_PAGES // self.batch_size, recipe.min_epoch_steps)
        self.train_hashes = None
        self.preparation_seconds = 0.0
        self._splits, self._seed, self._device, self._processes = split(dataset), seed, device, processes
        self._pools = PoolReader(self._compose_pools, workers, 1, processes)

    def loss(self, network: nn.Module, epoch: int, step: int, progress: float) -> Tensor:
        """Return the loss of this process's part of the batch: a gap of many weighs less than one of few."""
        number, index = divmod(epoch * self.steps + step, POOL_PAGES * USES // self.batch_size)
        pages = self._pools.batch(number, index)
        losses, weights = [], []
        for page in pages:
            known = page.is_split >= 0
            logits = network(_changed(_to_input(page, self._device)))[0]
            targets = torch.from_numpy(page.is_split[known]).to(self._device, logits.dtype)
            losses.append(F.binary_cross_entropy_with_logits(logits[torch.from_numpy(known)], targets))
            weights.append(float(known.sum()) ** 0.5)
        mean = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
        assert isinstance(mean, Tensor)
        return mean

    def _compose_pools(self) -> GapPools:
        composer = scene_composer(self._splits.train, held_out=False)
        return GapPools(composer, self.batch_size // self._processes.size, self._seed)

    def validate(self, network: nn.Module) -> tuple[float, float]:
        """Return the loss and the share of gaps that are decided correctly on the validation pages."""
        return self._measure(network, self._validation_pages)

    def validate_batch(self, network: nn.Module) -> float:
        """Return the share of gaps that are decided correctly on one batch of the validation pages."""
        return self._measure(network, self._validation_pages[: self.batch_size])[1]

    def test(self, network: nn.Module) -> FinalMetrics:
        """Measure on pages of the test digits and of held-out writers and fonts, once."""
        _, validation_accuracy = self.validate(network)
        pages = list(self._compose_held_out(_TEST_SEED, TEST_PAGES))
        loss, accuracy = self._measure(network, pages)
        return FinalMetrics(validation_accuracy, 1.0, accuracy, loss, 0.0, ())

    def _measure(self, network: nn.Module, pages: Sequence[GapsOfPage]) -> tuple[float, float]:
        was_training, losses, right = network.training, list[Tensor](), list[Tensor]()
        network.eval()
        with torch.inference_mode():
            for page in pages:
                known = torch.from_numpy(page.is_split >= 0)
                logits = network(_to_input(page, self._device))[0].float().cpu()[known]
                targets = torch.from_numpy(page.is_split).float()[known]
                losses.append(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"))
                right.append((logits > 0) == (targets > 0))
        network.train(was_training)
        return float(torch.cat(losses).mean()), float(torch.cat(right).float().mean())

    @functools.cached_property
    def _validation_pages(self) -> list[GapsOfPage]:
        return list(self._compose_held_out(_VALIDATION_SEED, VALIDATION_PAGES))

    def _compose_held_out(self, seed: tuple[int, int], count: int) -> Iterator[GapsOfPage]:
        digits = self._splits.test if seed == _TEST_SEED else self._splits.validation
        composer = scene_composer(digits, held_out=True)
        random = np.random.default_rng(derive_seed(self._seed, *seed))
        yield from compose_pages(composer, page_networks(), random, count)


@functools.cache
def page_networks() -> PageNetworks:
    """Return the shipped networks that find and read lines."""
    readers = tuple(load_line_recognizer(name, "cpu", threads=1) for name in READERS)
    return PageNetworks(load_page_finder("finder", "cpu", threads=1), readers)


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
