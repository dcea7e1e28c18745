"""Corrections of a picture, each of which mends one fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.diagnosis.picture_measurements import noise_of
from digitcli.imaging.grayscale import quantile

Grey = npt.NDArray[np.uint8]

# Rounds of k-means, after which the levels hardly move.
ROUNDS = 20


@dataclass(frozen=True)
class Correction:
    """A change of a picture (H, W), grey, that mends one fault.

    rule: the fault that the picture has if the changed one is read better.
    change: what the change does, after "if the picture is".
    remedy: what mends the fault.
    apply: changes a picture.
    options: options of `digitcli predict` that do the same.
    changes_answer: whether the fault is one only if the changed picture is read otherwise.
    """

    rule: str
    change: str
    remedy: str
    apply: Callable[[Grey], Grey]
    options: str | None = None
    changes_answer: bool = False


def _ink_is_dark(picture: Grey) -> bool:
    """Return whether the ink is darker than the paper, which covers most of the picture."""
    return float(np.median(picture)) > (quantile(picture, 0.01) + quantile(picture, 0.99)) / 2


def _thicken(picture: Grey) -> Grey:
    """Make strokes thicker by a two-hundredth of the longer side, two pixels at least."""
    size = max(3, max(picture.shape) // 100 | 1)
    change = cv2.erode if _ink_is_dark(picture) else cv2.dilate
    return np.asarray(change(picture, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), np.uint8)


def _flatten(picture: Grey) -> Grey:
    """Divide by the paper around each pixel: closing removes dark ink from it, and opening light ink."""
    side = max(15, min(picture.shape) // 6 | 1)
    kind = cv2.MORPH_CLOSE if _ink_is_dark(picture) else cv2.MORPH_OPEN
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    paper = cv2.GaussianBlur(cv2.morphologyEx(picture, kind, kernel), (0, 0), side / 3)
    return np.asarray(cv2.divide(picture, paper, scale=200), np.uint8)


def _keep_ink(is_dark: bool) -> Callable[[Grey], Grey]:
    """Make white what is clearly paler than dark ink, such as squares and other patterns, and likewise black.

    The levels are divided into three (k-means, Lloyd 1982), of which the darkest is ink.
    """

    def kept(picture: Grey) -> Grey:
        dark = picture if is_dark else 255 - picture
        counts, levels = np.bincount(dark.ravel(), minlength=256), np.arange(256)
        centres = np.array([quantile(dark, share) for share in (0.005, 0.5, 0.995)])
        for _ in range(ROUNDS):
            nearest = np.abs(levels - centres[:, None]).argmin(axis=0)
            for index in np.unique(nearest[counts > 0]):
                centres[index] = np.average(levels[nearest == index], weights=counts[nearest == index])
        ink, paler = centres[0], (centres[0] + centres[1]) / 2
        return np.asarray(np.clip((dark - ink) * 255 / max(1.0, paler - ink), 0, 255), np.uint8)

    return kept


def _sharpen(share: float, amount: float) -> Callable[[Grey], Grey]:
    """Add the difference from a copy that is blurred by a share of the shorter side (unsharp masking)."""

    def sharpened(picture: Grey) -> Grey:
        blurred = cv2.GaussianBlur(picture, (0, 0), max(1.5, share * min(picture.shape)))
        return np.asarray(cv2.addWeighted(picture, 1 + amount, blurred, -amount, 0), np.uint8)

    return sharpened


def pad(picture: Grey) -> Grey:
    """Add paper around the picture, half of its shorter side."""
    width = min(picture.shape) // 2
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return np.pad(picture, width, constant_values=int(np.median(edge)))


def _enlarge(picture: Grey) -> Grey:
    return np.asarray(cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)


def _smooth(picture: Grey) -> Grey:
    """Smooth by the mean of similar places (Buades, Coll & Morel 2005), as strongly as there is noise."""
    return np.asarray(cv2.fastNlMeansDenoising(picture, None, max(20.0, noise_of(picture))), np.uint8)


def _turn(times: int) -> Callable[[Grey], Grey]:
    return lambda picture: np.ascontiguousarray(np.rot90(picture, -times))


CORRECTIONS = (
    Correction(
        "inverted",
        "inverted",
        "Scan it as dark ink on light paper.",
        lambda picture: 255 - picture,
        changes_answer=True,  # light ink on dark paper, of which the same digits are read, is no fault
    ),
    *(
        Correction(
            "turned",
            f"turned by {90 * times} degrees clockwise",
            "Turn it, or say how it lies.",
            _turn(times),
            f"--rotate {90 * times}",
            changes_answer=True,  # a digit like 0 that is the same after turning is no fault
        )
        for times in (1, 2, 3)
    ),
    Correction(
        "too_thin", "drawn with thicker strokes", "Write with a thicker pen, or scan finer.", _thicken
    ),
    Correction("too_small", "enlarged three times", "Scan or photograph it with more pixels.", _enlarge),
    *(
        Correction("blurred", change, "Hold the camera still, and focus on the paper.", apply)
        for change, apply in (
            ("sharpened", _sharpen(0.01, 2.0)),
            ("sharpened strongly", _sharpen(0.033, 3.0)),
        )
    ),
    Correction("noisy", "smoothed", "Give it more light, or scan it.", _smooth),
    *(
        Correction("uneven_background", change, "Avoid shadows and patterned paper.", apply)
        for change, apply in (
            ("freed from shadows", _flatten),
            ("freed from everything that is paler than its dark ink", _keep_ink(is_dark=True)),
            ("freed from everything that is darker than its light ink", _keep_ink(is_dark=False)),
        )
    ),
    Correction("cut_off", "surrounded by paper", "Leave a margin around the number.", pad),
)

# What mends each fault.
REMEDIES = {correction.rule: correction.remedy for correction in CORRECTIONS}
