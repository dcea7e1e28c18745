"""The faults of a picture: corrections that remove them, and measurements beside those of good pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.binarization import find_ink, rescale
from digitcli.imaging.digits import MAX_HEIGHT, MIN_HEIGHT, ConnectedComponents, mean_stroke_width
from digitcli.imaging.grayscale import Box, quantile

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

# Rounds of k-means, after which the levels hardly move.
ROUNDS = 20
# Height in pixels to which a digit is enlarged before its strokes are measured: a hairline is 4 pixels wide.
FINE_PX = 400
# Height in pixels at which edges are measured, so that the noise of a large picture is averaged.
COARSE_PX = 40
# Lower digits have edges of one or two pixels, a tenth of their height, however sharp they are.
LEAST_FOR_EDGES_PX = 25
# Paper around a digit that belongs to its edges, as a share of its height: half of a wide stroke.
MARGIN = 0.15
# Range of the middle 80 % of a normal distribution, in standard deviations.
MIDDLE_80 = 2.563

# What removes each fault.
REMEDIES = {
    "inverted": "Scan it as dark ink on light paper.",
    "turned": "Turn it, or say how it lies.",
    "too_thin": "Write with a thicker pen, or scan finer.",
    "too_small": "Scan or photograph it with more pixels.",
    "blurred": "Hold the camera still, and focus on the paper.",
    "noisy": "Give it more light, or scan it.",
    "uneven_background": "Avoid shadows and patterned paper.",
    "cut_off": "Leave a margin around the number.",
}


@dataclass(frozen=True)
class Correction:
    """A change of a picture (H, W), grey, that removes one fault.

    rule: the fault that the picture has if the changed one is read better.
    change: what the change does, after "if the picture is".
    apply: changes a picture.
    options: options of `digitcli predict` that do the same.
    """

    rule: str
    change: str
    apply: Callable[[Grey], Grey]
    options: str | None = None

    @property
    def changes_answer(self) -> bool:
        """Whether the fault is one only if the changed picture is read otherwise.

        Light ink on dark paper of which the same digits are read is no fault, nor is a 0 upside down.
        """
        return self.rule in ("inverted", "turned")


def _ink_is_dark(picture: Grey) -> bool:
    """Return whether the ink is darker than the paper, which covers most of the picture."""
    return float(np.median(picture)) > (quantile(picture, 0.01) + quantile(picture, 0.99)) / 2


def _turn(times: int) -> Callable[[Grey], Grey]:
    return lambda picture: np.ascontiguousarray(np.rot90(picture, -times))


def _thicken(picture: Grey) -> Grey:
    """Make strokes thicker by a two-hundredth of the longer side, two pixels at least."""
    size = max(3, max(picture.shape) // 100 | 1)
    change = cv2.erode if _ink_is_dark(picture) else cv2.dilate
    return np.asarray(change(picture, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), np.uint8)


def _enlarge(picture: Grey) -> Grey:
    return np.asarray(cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)


def _sharpen(share: float, amount: float) -> Callable[[Grey], Grey]:
    """Add the difference from a copy that is blurred by a share of the shorter side (unsharp masking)."""

    def sharpened(picture: Grey) -> Grey:
        blurred = cv2.GaussianBlur(picture, (0, 0), max(1.5, share * min(picture.shape)))
        return np.asarray(cv2.addWeighted(picture, 1 + amount, blurred, -amount, 0), np.uint8)

    return sharpened


def _smooth(picture: Grey) -> Grey:
    """Smooth by the mean of similar places (Buades, Coll & Morel 2005), as strongly as there is noise."""
    return np.asarray(cv2.fastNlMeansDenoising(picture, None, max(20.0, noise_of(picture))), np.uint8)


def _flatten(picture: Grey) -> Grey:
    """Divide by the paper around each pixel: closing removes dark ink from it, and opening light ink."""
    side = max(15, min(picture.shape) // 6 | 1)
    kind = cv2.MORPH_CLOSE if _ink_is_dark(picture) else cv2.MORPH_OPEN
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    paper = cv2.GaussianBlur(cv2.morphologyEx(picture, kind, kernel), (0, 0), side / 3)
    return np.asarray(cv2.divide(picture, paper, scale=200), np.uint8)


def _keep_dark_ink(picture: Grey) -> Grey:
    """Make white what is clearly paler than dark ink, such as squares and other patterns.

    The levels are divided into three (k-means, Lloyd 1982), of which the darkest is ink.
    """
    counts, levels = np.bincount(picture.ravel(), minlength=256), np.arange(256)
    centres = np.array([quantile(picture, share) for share in (0.005, 0.5, 0.995)])
    for _ in range(ROUNDS):
        nearest = np.abs(levels - centres[:, None]).argmin(axis=0)
        for index in np.unique(nearest[counts > 0]):
            centres[index] = np.average(levels[nearest == index], weights=counts[nearest == index])
    ink, paler = centres[0], (centres[0] + centres[1]) / 2
    return np.asarray(np.clip((picture - ink) * 255 / max(1.0, paler - ink), 0, 255), np.uint8)


def pad(picture: Grey) -> Grey:
    """Add paper around the picture, half of its shorter side."""
    width = min(picture.shape) // 2
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return np.pad(picture, width, constant_values=int(np.median(edge)))


CORRECTIONS = (
    Correction("inverted", "inverted", lambda picture: 255 - picture),
    Correction("turned", "rotated by 90 degrees clockwise", _turn(1), "--rotate 90"),
    Correction("turned", "rotated by 180 degrees clockwise", _turn(2), "--rotate 180"),
    Correction("turned", "rotated by 270 degrees clockwise", _turn(3), "--rotate 270"),
    Correction("too_thin", "drawn with thicker strokes", _thicken),
    Correction("too_small", "enlarged three times", _enlarge),
    Correction("blurred", "sharpened", _sharpen(0.01, 2.0)),
    Correction("blurred", "sharpened strongly", _sharpen(0.033, 3.0)),
    Correction("noisy", "smoothed", _smooth),
    Correction("uneven_background", "freed from shadows", _flatten),
    Correction("uneven_background", "freed from everything that is paler than its dark ink", _keep_dark_ink),
    Correction(
        "uneven_background",
        "freed from everything that is darker than its light ink",
        lambda picture: _keep_dark_ink(255 - picture),
    ),
    Correction("cut_off", "surrounded by paper", pad),
)


@dataclass(frozen=True)
class Range:
    """What pictures that are read well have.

    sentence: tells the value.
    common: three quarters of them are better.
    limit: 95 % of them are better.
    in_pixels: whether the value is in pixels; otherwise it is a share.
    """

    sentence: str
    common: float
    limit: float
    in_pixels: bool = False

    def nearness(self, value: float) -> float:
        """Return how far a value is on the way from the common ones to the limit, which is 1."""
        return (value - self.common) / (self.limit - self.common)

    def grade(self, value: float) -> Literal["usual", "unusual", "fault"]:
        """Tell where a value lies."""
        nearness = self.nearness(value)
        return "usual" if nearness <= 0 else "unusual" if nearness <= 1 else "fault"

    def evidence(self, value: float) -> str:
        """Return the value, and those of pictures that are read well."""
        better = "more" if self.limit < self.common else "less"
        is_fault = self.grade(value) == "fault"
        share, usual = ("95 %", self.limit) if is_fault else ("three quarters", self.common)
        usual_values = f"of pictures that are read well, {share} have {self._in_words(usual)} or {better}."
        return f"{self.sentence.format(self._in_words(value))}; {usual_values}"

    def _in_words(self, value: float) -> str:
        return f"{value:.0f} pixels" if self.in_pixels else f"{100 * value:.2f} %"


# By `python benchmarks/doctor.py usual --pictures 3000`: synthetic pictures of MNIST's validation digits,
# held-out writers and fonts, as photographs and scans of good and poor quality, of which 1,503 are read as
# what they show at 90 % or more.
USUAL = {
    "too_small": Range("The tallest digit is {} high", 25, 14, in_pixels=True),
    "too_thin": Range("The strokes of the thinnest digit are {} of its height wide", 0.088, 0.034),
    "blurred": Range("The edges of the strokes are {} of the digits' height wide", 0.076, 0.116),
    "noisy": Range("The noise of the paper is {} of the contrast", 0.0056, 0.032),
    "uneven_background": Range("The brightness around the digits varies by {} of the contrast", 0.091, 0.229),
}


def measure_picture(picture: Grey, boxes: Sequence[Box]) -> dict[str, float]:
    """Return a value for each rule of `USUAL`, for an upright picture (H, W) and the boxes of its digits.

    Without boxes the ink as a whole is measured, and nothing if there is none. Where the noise is a fault, or
    where there are too few pixels, the width of strokes and edges cannot be measured and is left out.
    """
    ink = find_ink(picture.astype(np.float32) / 255)
    boxes = [box for box in boxes or [_box_of(ink)] if min(box[2:]) > 1]
    if not boxes:
        return {}
    heights = [float(box[3]) for box in boxes]
    contrast = max(1.0, quantile(picture, 0.999) - quantile(picture, 0.001))
    values = {"too_small": max(heights), "noisy": noise_of(picture, _paper(ink)) / contrast}
    around = _unevenness(picture, boxes)
    values |= {} if around is None else {"uneven_background": around / contrast}
    if USUAL["noisy"].grade(values["noisy"]) == "fault":
        return values
    widths = [_stroke_width(ink[area_of(box)]) for box in boxes]
    values |= {"too_thin": min(width for width in widths if width)} if any(widths) else {}
    if max(heights) >= LEAST_FOR_EDGES_PX:
        values["blurred"] = float(np.median([_edge_width(picture[area_of(box, MARGIN)]) for box in boxes]))
    return values


def distances_from_edge(boxes: Sequence[Box], picture: Grey) -> list[float]:
    """Return the distance of each box from the edge of a picture (H, W), in heights of the box."""
    height, width = picture.shape
    return [min(x, y, width - x - w, height - y - h) / max(h, 1) for x, y, w, h in boxes]


def digit_at_edge(picture: Grey, boxes: Sequence[Box]) -> bool:
    """Tell whether ink that may be a digit touches the edge of an upright picture, level with the digits.

    Without boxes the ink as a whole is taken for a digit.
    """
    pixels = find_ink(picture.astype(np.float32) / 255)
    boxes, ink = boxes or [_box_of(pixels)], ConnectedComponents(pixels)
    height = float(np.median([box[3] for box in boxes]))
    top, bottom = min(box[1] for box in boxes), max(box[1] + box[3] for box in boxes)
    beside = np.minimum(ink.y + ink.height, bottom) - np.maximum(ink.y, top)
    is_digit = (beside >= MIN_HEIGHT * height) & (ink.height <= MAX_HEIGHT * height)
    return bool((is_digit & ink.touches_edge)[1:].any())


def noise_of(picture: Grey, where: Mask | None = None) -> float:
    """Return the standard deviation of the noise in levels. Immerkær, "Fast noise variance estimation", 1996.

    The difference of two second derivatives is zero for paper and for straight edges.

    where: bool (H, W), pixels to measure, if there are any.
    """
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    differences = np.abs(cv2.filter2D(picture.astype(np.float32), -1, mask))
    if where is not None and where.any():
        differences = differences[where]
    return float(differences.mean() * np.sqrt(np.pi / 2) / 6)


def _box_of(ink: npt.NDArray[np.float32]) -> Box:
    """Return the box around all ink (H, W)."""
    x, y, width, height = cv2.boundingRect((ink > 0.5).astype(np.uint8))
    return x, y, width, height


def _paper(ink: npt.NDArray[np.float32]) -> Mask | None:
    """Return where there is no ink (H, W), or None if most is ink: then noise is taken for ink."""
    mask = (ink > 0).astype(np.uint8)
    paper: Mask = cv2.dilate(mask, np.ones((5, 5), np.uint8)) == 0
    return paper if 2 * mask.sum() < mask.size else None


def _unevenness(picture: Grey, boxes: Sequence[Box]) -> float | None:
    """Return how much the brightness around the digits varies, without noise, in levels; None without ground.

    It is the standard deviation of a normal distribution with the same range of the middle 80 %, in which
    other writing does not count.
    """
    around = np.ones(picture.shape, bool)
    for box in boxes:
        around[area_of(box, MARGIN)] = False
    if not around.any():
        return None
    spread = (quantile(picture[around], 0.9) - quantile(picture[around], 0.1)) / MIDDLE_80
    return float(np.sqrt(max(0.0, spread**2 - noise_of(picture, around) ** 2)))


def _stroke_width(ink: npt.NDArray[np.float32]) -> float:
    """Return the width of a digit's strokes as a share of its height, 0 if it has no ink (h, w)."""
    return mean_stroke_width(rescale(ink, FINE_PX / ink.shape[0])) / FINE_PX


def _edge_width(digit: Grey) -> float:
    """Return over which share of the height of a digit (h, w) its edges go from paper to ink.

    It is the contrast divided by the slope of the steepest edges.
    """
    coarse = rescale(digit.astype(np.float32), COARSE_PX / digit.shape[0])
    slopes = np.hypot(*(cv2.Sobel(coarse, cv2.CV_32F, *axes) / 8 for axes in ((1, 0), (0, 1))))
    contrast = quantile(coarse, 0.98) - quantile(coarse, 0.02)
    return contrast / max(quantile(slopes, 0.95), 1e-6) / COARSE_PX


def area_of(box: Box, margin: float = 0.0) -> tuple[slice, slice]:
    """Return the rows and columns of a box and of a margin around it, as a share of its height."""
    x, y, width, height = box
    more = round(margin * height)
    return slice(max(0, y - more), y + height + more), slice(max(0, x - more), x + width + more)
