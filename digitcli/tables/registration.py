"""Find the blank of a form in a scan or a photograph of it, also turned, in perspective and bent.

Local features that agree in a homography tell whether the page is this form, and about where its print lies
(SIFT: Lowe, "Distinctive image features from scale-invariant keypoints", 2004; compared by the roots of their
values: Arandjelovic & Zisserman, "Three things everyone should know to improve object retrieval", 2012;
homography: Barath et al., "MAGSAC++, a fast, reliable and accurate robust estimator", 2020). What is left,
since paper is not flat, is a smooth field of small shifts, from dense optical flow where the blank has print
(Kroeger et al., "Fast optical flow using dense inverse search", 2016; smoothed as by Knutsson & Westin,
"Normalized and differential convolution", 1993).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.imaging.grayscale import Box, Grey

Floats = npt.NDArray[np.float64]
Field = npt.NDArray[np.float32]  # (H, W) or (H, W, 2)

# Lengths are in pixels of pictures reduced to WORKING_PX, if nothing else is said. All values were chosen by
# hand, and looked at on 40 photographs of drawn forms (`benchmarks/forms.py --seed 1`).
WORKING_PX = 1200  # longer side, at which small print still has features
MOST_FEATURES = 3000
LARGEST_RATIO = 0.8  # of the distances of the best and the second best feature: Lowe, 2004, section 7.1
REACH = 6.0  # distance from the homography at which a feature still agrees: bent paper is off by a few pixels
# Features that agree by chance grow with those compared: Brown & Lowe, "Automatic panoramic image stitching
# using invariant features", 2007, equation 13, accept a picture from 8 + 0.3 of them on.
LEAST_INLIERS, LEAST_SHARE = 8.0, 0.3
RADII = (30.0, 12.0, 8.0)  # within which features are compared once more, one after the other
LEAST_ALIKE = 0.85  # cosine of what two features look like
ROUNDS, RIDGE = 10, 1e-3  # of the fit of the polynomial
SMOOTH, PRIOR = 0.04, 1.0  # deviation of what smooths the rest, as a share of the longer side; features of none
FINEST, COARSEST = 4.0, 0.5  # pixels of a crop for each of the blank


@dataclass(frozen=True)
class Features:
    """Points of a picture (N, 2), x and y in working pixels, and what they look like (N, 128)."""

    points: Floats
    looks: Field


@dataclass(frozen=True)
class Blank:
    """The picture of an empty form, uint8 (H, W), prepared to be found in others."""

    picture: Grey
    scale: float
    small: Grey
    features: Features

    @classmethod
    def of(cls, picture: Grey) -> Blank:
        """Prepare the picture of an empty form."""
        scale, small = _reduced(picture)
        return cls(picture, scale, small, _features(small))


@dataclass(frozen=True)
class Match:
    """How many features of a page look like one of the blank, and how many of them agree on its place."""

    matches: int
    inliers: int

    @property
    def is_this_form(self) -> bool:
        """Whether so many agree that it is no chance."""
        return self.inliers > LEAST_INLIERS + LEAST_SHARE * self.matches


@dataclass(frozen=True)
class Registration:
    """Where each pixel of a blank lies on a page.

    page: uint8 (H, W).
    homography: (3, 3) from working pixels of the blank, after the shifts, to pixels of the page.
    shifts: float32 (h, w, 2), x and y in working pixels of the blank.
    scale: working pixels for each pixel of the blank.
    fineness: pixels of the page for each pixel of the blank, in the middle.
    """

    page: Grey
    homography: Floats
    shifts: Field
    scale: float
    fineness: float

    def on_page(self, points: npt.ArrayLike) -> Floats:
        """Return where points (..., 2) of the blank, x and y in pixels, lie on the page."""
        at = np.asarray(points, np.float32) * np.float32(self.scale)
        flat = at.reshape(1, -1, 2)
        moved = flat + cv2.remap(
            self.shifts, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(cv2.perspectiveTransform(moved, self.homography), np.float64).reshape(at.shape)

    def crop(self, box: Box, fineness: float | None = None) -> Grey:
        """Return what stands in a box of the blank, straightened, as finely as it is on the page."""
        x, y, width, height = box
        fine = float(np.clip(self.fineness, COARSEST, FINEST)) if fineness is None else fineness
        columns, rows = max(1, round(width * fine)), max(1, round(height * fine))
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) + 0.5
        at = self.on_page(grid * [width / columns, height / rows] + [x, y] - 0.5).astype(np.float32)
        return np.asarray(
            cv2.remap(self.page, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
            np.uint8,
        )


def register(page: Grey, blank: Blank) -> tuple[Match, Registration | None]:
    """Find a blank on a page, uint8 (H, W); None if the page is not this form."""
    scale, small = _reduced(page)
    found = _features(small)
    pairs = _matches(blank.features, found)
    homography, inliers = None, 0
    if len(pairs) >= 4:
        ours, theirs = blank.features.points[pairs[:, 0]], found.points[pairs[:, 1]]
        cv2.setRNGSeed(0)
        homography, is_inlier = cv2.findHomography(ours, theirs, cv2.USAC_MAGSAC, REACH, None, 5000, 0.9999)
        inliers = 0 if homography is None else int(is_inlier.sum())
    match = Match(len(pairs), inliers)
    if homography is None or not match.is_this_form or not _is_view(homography, blank.small.shape):
        return match, None
    homography = np.asarray(homography, np.float64)
    to_page = np.diag([1 / scale, 1 / scale, 1.0]) @ homography
    size = blank.small.shape[::-1]
    shifts = _bend(blank.features, found, homography, size)
    middle = np.array([[size]], np.float64) / 2
    sides = cv2.perspectiveTransform(np.concatenate([middle, middle + [[[1, 0]]], middle + [[[0, 1]]]]), to_page)
    area = abs(np.linalg.det((sides[1:] - sides[:1])[:, 0]))
    return match, Registration(page, to_page, shifts, blank.scale, float(np.sqrt(area)) * blank.scale)


def print_of(blank: Grey) -> Field:
    """Return the share of black in the print of a blank, float32 (H, W) in [0, 1]."""
    return 1 - _evened(blank) 


def _reduced(picture: Grey) -> tuple[float, Grey]:
    scale = min(1.0, WORKING_PX / max(picture.shape))
    if scale == 1:
        return scale, picture
    size = [max(1, round(side * scale)) for side in picture.shape[::-1]]
    return scale, np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _features(small: Grey) -> Features:
    keypoints, looks = cv2.SIFT_create(MOST_FEATURES).detectAndCompute(small, None)
    if looks is None:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    roots = np.sqrt(looks / np.maximum(looks.sum(axis=1, keepdims=True), 1e-6))
    return Features(np.array([each.pt for each in keypoints], np.float64), np.asarray(roots, np.float32))


def _matches(ours: Features, theirs: Features) -> npt.NDArray[np.int64]:
    """Return the pairs (N, 2) of features that look more alike than any others, each at most once."""
    if min(len(ours.points), len(theirs.points)) < 2:
        return np.zeros((0, 2), np.int64)
    pairs = cv2.BFMatcher().knnMatch(ours.looks, theirs.looks, 2)
    kept = [first for first, second in pairs if first.distance < LARGEST_RATIO * second.distance]
    best = {each.trainIdx: each for each in sorted(kept, key=lambda each: -each.distance)}
    return np.array([(each.queryIdx, each.trainIdx) for each in best.values()], np.int64).reshape(-1, 2)


def _is_view(homography: Floats, shape: tuple[int, ...]) -> bool:
    """Tell whether a camera can see a sheet like that: from its front, and all of it before the camera."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64) * shape[::-1]
    seen = np.column_stack([corners, np.ones(4)]) @ homography.T
    if (seen[:, 2] <= 0).any():
        return False
    points = (seen[:, :2] / seen[:, 2:]).astype(np.float32)
    return bool(cv2.isContourConvex(points) and cv2.contourArea(points, oriented=True) > 0)


def _bend(ours: Features, theirs: Features, homography: Floats, size: tuple[int, int]) -> Field:
    """Return the shifts (h, w, 2) by a polynomial of the third degree, and the mean of what it leaves nearby.

    Those features count that look alike and that a homography and the polynomial before bring near each
    other: the corners of boxes look alike everywhere, but not within their neighbourhood.
    """
    back = cv2.perspectiveTransform(theirs.points[None], np.linalg.inv(homography))[0]
    alike = ours.looks @ theirs.looks.T
    terms = _terms(ours.points / max(size))
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
    sums = cv2.GaussianBlur(sums, (0, 0), SMOOTH * max(size), borderType=cv2.BORDER_CONSTANT)
    prior = PRIOR / (2 * np.pi * (SMOOTH * max(size)) ** 2)
    grid = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=-1) / max(size)
    return np.asarray(_terms(grid) @ coefficients + sums[..., :2] / (sums[..., 2:] + prior), np.float32)


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


def _evened(grey: Grey) -> Field:
    """Return a picture as a share of the light of its paper, float32 (H, W) in [0, 1]."""
    side = max(3, max(grey.shape) // 60) | 1
    paper = cv2.GaussianBlur(cv2.morphologyEx(grey, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8)), (0, 0), side)
    return np.asarray(np.clip(grey / np.maximum(paper, 1).astype(np.float32), 0, 1), np.float32)
