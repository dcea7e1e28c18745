"""Find the ruled lines of a page: straight, thin and darker or lighter than both of their sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Grey
from digitcli.tables.plane import Floats, covered

# Height of a digit at which segments are sought, in pixels: rules are a pixel or more wide there.
DIGIT_PX = 24.0
LONGEST_PX = 32_000.0  # side of a picture of which OpenCV samples points, with what surrounds the digits
# All others are in heights of a digit, if nothing else is said, and were chosen on synthetic tables.
SHORTEST = 0.5  # of a segment
BESIDE = 0.3  # where both sides of a rule are compared with it
THICKEST = 0.12  # half of it
IN_DIGIT = 0.75  # share of a segment that lies in the box of a digit, from which it is a stroke
NEAR = 0.15  # by which the next piece of a rule may lie beside it
TURN = 0.06  # by which it may lie farther, for each height of the gap
FARTHER = 0.02  # by which a piece counts as farther beside it, for each height of the gap
WIDEST_BREAK = 3.0
LEAST_COVER = 0.5  # share of a rule that is seen
SHORTEST_RULE = 1.1
TOUCH = 0.6  # by which two rules that are connected may miss each other
AROUND = 12.0  # the digits, where rules are sought: names are longer than numbers
MOST_SEGMENTS = 8192  # the longest ones; 32 synthetic tables have up to 4,903, grain and dithering more
POINTS = 48  # of a segment, at which its sides are compared with it
FAINT = 0.35  # of the strong contrasts of a segment, from which it is seen at a point
LEAST_CONTRAST = 2.0  # grey levels, or standard deviations of the noise where that is more
NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6  # sees neither edges nor slopes
SEEN = 0.45  # share of the points of a segment
ALONG = 1.5  # of the blur that shows dotted rules


@dataclass(frozen=True)
class Rules:
    """The rules of a page, each as points (P, 2), x and y in pixels, from its beginning to its end.

    level: from left to right.
    upright: from top to bottom.
    """

    level: tuple[Floats, ...] = ()
    upright: tuple[Floats, ...] = ()

    @property
    def families(self) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
        """The level rules, and the upright ones."""
        return self.level, self.upright


def cross(level: Floats, upright: Floats, unit: float) -> bool:
    """Tell whether two rules, each of points (P, 2), cross or touch each other."""
    x, y = upright[:, 0].mean(), level[:, 1].mean()
    for _ in range(2):
        y = float(np.interp(x, level[:, 0], level[:, 1]))
        x = float(np.interp(y, upright[:, 1], upright[:, 0]))
    near_x = level[0, 0] - TOUCH * unit <= x <= level[-1, 0] + TOUCH * unit
    return bool(near_x and upright[0, 1] - TOUCH * unit <= y <= upright[-1, 1] + TOUCH * unit)


def find_rules(grey: Grey, boxes: Floats, angle: float = 0.0) -> Rules:
    """Return the rules of a page, uint8 (H, W), around digits in these boxes (N, 4), x, y, width and height.

    Segments are those of Grompone von Gioi et al., "LSD: a line segment detector", IPOL 2012.

    angle: the slope of the lines of writing in radians.
    """
    height = float(np.median(boxes[:, 3]))
    scale = min(1.0, DIGIT_PX / height, LONGEST_PX / (np.hypot(*grey.shape) + 2 * AROUND * height))
    unit = scale * height
    small, matrix = _levelled(grey, boxes, scale, angle)
    middles = (boxes[:, :2] + boxes[:, 2:] / 2) @ matrix[:, :2].T + matrix[:, 2]
    boxes = np.concatenate([middles - boxes[:, 2:] * scale / 2, boxes[:, 2:] * scale], axis=1)
    segments = _segments(small, boxes, unit)
    along = segments[:, 1] - segments[:, 0]
    is_level = np.abs(along[:, 0]) > np.abs(along[:, 1])
    level = _chains(segments[is_level], unit)
    upright = [chain[:, ::-1] for chain in _chains(segments[~is_level][:, :, ::-1], unit)]
    back = cv2.invertAffineTransform(matrix)
    placed = [tuple(chain @ back[:, :2].T + back[:, 2] for chain in chains) for chains in (level, upright)]
    return Rules(*placed)


def _levelled(grey: Grey, boxes: Floats, scale: float, angle: float) -> tuple[Grey, Floats]:
    """Return what surrounds the digits, with level writing, and the matrix (2, 3) that leads there."""
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    shares = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    corners = (boxes[:, None, :2] + shares * boxes[:, None, 2:]).reshape(-1, 2)
    margin = AROUND * scale * float(np.median(boxes[:, 3]))
    low, high = (corners @ turn.T).min(axis=0) - margin, (corners @ turn.T).max(axis=0) + margin
    matrix = np.column_stack([turn, -low])
    width, height = np.ceil(high - low).astype(int).tolist()
    sigma = 0.5 / scale if scale < 0.75 else 0.0
    soft = cv2.GaussianBlur(grey, (0, 0), sigma) if sigma else grey
    small = cv2.warpAffine(soft, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(small, np.uint8), matrix


def _segments(small: Grey, boxes: Floats, unit: float) -> Floats:
    """Return the segments (N, 2, 2) that are thin lines and no strokes of digits.

    Dotted and faint rules are seen in a picture that is blurred along them.
    """
    length = max(3, round(ALONG * unit)) | 1
    found = [_detected(small, SHORTEST * unit)]
    for size in ((length, 1), (1, length)):
        segments = _detected(np.asarray(cv2.blur(small, size), np.uint8), 2 * SHORTEST * unit)
        along = np.abs(segments[:, 1] - segments[:, 0])
        is_level = along[:, 0] > along[:, 1]
        found.append(segments[is_level if size[0] > 1 else ~is_level])
    segments = np.concatenate(found)
    if len(segments) > MOST_SEGMENTS:
        segments = segments[np.argsort(-np.hypot(*(segments[:, 1] - segments[:, 0]).T), kind="stable")]
    segments = segments[:MOST_SEGMENTS]
    return segments[_are_rules(small, segments, boxes, unit)] if len(segments) else segments


def _detected(picture: Grey, shortest: float) -> Floats:
    found = cv2.createLineSegmentDetector().detect(picture)[0]
    segments = np.zeros((0, 2, 2)) if found is None else found.reshape(-1, 2, 2).astype(np.float64)
    return np.asarray(segments[np.hypot(*(segments[:, 1] - segments[:, 0]).T) >= shortest])


def _are_rules(small: Grey, segments: Floats, boxes: Floats, unit: float) -> npt.NDArray[np.bool_]:
    """Tell which segments (N, 2, 2) differ from both of their sides where no digit (M, 4) stands."""
    along = segments[:, 1] - segments[:, 0]
    points = segments[:, :1] + np.linspace(0.02, 0.98, POINTS)[:, None] * along[:, None]  # N, P, 2
    normals = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.hypot(*along.T)[:, None]
    steps = np.arange(-BESIDE - THICKEST, BESIDE + THICKEST + 0.01, THICKEST / 2)
    places = points[:, :, None] + unit * steps[:, None] * normals[:, None, None]  # N, P, S, 2
    x, y = places.reshape(len(segments), -1, 2).astype(np.float32).transpose(2, 0, 1)
    levels = cv2.remap(small, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    profiles = levels.reshape(places.shape[:3]).astype(np.float64)  # N, P, S
    is_bare = ~_in_digits(points, boxes)  # N, P
    noise = cv2.filter2D(small, cv2.CV_32F, NOISE)  # Immerkaer, "Fast noise variance estimation", 1996
    least = LEAST_CONTRAST * max(1.0, float(np.median(np.abs(noise))) / 0.6745)
    shares = [_share_seen(profiles * sign, steps, is_bare, least) for sign in (1, -1)]  # dark, or light
    return np.asarray((np.max(shares, axis=0) >= SEEN) & (is_bare.mean(axis=1) >= 1 - IN_DIGIT))


def _share_seen(profiles: Floats, steps: Floats, is_bare: npt.NDArray[np.bool_], least: float) -> Floats:
    """Return the share of the bare points (N, P) at which a segment is darker than both sides (N,).

    profiles: the levels (N, P, S) at these steps across it.
    least: the contrast that counts.
    """
    middle = np.flatnonzero(np.abs(steps) <= THICKEST + 1e-6)
    count = np.maximum(is_bare.sum(axis=1), 1)
    means = (profiles[:, :, middle] * is_bare[:, :, None]).sum(axis=1)
    at = middle[np.argmin(means, axis=1)]
    line = np.take_along_axis(profiles, at[:, None, None], axis=2)[:, :, 0]
    left, right = (
        profiles[:, :, side].mean(axis=2) for side in (steps < -BESIDE + 1e-6, steps > BESIDE - 1e-6)
    )
    contrast = np.where(is_bare, np.minimum(left, right) - line, 0.0)
    limit = np.maximum(FAINT * np.quantile(contrast, 0.9, axis=1), least)
    return np.asarray((contrast > limit[:, None]).sum(axis=1) / count)


def _in_digits(points: Floats, boxes: Floats) -> npt.NDArray[np.bool_]:
    """Tell which points (N, P, 2) lie in the box of a digit (M, 4)."""
    inside = np.zeros(points.shape[:2], bool)
    first, last = points.min(axis=1), points.max(axis=1)
    for low, high in zip(boxes[:, :2], boxes[:, :2] + boxes[:, 2:], strict=True):
        near = np.flatnonzero(((first <= high) & (last >= low)).all(axis=1))
        inside[near] |= ((points[near] >= low) & (points[near] <= high)).all(axis=2)
    return inside


def _chains(segments: Floats, unit: float) -> list[Floats]:
    """Join segments (N, 2, 2) that are nearly level into rules, which may be broken and bent."""
    segments = np.where((segments[:, :1, :1] <= segments[:, 1:, :1]), segments, segments[:, ::-1])
    order = np.argsort(segments[:, 0, 0], kind="stable")
    chains, ends = list[list[Floats]](), np.zeros_like(segments)
    for segment in segments[order]:
        away = _distances(ends[: len(chains)], segment, unit)
        best = int(away.argmin()) if np.isfinite(away).any() else len(chains)
        if best == len(chains):
            chains.append([])
        chains[best].append(segment)
        ends[best] = max(chains[best][-4:], key=lambda each: each[1, 0])
    return [merged for chain in chains if (merged := _merged(chain, unit)) is not None]


def _distances(ends: Floats, segment: Floats, unit: float) -> Floats:
    """Return how far a segment lies from where chains go on (N,), infinite where it is no part of one.

    ends: the last piece of each chain (N, 2, 2).
    """
    gaps, runs = segment[0, 0] - ends[:, 1, 0], ends[:, 1, 0] - ends[:, 0, 0]
    slopes = (ends[:, 1, 1] - ends[:, 0, 1]) / np.maximum(runs, 1e-6)
    own_run = segment[1, 0] - segment[0, 0]
    own_slope = (segment[1, 1] - segment[0, 1]) / max(own_run, 1e-6)
    # the longer of both tells the direction of the gap
    leans = np.where((runs >= own_run) | (gaps < 0), slopes, own_slope)
    away = np.abs(segment[0, 1] - ends[:, 1, 1] - leans * gaps)
    gaps_px = np.maximum(gaps, 0)
    is_near = (gaps <= WIDEST_BREAK * unit) & (away <= NEAR * unit + TURN * gaps_px)
    return np.where(is_near, away + FARTHER * gaps_px, np.inf)


def _merged(chain: Sequence[Floats], unit: float) -> Floats | None:
    """Return the points of a rule, or None if too little of it is seen."""
    ends = np.array(chain)
    start, end = ends[:, 0, 0].min(), ends[:, 1, 0].max()
    if end - start < SHORTEST_RULE * unit or covered(ends[:, :, 0]) < LEAST_COVER * (end - start):
        return None
    places = np.linspace(start, end, max(2, round((end - start) / (2 * unit)) + 1))
    total, weight = np.zeros(len(places)), np.zeros(len(places))
    for (x0, y0), (x1, y1) in ends:  # the mean of both edges of the rule, and of its pieces
        near = np.exp(-np.maximum(np.maximum(x0 - places, places - x1), 0) / unit) * (x1 - x0)
        total += near * (y0 + (y1 - y0) * (np.clip(places, x0, x1) - x0) / max(x1 - x0, 1e-6))
        weight += near
    return np.stack([places, total / weight], axis=1)
