"""Tell digits from all other ink, and normalize a digit to an image like those of MNIST."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from digitcli.imaging.binarization import find_ink, limit_size, rescale
from digitcli.imaging.grayscale import Box, median, quantile
from digitcli.imaging.opening import open_picture

# The values below were chosen by hand. A "reference" is the digit with most ink in the middle of the picture,
# or the digits that are like it.
_MASK_LEVEL = 0.25  # share of full ink; paler pixels belong to no component
_MAX_COMPONENTS = 2000  # the largest are kept: no page holds more digits, and specks would take minutes

# A digit, compared with the reference.
MIN_HEIGHT = 0.45  # share of the reference's height
MAX_HEIGHT = 2.2  # share of the reference's height
_MIN_SHADE = 0.5  # share of the reference's mean ink
_MIN_STROKE = 0.25  # share of the reference's stroke width
_MAX_EDGE_STROKE = 2.0  # the same for a digit at the edge of the picture; thicker components are shadows
_MIN_SLIM_STROKE = 0.4  # the least stroke width of a slim component, which may be a remnant of a ruled line
_SLIM = 0.25  # width as a share of the height, below which a component is slim

# Parts of a digit, for example the detached bar of a 5.
_PART_DISTANCE = 0.2  # share of the digit's longer side; a part lies no farther away
_MIN_PART_AREA = 0.03  # share of the digit's area; smaller components are specks
_BESIDE_GAP = 0.06  # share of a digit's height; components side by side and nearer are one digit
_STACKED_GAP = 0.12  # share of their height together; components above each other and nearer are one digit
_MAX_STACKED_HEIGHT = 1.3  # share of the tallest other digit's height; taller stacks are two digits

# Frames and shadows.
_MIN_ENCLOSED_HEIGHT = 0.35  # a component around another of this share of its height is a frame
_TALL_SHARE = 0.1  # share of the tallest component's height; lower components are no frames
_EDGE_CONTACT = 0.4  # share of a component's longer side; a shadow or a cut frame lies along an edge by more
_EDGE_REACH = 0.35  # share of the picture; a shadow or a cut frame reaches in by less
_EDGES_COVERED = 0.6  # share of all four edges; a component that covers more is the desk around a sheet

SIDE_PX = 28  # of the image
BOX_PX = 20  # of the box in it that the digit fills
_MIN_STROKE_PX = 2.3  # strokes in MNIST's box are seldom thinner
_FINE = 4  # strokes are thickened at this multiple of MNIST's resolution
_MIN_CHANGE_PX = 0.2  # strokes that are thinner by less than this are left as they are
_DIGIT_SIDE_PX = 640  # a picture of a single digit needs no more pixels
_MIN_INK = 0.1  # share of full ink; paler pixels do not count when a digit is cropped


class ConnectedComponents:
    """The connected components of ink, float32 (H, W), and which of them are digits.

    Component 0 is the background. A group is a list of components that together are one digit.

    ink: float32 (H, W).
    labels: int32 (H, W), the component of each pixel.
    count: the number of components.
    x, y, width, height, area: bounding boxes and number of pixels, each (count,).
    mass, central_mass: the sum of ink, and the same with more weight in the middle of the picture.
    stroke: mean stroke width in pixels.
    touches_edge: whether a component touches the edge of the picture.
    border: whether it lies along an edge as shadows and cut frames do, or along most of all edges.
    usable: whether it may be a digit or a part of one: neither frame nor border.
    """

    def __init__(self, ink: np.ndarray) -> None:
        self.ink = ink
        mask = (ink > _MASK_LEVEL).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        self.labels, stats = _keep_largest(labels, stats)
        self.x, self.y, self.width, self.height, self.area = stats.T
        count = self.count = len(stats)
        inked = np.nonzero(mask.view(bool))  # most pixels are paper, which need not be summed
        component_of, ink_values = self.labels[inked], ink[inked]
        self.mass = np.bincount(component_of, ink_values, count)
        row_weights, column_weights = (np.hanning(side + 2)[1:-1] for side in ink.shape)  # 1 in the middle
        centrality = row_weights[inked[0]] * column_weights[inked[1]]
        self.central_mass = np.bincount(component_of, ink_values * centrality, count)
        right, bottom = self.x + self.width, self.y + self.height
        self.touches_edge = (self.x == 0) | (self.y == 0) | (right == ink.shape[1]) | (bottom == ink.shape[0])
        depths = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[inked]
        mean_depth = np.bincount(component_of, depths, count) / np.maximum(self.area, 1)
        self.stroke = np.maximum(4 * mean_depth - 2, 1)
        self.border = self._find_border()
        self.usable = ~(self._find_frames() | self.border)
        self.usable[0] = self.border[0] = False

    def _find_frames(self) -> np.ndarray:
        """Return which components enclose another one of some height, bool (count,)."""
        tall = np.flatnonzero(self.height >= _TALL_SHARE * self.height[1:].max(initial=1))
        frames = np.zeros(self.count, bool)
        for component in tall[tall > 0]:
            is_inside = (
                (self.x > self.x[component])
                & (self.y > self.y[component])
                & (self.x + self.width < self.x[component] + self.width[component])
                & (self.y + self.height < self.y[component] + self.height[component])
                & (self.height > _MIN_ENCLOSED_HEIGHT * self.height[component])
            )
            frames[component] = is_inside[1:].any()
        return frames

    def _find_border(self) -> np.ndarray:
        """Return which components lie along an edge and do not reach far in, or along most of all edges.

        The first are shadows and frames that the picture cuts; the second is the desk around a sheet.
        """
        height, width = self.ink.shape
        longer_side = np.maximum(self.width, self.height)
        border = np.zeros(self.count, bool)
        total_contact = np.zeros(self.count)
        for edge_labels, reach in (
            (self.labels[:, :2].max(axis=1), self.width / width),
            (self.labels[:, -2:].max(axis=1), self.width / width),
            (self.labels[:2].max(axis=0), self.height / height),
            (self.labels[-2:].max(axis=0), self.height / height),
        ):
            contact = np.bincount(edge_labels, minlength=self.count)
            border |= (contact > _EDGE_CONTACT * longer_side) & (reach < _EDGE_REACH)
            total_contact += contact
        border |= total_contact > _EDGES_COVERED * 2 * (height + width)
        return border

    def group_central_digit(self) -> list[int]:
        """Return the component with most ink in the middle and its parts, for pictures of one digit."""
        if not self.usable.any():
            return []
        central = self._find_most_central()
        group = [central]
        for component in np.flatnonzero(self.usable):
            if component != central:
                self._add_part(int(component), [group], [self.box([central])])
        return group

    def group_digits(self) -> list[list[int]]:
        """Return the groups of components that are digits, each with the parts near it."""
        if not self.usable.any():
            return []
        central = self._find_most_central()
        if np.count_nonzero(self.usable) == 1:
            return [[central]]
        _, is_alike = self._compare(np.array([central]), self.usable)
        has_stroke, is_alike = self._compare(np.flatnonzero(is_alike), self.usable)
        is_alike &= ~self.touches_edge | self.touches_edge[central]
        is_alike[central] = True
        groups = self._join_torn_digits([[int(component)] for component in np.flatnonzero(is_alike)])
        boxes = [self.box(group) for group in groups]
        for component in np.flatnonzero(has_stroke & ~is_alike):
            self._add_part(int(component), groups, boxes)
        return groups

    def digits_at_edge(self, digits: list[list[int]]) -> list[Box]:
        """Return the boxes of components at an edge that are like these digits.

        The result is empty if one of the digits itself touches an edge.
        """
        reference = np.array([group[0] for group in digits])
        if self.touches_edge[reference].any():
            return []
        _, is_alike = self._compare(reference, self.usable | self.border)
        is_alike &= self.touches_edge | self.border
        is_alike &= self.width >= _SLIM * self.height  # a slimmer one may be the side of a frame
        is_alike &= self.stroke < _MAX_EDGE_STROKE * median(self.stroke[reference])
        return [self.box([int(component)]) for component in np.flatnonzero(is_alike)]

    def box(self, group: list[int]) -> Box:
        """Return the bounding box of a group: x, y, width, height."""
        if len(group) == 1:
            index = group[0]
            return int(self.x[index]), int(self.y[index]), int(self.width[index]), int(self.height[index])
        x, y = int(self.x[group].min()), int(self.y[group].min())
        right, bottom = (self.x + self.width)[group].max(), (self.y + self.height)[group].max()
        return x, y, int(right) - x, int(bottom) - y

    def crop_ink(self, group: list[int]) -> np.ndarray:
        """Return the ink of a group alone, float32 (h, w): its box with a margin of at most one pixel."""
        x, y, width, height = self.box(group)
        rows, columns = slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)
        is_member = np.zeros(self.count, np.uint8)
        is_member[group] = 1
        group_mask = is_member[self.labels[rows, columns]]
        cropped: np.ndarray = self.ink[rows, columns] * cv2.dilate(group_mask, np.ones((3, 3), np.uint8))
        return cropped

    def _compare(self, reference: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which candidates have strokes like the reference components, and which are alike in all."""
        shade = self.mass / np.maximum(self.area, 1)
        stroke = quantile(self.stroke[reference], 0.25)
        height, reference_shade = median(self.height[reference]), median(shade[reference])
        is_slim = self.width < _SLIM * self.height
        has_stroke = candidates & (self.stroke > np.where(is_slim, _MIN_SLIM_STROKE, _MIN_STROKE) * stroke)
        has_height = (self.height > MIN_HEIGHT * height) & (self.height < MAX_HEIGHT * height)
        return has_stroke, has_stroke & has_height & (shade > _MIN_SHADE * reference_shade)

    def _find_most_central(self) -> int:
        return int(np.argmax(np.where(self.usable, self.central_mass, -1)))

    def _join_torn_digits(self, groups: list[list[int]]) -> list[list[int]]:
        """Join groups that lie so close, side by side or above each other, that they are one torn digit."""
        if len(groups) == 1:
            return groups
        groups = sorted(groups, key=lambda group: int(self.x[group[0]]))
        boxes = np.array([self.box(group) for group in groups])
        index = unchanged = 0
        while unchanged < len(groups):
            partners = np.flatnonzero(_are_one_digit(index, boxes))
            if partners.size:
                joined = groups[index] + groups.pop(partners[0])
                boxes = np.delete(boxes, partners[0], axis=0)
                index -= int(partners[0] < index)
                groups[index], boxes[index] = joined, self.box(joined)
                unchanged = 0
            else:
                index = (index + 1) % len(groups)
                unchanged += 1
        return groups

    def _add_part(self, component: int, groups: list[list[int]], boxes: list[Box]) -> None:
        """Add a smaller component to the nearest digit if it is near and large enough to be a part of it."""
        x, y, width, height = np.array(boxes).T
        gap_x = np.maximum(x - (self.x[component] + self.width[component]), self.x[component] - (x + width))
        gap_y = np.maximum(y - (self.y[component] + self.height[component]), self.y[component] - (y + height))
        distances = np.hypot(np.maximum(gap_x, 0), np.maximum(gap_y, 0))
        nearest = int(np.argmin(distances))
        area = int(self.area[groups[nearest]].sum())
        is_cut = self.touches_edge[component] and not self.touches_edge[groups[nearest]].any()
        is_near = distances[nearest] < _PART_DISTANCE * max(boxes[nearest][2:])
        if is_near and self.area[component] > _MIN_PART_AREA * area and not is_cut:
            groups[nearest].append(component)


def _keep_largest(labels: np.ndarray, stats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (H, W) and stats (N, 5) of the largest components; the rest becomes background."""
    if len(stats) <= _MAX_COMPONENTS + 1:
        return labels, stats
    largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:_MAX_COMPONENTS]
    kept = np.sort(largest) + 1
    new_labels = np.zeros(len(stats), labels.dtype)
    new_labels[kept] = np.arange(1, len(kept) + 1)
    return new_labels[labels], stats[np.append(0, kept)]


def _are_one_digit(index: int, boxes: np.ndarray) -> np.ndarray:
    """Return which of the boxes (N, 4) form one digit with the box of that index: bool (N,)."""
    starts, sides = boxes[:, :2], boxes[:, 2:]
    ends = starts + sides
    gap_x, gap_y = (np.maximum(starts, starts[index]) - np.minimum(ends, ends[index])).T
    smaller_width, smaller_height = np.minimum(sides, sides[index]).T
    height = sides[:, 1]
    joint_height = np.maximum(ends[:, 1], ends[index, 1]) - np.minimum(starts[:, 1], starts[index, 1])
    other_heights = np.delete(height, index)
    tallest, second = (*np.sort(other_heights)[::-1][:2], np.inf, np.inf)[:2]
    max_height = np.where(height == tallest, second, tallest) if len(other_heights) > 1 else np.inf
    is_beside = -gap_y > 0.5 * smaller_height
    close_beside = gap_x < _BESIDE_GAP * np.maximum(height, height[index])
    is_stacked = (-gap_x > 0.5 * smaller_width) & (gap_y < _STACKED_GAP * joint_height)
    is_stacked |= (gap_x < 0) & (gap_y < 0)
    is_stacked &= joint_height < _MAX_STACKED_HEIGHT * max_height
    are_one: np.ndarray = np.where(is_beside, close_beside, is_stacked)
    are_one[index] = False
    return are_one


def digit_from_picture(source: Path | bytes) -> np.ndarray:
    """Return the central digit of a picture file, or of a file's bytes: uint8 (28, 28), white on black.

    The result is all zeros if nothing is written.

    Raises:
        PictureError: The picture cannot be read.
    """
    return digit_from_grey(open_picture(source))


def digit_from_grey(grey: np.ndarray) -> np.ndarray:
    """Return the central digit of grey pixels (H, W), uint8 or float in [0, 1]: uint8 (28, 28), as above."""
    grey = limit_size(grey, _DIGIT_SIDE_PX)
    if grey.dtype == np.uint8:
        grey = grey.astype(np.float32) / 255
    components = ConnectedComponents(find_ink(grey.astype(np.float32, copy=False)))
    group = components.group_central_digit()
    return normalize_digit(components.crop_ink(group) if group else np.zeros_like(components.ink))


def normalize_digit(ink: np.ndarray, box_px: int = BOX_PX) -> np.ndarray:
    """Return all of the ink, float32 (H, W), as one digit: uint8 (28, 28), white on black; zeros for no ink.

    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998: a digit
    is scaled, keeping its aspect ratio, into a box of 20 x 20 pixels, and its centre of mass lies in the
    middle of the image. One step is added: strokes thinner than MNIST's are thickened first, because they
    would vanish when they are scaled down. A smaller box gives another view of the same digit.
    """
    digit = _crop(ink)
    if not digit.size:
        return np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    # Hairlines are widened by one pixel of the fine resolution; scaled down, they would grow pale.
    pixels = -(-max(digit.shape) // (box_px * _FINE))
    fine = _fit(cv2.dilate(digit, np.ones((pixels, pixels), np.uint8)), box_px * _FINE)
    missing_px = _MIN_STROKE_PX - mean_stroke_width(fine) / _FINE
    if missing_px > _MIN_CHANGE_PX:  # strokes gain this width once they are fitted into the box
        brush = round(missing_px * _FINE * box_px / (box_px - missing_px)) + 1
        fine = cv2.copyMakeBorder(fine, brush, brush, brush, brush, cv2.BORDER_CONSTANT, value=0)
        fine = cv2.dilate(fine, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (brush, brush)))
        cropped = _crop(fine)
        digit = cropped if cropped.size else fine
    boxed = np.clip(_fit(digit, box_px) * 255 + 0.5, 0, 255).astype(np.uint8)
    height, width = boxed.shape
    moments = cv2.moments(boxed)
    mass = max(moments["m00"], 1e-6)
    left = min(max(round(SIDE_PX / 2 - moments["m10"] / mass), 0), SIDE_PX - width)
    top = min(max(round(SIDE_PX / 2 - moments["m01"] / mass), 0), SIDE_PX - height)
    image = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    image[top : top + height, left : left + width] = boxed
    return image


def mean_stroke_width(ink: np.ndarray) -> float:
    """Return the mean width of the strokes in pixels: four times the mean distance of ink to its edge."""
    mask = cv2.copyMakeBorder((ink > 0.5).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depths = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[mask > 0]
    return 4 * float(depths.mean()) if depths.size else 0.0


def _crop(ink: np.ndarray) -> np.ndarray:
    """Return the part of ink (H, W) that is not paper; it may be empty."""
    x, y, width, height = cv2.boundingRect((ink > _MIN_INK).astype(np.uint8))
    return ink[y : y + height, x : x + width]


def _fit(ink: np.ndarray, side_px: int) -> np.ndarray:
    """Scale ink so that its longer side has `side_px` pixels."""
    return rescale(ink, side_px / max(ink.shape))
