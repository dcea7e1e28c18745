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
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Box, Grey

Floats = npt.NDArray[np.float64]
Shares = npt.NDArray[np.float32]
Features = tuple[Floats, Shares]  # places (N, 2), x and y in working pixels, and what stands there (N, 128)
Size = tuple[int, int]  # width and height

# Lengths are in pixels of pictures reduced to WORKING_PX, if nothing else is said. All values were chosen by
# hand on 30 photographs of drawn forms (`benchmarks/forms.py --seed 1`).
WORKING_PX = 1200  # longer side, at which small print still has features
MOST_FEATURES = 3000
LARGEST_RATIO = 0.8  # of the distances of the best and the second best feature: Lowe, 2004, section 7.1
REACH = 6.0  # distance from the homography at which a feature still agrees: bent paper is off by a few pixels
RADII = (30.0, 12.0, 8.0)  # within which features are compared once more, one after the other
LEAST_ALIKE = 0.85  # cosine of two features
ROUNDS, RIDGE = 10, 1e-3  # of the fit of a polynomial
SMOOTH, PRIOR = 0.04, 1.0  # of the shifts that it leaves: deviation in longer sides, features without a shift
STEP = 8  # between two shifts; a sixth of the deviation of SMOOTH, so that nothing is lost between them
FINEST, COARSEST = 4.0, 0.5  # pixels of a crop for each of the blank
DIGITS_HIGH = 80  # heights of a digit in the longer side of a blank: one is 3.7 mm high on A4
# Lengths in heights of a field, or of two digits in a higher one.
MARGIN, SEARCH = 0.2, 0.2  # around a field, since digits cross its lines, and by which its print may be off
PAPER = 0.6  # side of what closes strokes and lines, to see the light of the paper
SPREAD, BESIDE = 0.03, 0.1  # around print: what its blur reaches, and where something may be left of it
SPECK = 0.1  # longer side of connected ink that is dirt
# Shares of the light of the paper, if nothing else is said.
PRINT, DARKER = 0.85, 0.25  # lightest print, and by how much ink that crosses it is darker
FAINTEST, FAINT = 0.1, 0.25  # darkness of ink, and in shares of the darkest ink
LEFT_OVER = 0.75  # share of connected ink beside print, from which it is left of it
LEAST_PRINT = 0.02  # deviation of a blank field, below which nothing tells its place


@dataclass(frozen=True)
class Blank:
    """The picture of an empty form, uint8 (H, W), with its features, and its size in working pixels."""

    picture: Grey
    scale: float
    size: Size
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
        """How many must agree, so that it is no chance, which grows with those compared.

        Brown & Lowe, "Automatic panoramic image stitching using invariant features", 2007, equation 13.
        """
        return int(8.0 + 0.3 * self.matches) + 1


@dataclass(frozen=True)
class FieldPicture:
    """A field without its print.

    picture: uint8 (H, W), with a margin in pixels.
    strokes: x, y, width, height (N, 4) of the connected ink, without what is left of the print.
    fineness: pixels for each pixel of the blank.
    line_px: height of a line of writing with its space.
    """

    picture: Grey
    strokes: npt.NDArray[np.int64]
    fineness: float
    margin: float
    line_px: float


@dataclass(frozen=True)
class Registration:
    """Where each pixel of a blank lies on a page, uint8 (H, W).

    homography: (3, 3) from working pixels of the blank, after the shifts, to pixels of the page.
    shifts: float32 (h, w, 2), x and y in working pixels of the blank, of every `STEP`th of them.
    fineness: pixels of the page for each pixel of the blank.
    """

    page: Grey
    blank: Blank
    homography: Floats
    shifts: Shares
    fineness: float

    def on_page(self, points: npt.ArrayLike) -> Shares:
        """Return where points (..., N, 2) of the blank, x and y in pixels, lie on the page, as float32."""
        at = np.asarray(points, np.float32) * np.float32(self.blank.scale)
        flat = at.reshape(-1, at.shape[-2], 2)  # OpenCV takes at most 32,767 points in a row
        flat = flat + _sampled(self.shifts, flat / STEP)
        return np.asarray(cv2.perspectiveTransform(flat, self.homography), np.float32).reshape(at.shape)

    def crop(self, box: Box, fineness: float) -> Grey:
        """Return what stands in a box of the blank, straightened, with so many pixels for each of its own."""
        return np.asarray(_sampled(self.page, self.on_page(_grid(box, fineness))), np.uint8)

    def without_print(self, box: Box) -> FieldPicture:
        """Return a field of the blank as it is on the page, without its print."""
        fine = float(np.clip(self.fineness, COARSEST, FINEST))
        line = min(box[3], 2 * max(self.blank.picture.shape) / DIGITS_HIGH)
        margin, line_px = round(MARGIN * line), line * fine
        inner = _widened(box, margin)
        ours = _evened(np.asarray(_sampled(self.blank.picture, _grid(inner, fine)), np.uint8), line_px)
        wide = self.crop(_widened(inner, round(SEARCH * line)), fine)
        is_print = (ours < PRINT).astype(np.uint8)
        beside, around = cv2.dilate(is_print, _disc(BESIDE * line_px)), _disc(max(1.0, SPREAD * line_px))
        seen = _aligned(wide, ours, _evened(wide, line_px), beside)
        is_ink = _evened(seen, line_px) < cv2.erode(ours, around) - DARKER
        covered = (cv2.dilate(is_print, around) * ~is_ink).astype(np.uint8)
        bare = np.asarray(cv2.inpaint(seen, covered, len(around), cv2.INPAINT_TELEA), np.uint8)
        strokes = _strokes(_evened(bare, line_px), beside > 0, SPECK * line_px)
        return FieldPicture(bare, strokes, fine, margin * fine, line_px)


def register(page: Grey, blank: Blank) -> tuple[Match, Registration | None]:
    """Find a blank on a page, uint8 (H, W); None if the page is not this form."""
    scale, small = _reduced(page)
    found = _features(small)
    pairs = _matches(blank.features, found)
    homography, inliers = np.eye(3), 0
    if len(pairs) >= 4:
        ours, theirs = blank.features[0][pairs[:, 0]], found[0][pairs[:, 1]]
        fitted, agrees = cv2.findHomography(ours, theirs, cv2.USAC_MAGSAC, REACH, None, 5000, 0.9999)
        if fitted is not None:
            homography, inliers = np.asarray(fitted, np.float64), int(agrees.sum())
    match, area = Match(len(pairs), inliers), _area_seen(homography, blank.size)
    if inliers < match.needed or area <= 0:
        return match, None
    shifts = _bend(blank.features, found, homography, blank.size)
    to_page = np.diag([1 / scale, 1 / scale, 1.0]) @ homography
    return match, Registration(page, blank, to_page, shifts, (area / blank.picture.size) ** 0.5 / scale)


def _reduced(picture: Grey) -> tuple[float, Grey]:
    scale = min(1.0, WORKING_PX / max(picture.shape))
    size = [max(1, round(side * scale)) for side in picture.shape[::-1]]
    return scale, np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _features(small: Grey) -> Features:
    keypoints, looks = cv2.SIFT.create(MOST_FEATURES).detectAndCompute(small, None)
    looks = np.zeros((0, 128), np.float32) if looks is None else looks
    roots = np.sqrt(looks / np.maximum(looks.sum(axis=1, keepdims=True), 1e-6))
    return np.array([each.pt for each in keypoints], np.float64).reshape(-1, 2), np.asarray(roots, np.float32)


def _matches(ours: Features, theirs: Features) -> npt.NDArray[np.int64]:
    """Return the pairs (N, 2) of features that look more alike than any others, each at most once."""
    if min(len(ours[0]), len(theirs[0])) < 2:
        return np.zeros((0, 2), np.int64)
    pairs = cv2.BFMatcher().knnMatch(ours[1], theirs[1], 2)
    kept = [first for first, second in pairs if first.distance < LARGEST_RATIO * second.distance]
    best = {each.trainIdx: each for each in sorted(kept, key=lambda each: -each.distance)}
    return np.array([(each.queryIdx, each.trainIdx) for each in best.values()], np.int64).reshape(-1, 2)


def _area_seen(homography: Floats, size: Size) -> float:
    """Return the area of a sheet after a homography, 0 if no camera sees it so, whole and from its front."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    seen = np.column_stack([corners, np.ones(4)]) @ homography.T
    points = (seen[:, :2] / np.maximum(seen[:, 2:], 1e-9)).astype(np.float32)
    is_view = (seen[:, 2] > 0).all() and cv2.isContourConvex(points)
    return max(0.0, cv2.contourArea(points, oriented=True)) if is_view else 0.0


def _bend(ours: Features, theirs: Features, homography: Floats, size: Size) -> Shares:
    """Return the shifts (h, w, 2) of every `STEP`th pixel: those of a polynomial of the third degree, and the
    mean of what it leaves nearby.

    Those features count that look alike and that a homography and the polynomial before bring near each
    other: the corners of boxes look alike everywhere, but not within their neighbourhood.
    """
    places, side = ours[0], max(size)
    back = cv2.perspectiveTransform(theirs[0][None], np.linalg.inv(homography))[0]
    alike, terms, expected = ours[1] @ theirs[1].T, _terms(places / side), places
    for radius in RADII:
        here, there = (each.astype(np.float32).T for each in (expected, back))
        away = np.subtract.outer(here[0], there[0]) ** 2 + np.subtract.outer(here[1], there[1]) ** 2
        score = np.where(away < radius**2, alike, np.float32(0))
        best = score.argmax(axis=1)
        is_pair = (score.max(axis=1) > LEAST_ALIKE) & (score.argmax(axis=0)[best] == np.arange(len(best)))
        shifts = back[best[is_pair]] - places[is_pair]
        coefficients, weights = _fit(terms[is_pair], shifts, radius / 4)
        expected = places + terms @ coefficients
    left = weights[:, None] * (shifts - terms[is_pair] @ coefficients)
    sums, reach = np.zeros((size[1] // STEP + 2, size[0] // STEP + 2, 3), np.float32), SMOOTH * side / STEP
    columns, rows = (places[is_pair] / STEP).round().astype(int).T
    np.add.at(sums, (rows, columns), np.column_stack([left, weights]).astype(np.float32))
    total = cv2.GaussianBlur(sums, (0, 0), reach, borderType=cv2.BORDER_CONSTANT)
    nearby = total[..., :2] / (total[..., 2:] + PRIOR / (2 * np.pi * reach**2))
    at = np.stack(np.meshgrid(*map(np.arange, total.shape[1::-1])), axis=-1) * STEP / side
    return np.asarray(_terms(at) @ coefficients + nearby, np.float32)


def _fit(terms: Floats, shifts: Floats, scatter: float) -> tuple[Floats, Floats]:
    """Return the coefficients (10, 2) that lead from terms (N, 10) to shifts (N, 2), and Cauchy's weights."""
    weights = np.ones(len(terms))
    for _ in range(ROUNDS):
        weighted = (terms * weights[:, None]).T
        coefficients = np.linalg.solve(weighted @ terms + RIDGE * np.eye(terms.shape[1]), weighted @ shifts)
        weights = 1 / (1 + ((shifts - terms @ coefficients) ** 2).sum(axis=1) / scatter**2)
    return np.asarray(coefficients), weights


def _terms(points: Floats) -> Floats:
    """Return the terms (..., 10) of a polynomial of the third degree."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=-1)


def _aligned(wide: Grey, ours: Shares, theirs: Shares, near: npt.NDArray[Any]) -> Grey:
    """Return the part of a picture that fits a blank field, after an affine map.

    ours, theirs: the blank field and the picture, after `_evened`.
    near: uint8, 1 near print, by which they are compared.
    """
    down, across = np.subtract(theirs.shape, ours.shape).tolist()
    x, y = across // 2, down // 2
    if ours.std() >= LEAST_PRINT:
        x, y = cv2.minMaxLoc(cv2.matchTemplate(theirs, ours, cv2.TM_CCOEFF_NORMED))[3]
    moved: npt.NDArray[Any] = np.array([[1, 0, x], [0, 1, y]], np.float32)
    mask = cv2.copyMakeBorder(near, y, down - y, x, across - x, cv2.BORDER_CONSTANT, value=0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    with contextlib.suppress(cv2.error):  # it does not converge without print
        moved = cv2.findTransformECC(ours, theirs, moved, cv2.MOTION_AFFINE, stop, mask, 5)[1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(wide, moved, ours.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(part, np.uint8)


def _strokes(evened: Shares, is_beside: npt.NDArray[np.bool_], least: float) -> npt.NDArray[np.int64]:
    """Return the boxes (N, 4) of connected ink, most of which does not lie beside print."""
    darkness = cv2.GaussianBlur(1 - evened, (0, 0), 0.7)  # noise has no strokes
    is_ink = darkness > max(FAINTEST, FAINT * float(np.quantile(darkness, 0.995)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(is_ink.astype(np.uint8))
    beside = np.bincount(labels[is_beside], minlength=len(stats)) / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    is_kept = (beside < LEFT_OVER) & (stats[:, 2:4].max(axis=1) > least) & (np.arange(len(stats)) > 0)
    return np.asarray(stats[is_kept, :4], np.int64)


def _widened(box: Box, margin: int) -> Box:
    return box[0] - margin, box[1] - margin, box[2] + 2 * margin, box[3] + 2 * margin


def _grid(box: Box, fineness: float) -> Shares:
    """Return the middles (h, w, 2) of the pixels that fill a box, x and y."""
    x, y, width, height = box
    columns, rows = max(1, round(width * fineness)), max(1, round(height * fineness))
    across = x - 0.5 + (np.arange(columns, dtype=np.float32) + 0.5) * (width / columns)
    down = y - 0.5 + (np.arange(rows, dtype=np.float32) + 0.5) * (height / rows)
    return np.stack(np.meshgrid(across, down), axis=-1)


def _sampled(picture: npt.NDArray[Any], at: npt.NDArray[Any]) -> npt.NDArray[Any]:
    x, y = np.asarray(at, np.float32).transpose(2, 0, 1)
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _evened(grey: Grey, line_px: float) -> Shares:
    """Return a picture as a share of the light of its paper, float32 (H, W) in [0, 1]."""
    window = np.ones((round(PAPER * line_px) | 1,) * 2, np.uint8)
    paper = cv2.morphologyEx(cv2.GaussianBlur(grey, (0, 0), 1), cv2.MORPH_CLOSE, window)
    paper = cv2.GaussianBlur(paper, (0, 0), PAPER * line_px / 2)
    return np.asarray(np.clip(grey / np.maximum(paper, 1).astype(np.float32), 0, 1), np.float32)


def _disc(radius: float) -> Grey:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(radius) + 1,) * 2), np.uint8)
