"""Cut strips out of scenes, to train a line reader on what the page finder will show it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from digitcli.imaging.network_inputs import LineBox, Strip, cut_strip, cut_whole
from digitcli.strip_format import DIGITS, OTHER, STRIP_HEIGHT_PX
from digitcli.synthesis.glyphs import Mask
from digitcli.synthesis.page import INVISIBLE_CUT, Corners, Kind, Label, joined, line_box
from digitcli.synthesis.scenes import Scene

# How much boxes differ from the right ones, which is more than those of a finder do. Chosen by hand.
MARGINS = (0.1, 0.5)  # range of the margin above and below, in heights
SHIFT = 0.05  # standard deviation of the centre, in heights
END_SHIFT = 0.12  # standard deviation of each end, in heights
HEIGHT_SPREAD = 0.1  # standard deviation of the logarithm of the height
ANGLE_SPREAD = 0.03  # standard deviation of the angle, in radians
# What a scene gives.
STRIPS_OF_SCENE = 12  # at most, of its numbers
OTHER_SHARE = 0.35  # of the words give a strip
NOTHING_SHARE = 0.5  # of the scenes give a strip without writing
NOTHING_PLACES = 4  # are looked at for it, and the one of most contrast is taken, as a finder mistakes it
PIECE_SHARE = 0.15  # of the scenes with numbers give a piece of a digit
JOINED_SHARE = 0.5  # of the numbers with a neighbour are shown together with it, and so on along the line
LARGEST_GAP = 3.0  # between neighbours, in heights
LARGEST_STEP = 0.4  # by which a neighbour stands higher or lower, in heights
LARGEST_RATIO = 1.3  # of the heights of neighbours
LARGEST_CUT = 0.12  # share of a character outside of the picture that does not matter
UNREADABLE_CUT = 0.35  # the share above which a person cannot read it; between both it gives no strip
LEAST_HEIGHT_PX = 9.0  # lower lines cannot be read
WHOLE = 0.8  # share of a word that a place must cover to show it; chosen by hand
NOTHING = Label(Kind.OTHER, "", np.zeros((0, 4, 2), np.float32))


@dataclass(frozen=True)
class LabelledStrip:
    """A strip and what is written on it.

    image: uint8 (3, 40, W), see `cut_strip`.
    text: characters of `strip_format.ALPHABET`; empty if nothing is written.
    boxes: float32 (n, 4), x0 y0 x1 y1 of its characters other than spaces, in pixels of the strip.
    prints: float32 (n,), whether each is printed: 1 for print, 0 for handwriting, NaN if it is not known.
    """

    image: Mask
    text: str
    boxes: npt.NDArray[np.float32]
    prints: npt.NDArray[np.float32]

    @classmethod
    def without_boxes(cls, image: Mask, text: str) -> LabelledStrip:
        """Return a strip of which only the text is known."""
        return cls(image, text, np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    @property
    def digits(self) -> str:
        """The text without anything but digits."""
        return "".join(character for character in self.text if character.isdecimal())


def pack_strips(strips: Sequence[LabelledStrip]) -> dict[str, npt.NDArray[Any]]:
    """Return strips as arrays, to store them."""
    return {
        "pixels": np.concatenate([strip.image.reshape(-1) for strip in strips]),
        "widths": np.array([strip.image.shape[-1] for strip in strips]),
        "texts": np.array([strip.text for strip in strips]),
        "boxes": np.concatenate([strip.boxes.reshape(-1, 4) for strip in strips]),
        "counts": np.array([len(strip.boxes) for strip in strips]),
        "prints": np.concatenate([strip.prints for strip in strips]),
    }


def unpack_strips(arrays: Mapping[str, npt.NDArray[Any]]) -> list[LabelledStrip]:
    """Return the strips that `pack_strips` has made into arrays."""
    widths = arrays["widths"]
    ends = np.cumsum(3 * STRIP_HEIGHT_PX * widths)[:-1]
    images = np.split(arrays["pixels"], ends)
    boxes, prints = (np.split(arrays[name], np.cumsum(arrays["counts"])[:-1]) for name in ("boxes", "prints"))
    rows = zip(images, widths.tolist(), arrays["texts"], boxes, prints, strict=True)
    return [
        LabelledStrip(image.reshape(3, STRIP_HEIGHT_PX, width), str(text), places, print_)
        for image, width, text, places, print_ in rows
    ]


def strips_of(random: np.random.Generator, scene: Scene) -> list[LabelledStrip]:
    """Cut out the numbers of a scene, some words, and places without a whole character."""
    numbers = [label for label in scene.labels if label.kind is Kind.NUMBER and label.text]
    others = [label for label in scene.labels if label.kind is Kind.OTHER and random.random() < OTHER_SHARE]
    with_box = [label for label in scene.labels if len(label.corners)]
    boxes = np.array([dataclasses.astuple(line_box(label)) for label in with_box])  # n, 5
    strips = []
    for index in random.permutation(len(numbers))[:STRIPS_OF_SCENE]:
        label = _with_neighbours(random, numbers[index], with_box, boxes)
        strips += _strip_of(random, scene, label, label.text)
    for label in others[: STRIPS_OF_SCENE // 3]:
        strips += _strip_of(random, scene, label, OTHER)
    if random.random() < NOTHING_SHARE:
        strips += _strip_of_nothing(random, scene)
    if numbers and random.random() < PIECE_SHARE:
        strips += _strip_of_a_piece(random, scene, numbers[int(random.integers(len(numbers)))])
    return strips


def strips_of_mistakes(
    random: np.random.Generator, scene: Scene, boxes: Sequence[LineBox]
) -> list[LabelledStrip]:
    """Cut out places where a page finder sees a number and none is: a word, or nothing to read.

    Places that show a part of a word, or several, give no strip.
    """
    strips = []
    for box in boxes:
        low, high = _surroundings(box)
        shown = [label for label in scene.labels if not _is_apart(label.corners, low, high)]
        if box.height < LEAST_HEIGHT_PX:
            continue
        if not shown:
            strips.append(_cut(random, scene, box, NOTHING))
        elif len(shown) == 1 and shown[0].kind is Kind.OTHER:
            word, place = shown[0], line_box(shown[0])
            areas = [each.length * each.height for each in (place, box)]
            share = place.overlap(box) * min(areas) / areas[0]  # of the word
            if word.shares_outside(scene.picture.shape[::-1]).mean() <= LARGEST_CUT and share >= WHOLE:
                strips.append(_cut(random, scene, box, dataclasses.replace(word, text=OTHER)))
    return strips


def fills_picture(scene: Scene) -> bool:
    """Tell whether a scene shows one whole number, as high as a line in a strip with the widest margin."""
    return _shows_one_number(scene, least=1, whole=1 + 2 * MARGINS[1])


def strip_of_picture(scene: Scene) -> LabelledStrip:
    """Return a whole scene as a strip; its text is `OTHER` if it shows anything but one whole number."""
    strip = cut_whole(scene.picture)
    if not scene.labels:
        return _labelled(strip, NOTHING)
    if _shows_one_number(scene, least=LEAST_HEIGHT_PX, whole=STRIP_HEIGHT_PX):
        return _labelled(strip, scene.labels[0])
    height, width = scene.picture.shape
    edges: Corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float32)
    return _labelled(strip, Label(Kind.OTHER, OTHER, edges))


def _shows_one_number(scene: Scene, least: float, whole: float) -> bool:
    """Tell whether a scene shows one whole number alone, `least` high or more where all is `whole` high."""
    if len(scene.labels) != 1 or scene.labels[0].kind is not Kind.NUMBER or not scene.labels[0].text:
        return False
    (label,), (height, width) = scene.labels, scene.picture.shape
    is_high = line_box(label).height * whole >= least * height
    return is_high and bool(label.shares_outside((width, height)).max() <= LARGEST_CUT)


def _with_neighbours(
    random: np.random.Generator, label: Label, labels: Sequence[Label], boxes: npt.NDArray[np.float64]
) -> Label:
    """Return a number alone or together with those that follow on its right, in one text with spaces."""
    index = next(i for i, other in enumerate(labels) if other is label)
    shown = [label]
    while random.random() < JOINED_SHARE:
        following = _next_on_line(index, boxes)
        if following is None or not labels[following].text:
            break
        index = following
        shown.append(labels[index])
    return joined(shown)


def _next_on_line(index: int, boxes: npt.NDArray[np.float64]) -> int | None:
    """Return the label that follows on the right if a page finder may join both, or None.

    boxes: the centre x y, length, height and angle of each label, (n, 5).
    """
    x, y, length, height, angle = boxes[index]
    away_x, away_y = boxes[:, 0] - x, boxes[:, 1] - y
    along = away_x * np.cos(angle) + away_y * np.sin(angle)
    across = away_y * np.cos(angle) - away_x * np.sin(angle)
    gap = along - (boxes[:, 2] + length) / 2
    reach = (boxes[:, 3] + height) / 2
    is_beside = (along > 0) & (np.abs(across) < reach) & (gap > -reach)
    if not is_beside.any():
        return None
    nearest = int(np.where(is_beside, gap, np.inf).argmin())
    lower, higher = sorted((height, boxes[nearest, 3]))
    is_near = -LARGEST_STEP * height < gap[nearest] <= LARGEST_GAP * height
    is_level = abs(across[nearest]) <= LARGEST_STEP * height and higher <= LARGEST_RATIO * lower
    return nearest if is_near and is_level else None


def _strip_of(random: np.random.Generator, scene: Scene, label: Label, text: str) -> list[LabelledStrip]:
    """Cut out a line, unless it is too small, or cut off so that its text is in doubt.

    `OTHER` stands for characters that are cut off, and nothing for those that are not seen.
    """
    box, outside = line_box(label), label.shares_outside(scene.picture.shape[::-1])
    if box.height < LEAST_HEIGHT_PX:
        return []
    if text == OTHER:
        is_whole = outside.mean() <= LARGEST_CUT
        shown = dataclasses.replace(label, text=text)
        return [_cut(random, scene, _jittered(random, box), shown)] if is_whole else []
    if ((outside > LARGEST_CUT) & (outside < UNREADABLE_CUT)).any():
        return []
    shares, seen = iter(outside.tolist()), ""
    for character in text:
        share = 0.0 if character == " " else next(shares)
        if share < INVISIBLE_CUT:
            seen += character if share < UNREADABLE_CUT else OTHER
    if not set(seen) & set(DIGITS):
        return []
    is_seen = outside < INVISIBLE_CUT
    shown = Label(label.kind, seen.strip(), label.corners[is_seen], printed=label.prints[is_seen])
    return [_cut(random, scene, _jittered(random, line_box(shown)), shown)]


def _strip_of_nothing(random: np.random.Generator, scene: Scene) -> list[LabelledStrip]:
    """Cut out a place that no label touches, of several the one of most contrast."""
    height, width = scene.picture.shape
    largest = 0.8 * min(height, width) + LEAST_HEIGHT_PX
    places: list[tuple[float, LineBox]] = []
    for _ in range(NOTHING_PLACES):
        size = float(np.exp(random.uniform(np.log(LEAST_HEIGHT_PX), np.log(largest))))
        x, y = random.uniform(0, width), random.uniform(0, height)
        box = LineBox(x, y, size * random.uniform(0.3, 4), size, random.normal(0, 0.1))
        low, high = _surroundings(box)
        if all(_is_apart(label.corners, low, high) for label in scene.labels):
            (x0, y0), (x1, y1) = low.clip(0).astype(int), np.ceil(high).astype(int)
            places.append((float(scene.picture[y0:y1, x0:x1].std()), box))
    if not places:
        return []
    _, box = max(places, key=lambda place: place[0])
    return [_cut(random, scene, box, NOTHING)]


def _strip_of_a_piece(random: np.random.Generator, scene: Scene, label: Label) -> list[LabelledStrip]:
    """Cut out a loop or a stroke of a large digit, which is nothing to read."""
    corners = label.corners[int(random.integers(len(label.corners)))]
    centre = corners.min(axis=0) + random.uniform(0.1, 0.9, 2) * np.ptp(corners, axis=0)
    height = float(np.ptp(corners[:, 1])) * random.uniform(0.2, 0.45)
    if height < LEAST_HEIGHT_PX:
        return []
    length = height * random.uniform(0.5, 1.5)
    box = LineBox(float(centre[0]), float(centre[1]), length, height, random.normal(0, 0.1))
    return [_cut(random, scene, box, NOTHING)]


def _surroundings(box: LineBox) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the upper left and the lower right corner of what the largest strip of a line shows."""
    margin = 2 * MARGINS[1] * box.height
    around = box.corners(box.length + margin, box.height + margin).astype(np.float32)
    return around.min(axis=0), around.max(axis=0)


def _is_apart(corners: Corners, low: npt.NDArray[np.float32], high: npt.NDArray[np.float32]) -> bool:
    flat = corners.reshape(-1, 2)
    return not len(flat) or bool((flat.min(axis=0) > high).any() or (flat.max(axis=0) < low).any())


def _jittered(random: np.random.Generator, box: LineBox) -> LineBox:
    along = np.array([np.cos(box.angle), np.sin(box.angle)])
    across = np.array([-along[1], along[0]])
    start, end = random.normal(0, END_SHIFT, 2) * box.height
    centre = np.array([box.x, box.y]) + along * (start + end) / 2
    centre = centre + across * random.normal(0, SHIFT) * box.height
    return dataclasses.replace(
        box,
        x=float(centre[0]),
        y=float(centre[1]),
        length=max(box.length + end - start, 0.15 * box.height),
        height=box.height * float(np.exp(random.normal(0, HEIGHT_SPREAD))),
        angle=box.angle + float(random.normal(0, ANGLE_SPREAD)),
    )


def _cut(random: np.random.Generator, scene: Scene, box: LineBox, label: Label) -> LabelledStrip:
    return _labelled(cut_strip(scene.picture, box, random.uniform(*MARGINS)), label)


def _labelled(strip: Strip, label: Label) -> LabelledStrip:
    inverse = np.linalg.inv(strip.to_picture[:, :2])
    placed = (label.corners - strip.to_picture[:, 2].astype(np.float32)) @ inverse.T.astype(np.float32)
    boxes = np.concatenate([placed.min(axis=1), placed.max(axis=1)], axis=1)
    limits = np.tile(np.array(strip.image.shape[:0:-1], np.float32), 2)
    return LabelledStrip(strip.image, label.text, np.clip(boxes, 0, limits).astype(np.float32), label.prints)
