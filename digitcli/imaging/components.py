"""Telling digits from everything else that is ink, by the geometry of connected pieces."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from digitcli.imaging.quantiles import median, quantile

_MASK = 0.25  # ink above this is part of a shape
_MOST = 2000  # pieces are looked at, the largest: no page holds more digits, and specks would take minutes
_LOWEST, _HIGHEST = 0.45, 2.2  # heights of digits, in shares of the most central one's
_PALEST = 0.5  # the ink of a digit, in shares of the most central one's
_THINNEST = 0.25  # the strokes of a digit and its parts, in shares of the most central one's
_THICKEST = 2.0  # and of what is taken for a digit at the edge
_THINNEST_BAR, _SLIM = 0.4, 0.25  # the same for what is slim for its height, like remains of ruling
_NEAR = 0.2  # of a digit's longer side: how far off its parts may lie
_PART = 0.03  # of a digit's area: smaller parts are specks
_ENCLOSED = 0.35  # a shape around another of this share of its height is a frame
_CONTACT, _REACH = 0.4, 0.35  # what lies along an edge by this share of its length and reaches in no further
_AROUND = 0.6  # of all edges: what lies along so much of them is what the sheet lies on
_JOINED_GAP = 0.06  # of a digit's height: pieces side by side and nearer than this are one digit
_STACKED_GAP = 0.12  # of their height together: pieces above each other and nearer than this are one,
_TALLEST = 1.3  # unless that makes a digit this much taller than the tallest other one

Box = tuple[int, int, int, int]  # x, y, width, height in pixels


class ConnectedComponents:
    """The connected components of ink, float32 (H, W), and what can be told of them by their geometry."""

    def __init__(self, ink: np.ndarray) -> None:
        self.ink = ink
        mask = (ink > _MASK).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        self.labels, stats = _largest(labels, stats)
        self.x, self.y, self.width, self.height, self.area = stats.T
        count = self.count = len(stats)
        marked = np.nonzero(mask.view(bool))  # most of a picture is paper, of which nothing is asked
        piece_of, ink_there = self.labels[marked], ink[marked]
        self.mass = np.bincount(piece_of, ink_there, count)
        rows, columns = map(_middle, ink.shape)
        centrality = rows[marked[0]] * columns[marked[1]]
        self.central_mass = np.bincount(piece_of, ink_there * centrality, count)
        right, bottom = self.x + self.width, self.y + self.height
        self.touches_edge = (self.x == 0) | (self.y == 0) | (right == ink.shape[1]) | (bottom == ink.shape[0])
        distances = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[marked]
        inside = np.bincount(piece_of, distances, count) / np.maximum(self.area, 1)
        self.stroke = np.maximum(4 * inside - 2, 1)
        self.rim = self._along_the_rim()
        self.usable = ~(self._frames() | self.rim)
        self.usable[0] = self.rim[0] = False

    def _frames(self) -> np.ndarray:
        """Which pieces go around another of some height: frames, not digits."""
        if self.count == 2:  # the background and one piece
            return np.zeros(self.count, bool)
        tall = np.flatnonzero(self.height >= 0.1 * self.height[1:].max(initial=1))
        frames = np.zeros(self.count, bool)
        for piece in tall[tall > 0]:
            inside = (
                (self.x > self.x[piece])
                & (self.y > self.y[piece])
                & (self.x + self.width < self.x[piece] + self.width[piece])
                & (self.y + self.height < self.y[piece] + self.height[piece])
                & (self.height > _ENCLOSED * self.height[piece])
            )
            frames[piece] = inside[1:].any()
        return frames

    def _along_the_rim(self) -> np.ndarray:
        """Which pieces lie along an edge of the picture and reach not far in, such as frames cut through and
        shadows, or along most of all edges, such as the desk around a sheet.
        """
        height, width = self.ink.shape
        side = np.maximum(self.width, self.height)
        rim = np.zeros(self.count, bool)
        right, bottom = self.x + self.width, self.y + self.height
        near = (self.x < 2) | (self.y < 2) | (right > width - 2) | (bottom > height - 2)
        if not near[1:].any():
            return rim
        around = np.zeros(self.count)
        for edge, reach in (
            (self.labels[:, :2].max(axis=1), self.width / width),
            (self.labels[:, -2:].max(axis=1), self.width / width),
            (self.labels[:2].max(axis=0), self.height / height),
            (self.labels[-2:].max(axis=0), self.height / height),
        ):
            contact = np.bincount(edge, minlength=self.count)
            rim |= (contact > _CONTACT * side) & (reach < _REACH)
            around += contact
        rim |= around > _AROUND * 2 * (height + width)
        return rim

    def group_central_digit(self) -> list[int]:
        """The piece with most ink in the middle and its parts, in a picture that holds one digit."""
        if not self.usable.any():
            return []
        best = self._most_central()
        groups = [[best]]
        for piece in np.flatnonzero(self.usable):
            if piece != best:
                self._add_part(int(piece), groups, [self.box([best])])
        return groups[0]

    def group_digits(self) -> list[list[int]]:
        """Groups of pieces, each group a digit: those like most, with the parts near them."""
        if not self.usable.any():
            return []
        best = self._most_central()
        if np.count_nonzero(self.usable) == 1:
            return [[best]]
        thick, alike = self._alike(np.array([best]), self.usable)
        thick, alike = self._alike(np.flatnonzero(alike), self.usable)
        alike &= ~self.touches_edge | self.touches_edge[best]
        alike[best] = True
        groups = self._joined([[int(piece)] for piece in np.flatnonzero(alike)])
        boxes = [self.box(group) for group in groups]
        for piece in np.flatnonzero(thick & ~alike):
            self._add_part(int(piece), groups, boxes)
        return groups

    def digits_at_edge(self, digits: list[list[int]]) -> list[Box]:
        """The boxes of what is like these digits but for lying at an edge, which none of them touches."""
        pattern = np.array([group[0] for group in digits])
        if self.touches_edge[pattern].any():
            return []
        alike = self._alike(pattern, self.usable | self.rim)[1] & (self.touches_edge | self.rim)
        alike &= self.width >= _SLIM * self.height  # or it may be the side of a frame
        alike &= self.stroke < _THICKEST * median(self.stroke[pattern])
        return [self.box([int(piece)]) for piece in np.flatnonzero(alike)]

    def _alike(self, pattern: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which pieces have strokes like those of the pattern's pieces, and which are like them in all."""
        shade = self.mass / np.maximum(self.area, 1)
        stroke = quantile(self.stroke[pattern], 0.25)
        height, pale = median(self.height[pattern]), median(shade[pattern])
        slim = self.width < _SLIM * self.height
        thick = among & (self.stroke > np.where(slim, _THINNEST_BAR, _THINNEST) * stroke)
        tall = (self.height > _LOWEST * height) & (self.height < _HIGHEST * height)
        return thick, thick & tall & (shade > _PALEST * pale)

    def _most_central(self) -> int:
        return int(np.argmax(np.where(self.usable, self.central_mass, -1)))

    def _joined(self, groups: list[list[int]]) -> list[list[int]]:
        """Join what lies so close, or above each other, that it is one digit in pieces."""
        if len(groups) == 1:
            return groups
        groups = sorted(groups, key=lambda group: int(self.x[group[0]]))
        boxes = np.array([self.box(group) for group in groups])
        index = unchanged = 0
        while unchanged < len(groups):
            others = np.flatnonzero(_are_one_with(index, boxes))
            if others.size:
                joined = groups[index] + groups.pop(others[0])
                boxes = np.delete(boxes, others[0], axis=0)
                index -= int(others[0] < index)
                groups[index], boxes[index] = joined, self.box(joined)
                unchanged = 0
            else:
                index = (index + 1) % len(groups)
                unchanged += 1
        return groups

    def _add_part(self, piece: int, groups: list[list[int]], boxes: list[Box]) -> None:
        """Add a smaller piece to the nearest digit, if it is near enough to be a part of it."""
        distances = self._distances(piece, np.array(boxes))
        nearest = int(np.argmin(distances))
        _, _, width, height = boxes[nearest]
        area = int(self.area[groups[nearest]].sum())
        touches = self.touches_edge[piece] and not self.touches_edge[groups[nearest]].any()
        if (
            distances[nearest] < _NEAR * max(width, height)
            and self.area[piece] > _PART * area
            and not touches
        ):
            groups[nearest].append(piece)

    def _distances(self, piece: int, boxes: np.ndarray) -> np.ndarray:
        x, y, width, height = boxes.T
        gap_x = np.maximum(x - (self.x[piece] + self.width[piece]), self.x[piece] - (x + width))
        gap_y = np.maximum(y - (self.y[piece] + self.height[piece]), self.y[piece] - (y + height))
        distances: np.ndarray = np.hypot(np.maximum(gap_x, 0), np.maximum(gap_y, 0))
        return distances

    def box(self, group: list[int]) -> Box:
        """The box around a group: x, y, width, height."""
        if len(group) == 1:
            piece = group[0]
            return int(self.x[piece]), int(self.y[piece]), int(self.width[piece]), int(self.height[piece])
        x, y = int(self.x[group].min()), int(self.y[group].min())
        right, bottom = (self.x + self.width)[group].max(), (self.y + self.height)[group].max()
        return x, y, int(right) - x, int(bottom) - y

    def crop_ink(self, group: list[int]) -> np.ndarray:
        """The ink of a group alone, float32 (h, w), with a margin of at most one pixel around its box."""
        x, y, width, height = self.box(group)
        rows, columns = slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)
        member = np.zeros(self.count, np.uint8)
        member[group] = 1
        own = member[self.labels[rows, columns]]
        cut: np.ndarray = self.ink[rows, columns] * cv2.dilate(own, np.ones((3, 3), np.uint8))
        return cut


@functools.lru_cache(maxsize=64)
def _middle(side: int) -> np.ndarray:
    """Weights (side,) that fall from the middle to both ends."""
    weights: np.ndarray = np.hanning(side + 2)[1:-1]
    return weights


def _largest(labels: np.ndarray, stats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (H, W) and stats (N, 5) of the largest pieces alone; the smaller ones become background."""
    if len(stats) <= _MOST + 1:
        return labels, stats
    kept = np.sort(np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:_MOST]) + 1
    renamed = np.zeros(len(stats), labels.dtype)
    renamed[kept] = np.arange(1, len(kept) + 1)
    return renamed[labels], stats[np.append(0, kept)]


def _are_one_with(index: int, boxes: np.ndarray) -> np.ndarray:
    """Which of the boxes (N, 4) lie so that they and the one of that index are one digit: bool (N,)."""
    starts, sides = boxes[:, :2], boxes[:, 2:]
    ends = starts + sides
    gap_x, gap_y = (np.maximum(starts, starts[index]) - np.minimum(ends, ends[index])).T
    narrower, lower = np.minimum(sides, sides[index]).T
    height = sides[:, 1]
    together = np.maximum(ends[:, 1], ends[index, 1]) - np.minimum(starts[:, 1], starts[index, 1])
    rest = np.delete(height, index)
    tallest, second = (*np.sort(rest)[::-1][:2], np.inf, np.inf)[:2]
    limit = np.where(height == tallest, second, tallest) if len(rest) > 1 else np.inf
    side_by_side = -gap_y > 0.5 * lower
    beside = gap_x < _JOINED_GAP * np.maximum(height, height[index])
    above = (-gap_x > 0.5 * narrower) & (gap_y < _STACKED_GAP * together) | (gap_x < 0) & (gap_y < 0)
    above &= together < _TALLEST * limit
    one: np.ndarray = np.where(side_by_side, beside, above)
    one[index] = False
    return one
