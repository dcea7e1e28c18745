"""Find the blank of a form in a scan or a photograph of it, also turned, in perspective and bent.

Local features that agree in a homography tell whether the page is this form, and about where its print lies
(SIFT: Lowe, "Distinctive image features from scale-invariant keypoints", 2004; compared by the roots of their
values: Arandjelovic & Zisserman, "Three things everyone should know to improve object retrieval", 2012;
homography: Barath et al., "MAGSAC++, a fast, reliable and accurate robust estimator", 2020). Paper is not
flat: a smooth field of shifts leads to further features nearby, and the print of each field is aligned once
more (Evangelidis & Psarakis, "Parametric image alignment using enhanced correlation coefficient", 2008).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Box, Grey

Floats = npt.NDArray[np.float64]
Shares = npt.NDArray[np.float32]
Size = tuple[int, int]  # width and height

# Lengths are in pixels of pictures reduced to WORKING_PX, if nothing else is said. All values were chosen by
# hand, and looked at on 12 photographs of drawn forms (`benchmarks/forms.py --seed 1`).
WORKING_PX = 1200  # longer side, at which small print still has features
MOST_FEATURES = 3000
LARGEST_RATIO = 0.8  # of the distances of the best and the second best feature: Lowe, 2004, section 7.1
REACH = 6.0  # distance from the homography at which a feature still agrees: bent paper is off by a few pixels
# Features that agree by chance grow with those compared: Brown & Lowe, "Automatic panoramic image stitching
# using invariant features", 2007, equation 13, accept a picture from 8 + 0.3 of them on.
LEAST_INLIERS, LEAST_SHARE = 8.0, 0.3
RADII = (30.0, 12.0, 8.0)  # within which features are compared once more, one after the other
LEAST_ALIKE = 0.85  # cosine of what two features look like
ROUNDS, RIDGE = 10, 1e-3  # of the fit of a polynomial
SMOOTH = 0.04  # deviation of what smooths the shifts that it leaves, as a share of the longer side
PRIOR = 1.0  # features without a shift that count beside those nearby
FINEST, COARSEST = 4.0, 0.5  # pixels of a crop for each of the blank
DIGITS_HIGH = 80  # heights of a digit in the longer side of a blank: one is 3.7 mm high on A4
# Lengths in heights of a field, or of two digits in a higher one.
MARGIN = 0.2  # around a field, since digits cross its lines
SEARCH = 0.2  # by which its print may still be off
PAPER = 0.6  # side of what closes strokes and lines, to see the light of the paper
SPREAD, BESIDE = 0.03, 0.1  # around print: what its blur reaches, and where something may be left of it
PRINT = 0.85  # share of the light of the paper below which it is print
DARKER = 0.25  # share of the light by which ink is darker than the print that it crosses
FAINTEST, FAINT = 0.1, 0.25  # darkness of ink: a share of the light, and of the darkest ink
SOFT = 0.7  # pixels, over which noise is smoothed
LEFT_OVER = 0.75  # share of connected ink beside print, from which it is left of it
SPECK = 0.1  # longer side of connected ink that is dirt
LEAST_PRINT = 0.02  # deviation of a blank field, below which nothing tells its place


@dataclass(frozen=True)
class Features:
    """Points of a picture (N, 2), x and y in working pixels, and what they look like (N, 128)."""

    points: Floats
    looks: Shares


@dataclass(frozen=True)
class Blank:
    """The picture of an empty form, uint8 (H, W), prepared to be found in others."""

    picture: Grey
    scale: float  # working pixels for each of the picture
    size: Size  # in working pixels
    features: Features

    @classmethod
    def of(cls, picture: Grey) -> Blank:
        """Prepare the picture of an empty form."""
        scale, small = _reduced(picture)
        return cls(picture, scale, (small.shape[1], small.shape[0]), _features(small))


@dataclass(frozen=True)
class Match:
    """How many features of a page look like one of the blank, and how many of them agree on its place."""

    matches: int
    inliers: int

    @property
    def needed(self) -> int:
        """How many must agree, so that it is no chance."""
        return int(LEAST_INLIERS + LEAST_SHARE * self.matches) + 1


@dataclass(frozen=True)
class FieldPicture:
    """A field without its print.

    picture: uint8 (H, W), as fine as the page, with a margin.
    strokes: boxes (N, 4) of what is written on it, x, y, width, height, without what is left of the print.
    fineness: pixels for each pixel of the blank.
    margin, digit_px: in pixels; the latter is the height of a field of one line.
    """

    picture: Grey
    strokes: npt.NDArray[np.int64]
    fineness: float
    margin: float
    digit_px: float


@dataclass(frozen=True)
class Registration:
    """Where each pixel of a blank lies on a page.

    page: uint8 (H, W).
    homography: (3, 3) from working pixels of the blank, after the shifts, to pixels of the page.
    shifts: float32 (h, w, 2), x and y in working pixels of the blank.
    fineness: pixels of the page for each pixel of the blank, in the middle.
    """

    page: Grey
    blank: Blank
    homography: Floats
    shifts: Shares
    fineness: float

    def on_page(self, points: npt.ArrayLike) -> Floats:
        """Return where points (..., N, 2) of the blank, x and y in pixels, lie on the page."""
        at = np.asarray(points, np.float32) * np.float32(self.blank.scale)
        flat = at.reshape(-1, at.shape[-2], 2)  # OpenCV takes at most 32,767 points in a row
        x, y = flat[..., 0], flat[..., 1]
        flat = flat + cv2.remap(self.shifts, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.perspectiveTransform(flat, self.homography), np.float64).reshape(at.shape)

    def crop(self, box: Box, fineness: float) -> Grey:
        """Return what stands in a box of the blank, straightened, with so many pixels for each of its own."""
        at = self.on_page(_grid(box, fineness)).astype(np.float32)
        return _sampled(self.page, at)

    def without_print(self, box: Box) -> FieldPicture:
        """Return a field of the blank as it is on the page, without its print."""
        fine = float(np.clip(self.fineness, COARSEST, FINEST))
        line = min(box[3], 2 * max(self.blank.picture.shape) / DIGITS_HIGH)
        height, margin = line * fine, round(MARGIN * line)
        inner = _widened(box, margin)
        ours = _evened(_sampled(self.blank.picture, _grid(inner, fine).astype(np.float32)), PAPER * height)
        wide = self.crop(_widened(inner, round(SEARCH * line)), fine)
        is_print = (ours < PRINT).astype(np.uint8)
        beside = cv2.dilate(is_print, _disc(BESIDE * height))
        moved = _aligned(ours, _evened(wide, PAPER * height), beside)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(wide, moved, ours.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        around = _disc(max(1.0, SPREAD * height))
        is_ink = _evened(np.asarray(seen, np.uint8), PAPER * height) < cv2.erode(ours, around) - DARKER
        covered = cv2.dilate(is_print, around) * ~is_ink
        filled = cv2.inpaint(seen, covered.astype(np.uint8), len(around), cv2.INPAINT_TELEA)
        evened = _evened(np.asarray(filled, np.uint8), PAPER * height)
        strokes = _strokes(evened, beside > 0, SPECK * height)
        return FieldPicture(np.asarray(filled, np.uint8), strokes, fine, margin * fine, height)


def register(page: Grey, blank: Blank) -> tuple[Match, Registration | None]:
    """Find a blank on a page, uint8 (H, W); None if the page is not this form."""
    scale, small = _reduced(page)
    found = _features(small)
    pairs = _matches(blank.features, found)
    homography, inliers = None, 0
    if len(pairs) >= 4:
        ours, theirs = blank.features.points[pairs[:, 0]], found.points[pairs[:, 1]]
        homography, agrees = cv2.findHomography(ours, theirs, cv2.USAC_MAGSAC, REACH, None, 5000, 0.9999)
        inliers = 0 if homography is None else int(agrees.sum())
    match = Match(len(pairs), inliers)
    if homography is None or inliers < match.needed or not _is_view(homography, blank.size):
        return match, None
    shifts = _bend(blank.features, found, homography, blank.size)
    to_page = np.diag([1 / scale, 1 / scale, 1.0]) @ homography
    middle = np.array([[[0, 0]], [[1, 0]], [[0, 1]]]) + np.array(blank.size) / 2
    seen = cv2.perspectiveTransform(middle, to_page)[:, 0]
    area = abs(float(np.linalg.det(seen[1:] - seen[:1])))
    return match, Registration(page, blank, to_page, shifts, blank.scale * area**0.5)


def _reduced(picture: Grey) -> tuple[float, Grey]:
    scale = min(1.0, WORKING_PX / max(picture.shape))
    size = [max(1, round(side * scale)) for side in picture.shape[::-1]]
    return scale, np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _features(small: Grey) -> Features:
    keypoints, looks = cv2.SIFT_create(MOST_FEATURES).detectAndCompute(small, None)
    looks = np.zeros((0, 128), np.float32) if looks is None else looks
    roots = np.sqrt(looks / np.maximum(looks.sum(axis=1, keepdims=True), 1e-6))
    points = np.array([each.pt for each in keypoints], np.float64).reshape(-1, 2)
    return Features(points, np.asarray(roots, np.float32))


def _matches(ours: Features, theirs: Features) -> npt.NDArray[np.int64]:
    """Return the pairs (N, 2) of features that look more alike than any others, each at most once."""
    if min(len(ours.points), len(theirs.points)) < 2:
        return np.zeros((0, 2), np.int64)
    pairs = cv2.BFMatcher().knnMatch(ours.looks, theirs.looks, 2)
    kept = [first for first, second in pairs if first.distance < LARGEST_RATIO * second.distance]
    best = {each.trainIdx: each for each in sorted(kept, key=lambda each: -each.distance)}
    return np.array([(each.queryIdx, each.trainIdx) for each in best.values()], np.int64).reshape(-1, 2)


def _is_view(homography: Floats, size: Size) -> bool:
    """Tell whether a camera can see a sheet like that: from its front, and all of it before the camera."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    seen = np.column_stack([corners, np.ones(4)]) @ homography.T
    points = (seen[:, :2] / np.maximum(seen[:, 2:], 1e-9)).astype(np.float32)
    is_front = cv2.isContourConvex(points) and cv2.contourArea(points, oriented=True) > 0
    return bool((seen[:, 2] > 0).all() and is_front)


def _bend(ours: Features, theirs: Features, homography: Floats, size: Size) -> Shares:
    """Return the shifts (h, w, 2) by a polynomial of the third degree, and the mean of what it leaves nearby.

    Those features count that look alike and that a homography and the polynomial before bring near each
    other: the corners of boxes look alike everywhere, but not within their neighbourhood.
    """
    side = max(size)
    back = cv2.perspectiveTransform(theirs.points[None], np.linalg.inv(homography))[0]
    alike, terms = ours.looks @ theirs.looks.T, _terms(ours.points / side)
    coefficients = np.zeros((terms.shape[1], 2))
    for radius in RADII:
        expected = ours.points + terms @ coefficients
        away = np.hypot(*(expected[:, None] - back).transpose(2, 0, 1))
        score = np.where(away < radius, alike, 0.0)
        best = score.argmax(axis=1)
        is_pair = (score.max(axis=1) > LEAST_ALIKE) & (score.argmax(axis=0)[best] == np.arange(len(best)))
        own, shifts = ours.points[is_pair], back[best[is_pair]] - ours.points[is_pair]
        coefficients, weights = _fit(terms[is_pair], shifts, radius / 4)
    left = weights[:, None] * (shifts - terms[is_pair] @ coefficients)
    sums = np.zeros((size[1], size[0], 3), np.float32)
    columns, rows = np.clip(own.round().astype(int), 0, np.array(size) - 1).T
    np.add.at(sums, (rows, columns), np.column_stack([left, weights]).astype(np.float32))
    sums = cv2.GaussianBlur(sums, (0, 0), SMOOTH * side, borderType=cv2.BORDER_CONSTANT)
    nearby = sums[..., :2] / (sums[..., 2:] + PRIOR / (2 * np.pi * (SMOOTH * side) ** 2))
    return np.asarray(_terms(_grid((0, 0, *size), 1.0) / side) @ coefficients + nearby, np.float32)


def _fit(terms: Floats, shifts: Floats, scatter: float) -> tuple[Floats, Floats]:
    """Return the coefficients (10, 2) that lead from terms (N, 10) to shifts (N, 2), and Cauchy's weights."""
    weights = np.ones(len(terms))
    for _ in range(ROUNDS):
        weighted = (terms * weights[:, None]).T
        coefficients = np.linalg.solve(weighted @ terms + RIDGE * np.eye(terms.shape[1]), weighted @ shifts)
        weights = 1 / (1 + ((shifts - terms @ coefficients) ** 2).sum(axis=1) / scatter**2)
    return coefficients, weights


def _terms(points: Floats) -> Floats:
    """Return the terms (..., 10) of a polynomial of the third degree."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=-1)


def _aligned(ours: Shares, theirs: Shares, near: Grey) -> Shares:
    """Return the affine matrix (2, 3) from a blank field to a wider picture of it.

    near: uint8, 1 near print, by which the pictures are compared.
    """
    free = np.array(theirs.shape) - ours.shape
    if ours.std() < LEAST_PRINT:
        return np.array([[1, 0, free[1] / 2], [0, 1, free[0] / 2]], np.float32)
    score = cv2.matchTemplate(theirs, ours, cv2.TM_CCOEFF_NORMED)
    x, y = cv2.minMaxLoc(score)[3]
    moved = np.array([[1, 0, x], [0, 1, y]], np.float32)
    mask = cv2.copyMakeBorder(near, y, int(free[0]) - y, x, int(free[1]) - x, cv2.BORDER_CONSTANT, value=0)
    stop = cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 30, 1e-4
    with contextlib.suppress(cv2.error):  # it did not converge
        moved = cv2.findTransformECC(ours, theirs, moved, cv2.MOTION_AFFINE, stop, mask, 5)[1]
    return np.asarray(moved, np.float32)


def _strokes(evened: Shares, is_beside: npt.NDArray[np.bool_], least: float) -> npt.NDArray[np.int64]:
    """Return the boxes (N, 4) of connected ink, most of which does not lie beside print."""
    darkness = cv2.GaussianBlur(1 - evened, (0, 0), SOFT)
    is_ink = darkness > max(FAINTEST, FAINT * float(np.quantile(darkness, 0.995)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(is_ink.astype(np.uint8))
    beside = np.bincount(labels[is_beside], minlength=len(stats)) / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    kept = (beside < LEFT_OVER) & (stats[:, 2:4].max(axis=1) > least)
    kept[0] = False
    return np.asarray(stats[kept, :4], np.int64)


def _widened(box: Box, margin: int) -> Box:
    return box[0] - margin, box[1] - margin, box[2] + 2 * margin, box[3] + 2 * margin


def _grid(box: Box, fineness: float) -> Floats:
    """Return the middles (h, w, 2) of the pixels that fill a box, x and y."""
    x, y, width, height = box
    columns, rows = max(1, round(width * fineness)), max(1, round(height * fineness))
    middles = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) + 0.5
    return np.asarray(middles * [width / columns, height / rows] + [x, y] - 0.5, np.float64)


def _sampled(picture: Grey, at: Shares) -> Grey:
    x, y = at[..., 0], at[..., 1]
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _evened(grey: Grey, side: float) -> Shares:
    """Return a picture as a share of the light of its paper, float32 (H, W) in [0, 1]."""
    window = np.ones((round(side) | 1,) * 2, np.uint8)
    paper = cv2.morphologyEx(cv2.GaussianBlur(grey, (0, 0), 1), cv2.MORPH_CLOSE, window)
    paper = cv2.GaussianBlur(paper, (0, 0), side / 2)
    return np.asarray(np.clip(grey / np.maximum(paper, 1).astype(np.float32), 0, 1), np.float32)


def _disc(radius: float) -> Grey:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(radius) + 1,) * 2), np.uint8)
