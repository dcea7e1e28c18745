"""The task of finding the lines of a page: composed scenes, their targets, the loss, and what is measured.

The targets are maps at a quarter of the resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.imaging.network_inputs import NEUTRAL, finder_input
from digitcli.page_format import AXIS, HEIGHT, NUMBER, OTHER, REFERENCE_PX, SHORTENED, SLOPE, SMALL, STRIDE_PX
from digitcli.synthesis.page import Kind, Label, line_box
from digitcli.synthesis.scenes import PlacedScene, SceneComposer
from digitcli.training.scene_changes import change_square
from digitcli.training.task import SceneKind

# The targets are the maps of `page_format` and after them the weights of the loss.
WEIGHTS, MAPS = SMALL + 1, SMALL + 4
HEIGHT_LIMITS_PX = (11.0, 70.0)  # heights of lines that a level of the image pyramid is responsible for
# Lower and higher lines are background, so that a level neither joins rows that a finer level separates nor
# takes a loop for a digit. Nothing is learned of lines between these limits and those above.
BACKGROUND_PX = (7.0, 110.0)
# Heights of writing that is searched at a finer scale.
SMALL_PX = (2.0, 11.0)
SMALL_OPEN_PX = 16.0  # lower writing may be searched at a finer scale or not
LARGEST_CUT = 0.3  # share of a line outside of the picture, above which nothing is learned of it
CORE = 0.52  # share of the height of a line that belongs to its core
LEAST_CORE_PX = 5.0  # of the length and the height of a core, so that narrow digits have one
BORDER_WEIGHT = 0.5  # of the loss in the rest of the box of a line
# Between two numbers the weight of the loss grows by up to GAP_WEIGHT, with a standard deviation of GAP_CELLS
# of the sum of the distances to both. Chosen by hand, so that a gap of four cells weighs more than paper.
GAP_WEIGHT, GAP_CELLS = 5.0, 3.0
# A core of fewer cells weighs as much as one of BALANCED_CELLS, but a cell at most LARGEST_WEIGHT. Chosen by
# hand: a lone 1 has five cells.
BALANCED_CELLS, LARGEST_WEIGHT = 12, 3.0
HARD_NEGATIVES = 3  # negative cells that count for each positive one: those with the largest losses
LEAST_NEGATIVES = 256  # that count in a batch without positive cells, for each of its pictures
# Weights of the parts, chosen by hand.
OTHER_WEIGHT = 0.5
SMALL_WEIGHT = 0.5
GEOMETRY_WEIGHT = 2.0

SIDE_PX = 256  # of a training square

_Maps = npt.NDArray[np.float32]
Square = tuple[npt.NDArray[np.uint8], _Maps]  # an input (4, 256, 256) and its targets (9, 64, 64)


def draw_targets(labels: Sequence[Label], scale: float, height: int, width: int) -> _Maps:
    """Return maps (9, height / 4, width / 4) of labels whose pixels are multiplied by `scale`.

    The maps are the cores of numbers and of other writing, log2 of the height over 28 pixels, the distance to
    the axis of the line in heights, the sine of its angle, small writing, and the weights of the loss of both
    cores and of small writing. The loss weighs more in small cores (Deng et al., "PixelLink", 2018) and
    between neighbouring numbers (Ronneberger, Fischer & Brox, "U-Net", 2015).
    """
    rows, columns = height // STRIDE_PX, width // STRIDE_PX
    maps = np.zeros((MAPS, rows, columns), np.float32)
    maps[WEIGHTS:] = 1
    cores: list[npt.NDArray[np.bool_]] = []
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    x, y = (x + 0.5) * STRIDE_PX, (y + 0.5) * STRIDE_PX
    for label in labels:
        if not len(label.corners):
            continue
        label = label.moved(np.array([[scale, 0, 0], [0, scale, 0]], np.float32))
        box = line_box(label)
        whole = _mask(box.corners(box.length + 2, box.height + 2), rows, columns)
        if box.height < SMALL_OPEN_PX:
            is_small = SMALL_PX[0] <= box.height < SMALL_PX[1]
            maps[SMALL if is_small else WEIGHTS + 2, whole] = float(is_small)
        if not BACKGROUND_PX[0] <= box.height <= BACKGROUND_PX[1]:
            continue
        map_index = NUMBER if label.kind is Kind.NUMBER else OTHER
        is_known = HEIGHT_LIMITS_PX[0] <= box.height <= HEIGHT_LIMITS_PX[1] and (
            label.text or label.kind is Kind.OTHER
        )
        if not is_known or label.shares_outside((width, height)).mean() > LARGEST_CUT:
            maps[WEIGHTS : WEIGHTS + 2, whole] = 0
            continue
        core_length = max(box.length - 2 * SHORTENED * box.height, min(LEAST_CORE_PX, box.height / 2))
        core = _mask(box.corners(core_length, max(CORE * box.height, LEAST_CORE_PX)), rows, columns)
        row, column = (
            int(np.clip(value / STRIDE_PX, 0, limit - 1))
            for value, limit in ((box.y, rows), (box.x, columns))
        )
        core[row, column] = True
        border = whole & ~core
        maps[WEIGHTS + map_index, border] = np.minimum(maps[WEIGHTS + map_index, border], BORDER_WEIGHT)
        maps[map_index, core] = 1
        if label.kind is Kind.NUMBER:
            cores.append(core)
        maps[HEIGHT, core] = np.log2(box.height / REFERENCE_PX)
        across = (y - box.y) * np.cos(box.angle) - (x - box.x) * np.sin(box.angle)
        maps[AXIS, core] = across[core] / box.height
        maps[SLOPE, core] = np.sin(box.angle)
    _weigh_numbers(maps, cores)
    return maps


def _weigh_numbers(maps: _Maps, cores: Sequence[npt.NDArray[np.bool_]]) -> None:
    """Raise the weights of the loss in small cores of numbers, and between two cores."""
    weights = maps[WEIGHTS + NUMBER]
    nearest = second = np.full(weights.shape, np.inf, np.float32)  # distances to the cores
    for core in cores:
        distance = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
        weights[core] *= np.clip(BALANCED_CELLS / core.sum(), 1, LARGEST_WEIGHT)
    is_gap = maps[NUMBER] == 0
    weights[is_gap] += GAP_WEIGHT * np.exp(-((nearest + second)[is_gap] ** 2) / (2 * GAP_CELLS**2))


def _mask(corners: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Return the cells whose centres lie in a convex polygon (4, 2)."""
    mask = np.zeros((rows, columns), np.uint8)
    points = np.round((corners / STRIDE_PX - 0.5) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, points, 1, cv2.LINE_8, 4)
    return mask.astype(bool)


def page_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of maps (N, 6, H, W) for targets (N, 9, H, W), see `draw_targets`."""
    number = _core_loss(outputs[:, NUMBER], targets[:, NUMBER], targets[:, WEIGHTS])
    other = _core_loss(outputs[:, OTHER], targets[:, OTHER], targets[:, WEIGHTS + 1])
    small = _core_loss(outputs[:, SMALL], targets[:, SMALL], targets[:, WEIGHTS + 2])
    core = ((targets[:, NUMBER] + targets[:, OTHER]) > 0) & (targets[:, WEIGHTS] > 0)
    geometry = outputs.new_zeros(())
    if core.any():
        geometry_maps = slice(HEIGHT, SLOPE + 1)
        predicted, wanted = (each[:, geometry_maps].movedim(1, -1)[core] for each in (outputs, targets))
        geometry = F.smooth_l1_loss(predicted, wanted, beta=0.1)
    return number + OTHER_WEIGHT * other + SMALL_WEIGHT * small + GEOMETRY_WEIGHT * geometry


def _core_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Add cross-entropy with hard negatives (Shrivastava et al., 2016) and Dice (Milletari et al., 2016)."""
    losses = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="none")
    is_positive = targets > 0
    positives = losses[is_positive]
    count = max(HARD_NEGATIVES * len(positives), LEAST_NEGATIVES * len(logits))
    negatives = losses[~is_positive]
    hardest = negatives.topk(min(count, len(negatives))).values
    entropy = (positives.sum() + hardest.sum()) / (len(positives) + len(hardest))
    probabilities = logits.sigmoid() * weights
    overlap = (probabilities * targets).sum()
    dice = 1 - (2 * overlap + 1) / (probabilities.sum() + (targets * weights).sum() + 1)
    return entropy + dice


def page_counts(outputs: Tensor, targets: Tensor) -> Tensor:
    """Count the cells of the cores of numbers that are found correctly, are found, and should be found (3,).

    Cells where the weight of the loss is reduced do not count.
    """
    is_counted = targets[:, WEIGHTS] >= 1
    found, wanted = (outputs[:, NUMBER] > 0) & is_counted, (targets[:, NUMBER] > 0) & is_counted
    return torch.stack([(found & wanted).sum(), found.sum(), wanted.sum()]).cpu()


def f_measure(counts: Tensor) -> float:
    """Return the harmonic mean of precision and recall from the numbers of `page_counts`."""
    right, found, wanted = counts.tolist()
    return float(2 * right / max(found + wanted, 1))


def compose_squares(composer: SceneComposer, random: np.random.Generator, count: int) -> list[Square]:
    """Compose squares with their targets."""
    cells, squares = SIDE_PX // STRIDE_PX, list[Square]()
    for _ in range(count):
        page = np.full((4, SIDE_PX, SIDE_PX), NEUTRAL, np.uint8)
        maps = np.zeros((MAPS, cells, cells), np.float32)
        maps[WEIGHTS:] = 1
        for placed in composer.square(random, SIDE_PX):
            _place(page, maps, placed)
        squares.append((page, maps))
    return squares


def pack_squares(squares: Sequence[Square]) -> dict[str, npt.NDArray[Any]]:
    """Return squares as arrays, to store them; targets in half precision."""
    inputs, maps = (np.stack(each) for each in zip(*squares, strict=True))
    return {"inputs": inputs, "maps": maps.astype(np.float16)}


def unpack_squares(arrays: Mapping[str, npt.NDArray[Any]]) -> list[Square]:
    """Return the squares that `pack_squares` has made into arrays."""
    return list(zip(arrays["inputs"], arrays["maps"].astype(np.float32), strict=True))


def _place(page: npt.NDArray[np.uint8], maps: _Maps, placed: PlacedScene) -> None:
    """Put a scene and its targets at its place, cut to whole cells of the maps."""
    x0, y0 = (-(-start // STRIDE_PX) for start in (placed.x, placed.y))
    x1, y1 = (placed.x + placed.width) // STRIDE_PX, (placed.y + placed.height) // STRIDE_PX
    rows, columns = y1 - y0, x1 - x0
    if rows < 2 or columns < 2:
        return
    picture = placed.scene.picture
    inputs = finder_input(picture, placed.height, placed.width)[:, : rows * STRIDE_PX, : columns * STRIDE_PX]
    page[:, y0 * STRIDE_PX : y1 * STRIDE_PX, x0 * STRIDE_PX : x1 * STRIDE_PX] = inputs
    targets = draw_targets(placed.scene.labels, placed.width / picture.shape[1], placed.height, placed.width)
    maps[:, y0:y1, x0:x1] = targets[:, :rows, :columns]


def _answer(network: nn.Module, squares: Sequence[Square], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the maps of a network and the targets."""
    inputs, targets = (torch.from_numpy(np.stack(each)).to(device) for each in zip(*squares, strict=True))
    inputs = inputs.float().div_(255).contiguous(memory_format=torch.channels_last)
    return network(inputs).float(), targets


def _loss(network: nn.Module, squares: list[Square], device: torch.device) -> Tensor:
    return page_loss(*_answer(network, squares, device))


def _measure(network: nn.Module, batches: list[list[Square]], device: torch.device) -> tuple[float, float]:
    """Return the loss and the F-measure of the cells of numbers."""
    losses, counts = [], torch.zeros(3, dtype=torch.int64)
    for batch in batches:
        outputs, targets = _answer(network, batch, device)
        losses.append(float(page_loss(outputs, targets)))
        counts += page_counts(outputs, targets)
    return float(np.mean(losses)), f_measure(counts)


# An epoch has a size that was chosen by hand, since composed squares have no natural epoch. To compose a
# square takes three times as long as to train on it in bfloat16.
SQUARES = SceneKind(
    "square", epoch=8_000, validation=96, test=400, pool_batches=64, uses=8,
    compose=compose_squares, loss=_loss, measure=_measure,
    change=change_square,
)  # fmt: skip
