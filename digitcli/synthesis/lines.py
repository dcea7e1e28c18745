"""Synthetic lines and characters of handwriting with exact labels, to train and to test networks."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Digits, concatenate
from digitcli.errors import InputError
from digitcli.imaging.digits import BOX_PX, normalize_digit
from digitcli.imaging.network_inputs import line_ink
from digitcli.strip_format import COLUMN_PX, STRIP_HEIGHT_PX
from digitcli.synthesis.distractors import SCALE, draw_cells, draw_distractors, draw_letters, draw_objects
from digitcli.synthesis.glyphs import LIKE_NO_DIGIT, Mask, draw_strokes, render_printed_digits
from digitcli.synthesis.paper import photograph
from digitcli.synthesis.strokes import (
    LETTERS,
    WriterStrokes,
    invent_writer,
    load_writers,
    seven_segment_writer,
    split_writers,
    write_shape,
)
from digitcli.synthesis.texts import sample_amount, sample_number
from digitcli.synthesis.writers import (
    CANVAS_PX,
    Writer,
    Writing,
    sample_printed_style,
    sample_style,
    write_text,
)
from digitcli.threads import set_up_worker

ALPHABET = "0123456789.,-=/"
AMOUNTS_SHARE = 0.5  # of the texts are drawn as amounts, and a fifth of the others. Chosen by hand.

# How a line is written. The shares were chosen by hand.
EMPTY_SHARE = 0.10  # of the lines have nothing to read
PRINTED_SHARE = 0.08  # of the other lines are printed or shown by a display
IMAGES_SHARE = 0.35  # of the handwritten lines use MNIST's images
TABLET_SHARE = 0.45  # of the rest use strokes from a tablet, if there are any; else a writer is invented
BLEND_SHARE = 0.3  # of a tablet writer's digits have an invented shape, in half of that writer's lines

# All values were chosen by hand.
EMPTY_WIDTH = (0.6, 6)  # range of the width of paper without text, in heights of the canvas
EMPTY_LETTERS_SHARE = 0.55  # of the papers without text have letters
EMPTY_OBJECTS_SHARE = 0.4  # of the others have objects
LETTERS_SHARE = 0.06  # of the lines have letters before or after the number, for example a currency
CELLS_SHARE = 0.06  # of the lines have each character in a cell of a form
ROTATION_SHARE = 0.5  # of the lines are rotated
ROTATION_DEGREES = 1.8  # standard deviation; larger angles are corrected before a line is read
PERSPECTIVE_SHARE = 0.4  # of the rotated lines are seen in perspective
PERSPECTIVE = 0.1  # standard deviation of how much larger one end of such a line looks
WIDE_MARGIN_SHARE = 0.12  # of the lines have a wide margin at the left, and as many at the right

NO_DIGIT = 10  # the label of a letter
NON_DIGITS_SHARE = 0.5  # of the characters are letters
PRINTED_LETTERS_SHARE = 0.5  # of the letters are printed; the others are handwritten
SMALL_BOX_PX = 16  # `predict` shows a network each digit in MNIST's box and in this one, so both occur
PORTION_SIZE = 1_000  # characters; each portion has a random generator of its own

_Ink = npt.NDArray[np.float32]

_synthesizer: CharacterSynthesizer  # of a worker process


@dataclass(frozen=True)
class Line:
    """A line of writing and its label.

    image: uint8 (40, W), ink 255 on paper 0, as a line network sees it.
    text: the characters of `ALPHABET` that stand on it; empty if there is nothing to read.
    boxes: float32 (n, 4), x0, y0, x1, y1 in pixels of the image, one box for each character.
    """

    image: npt.NDArray[np.uint8]
    text: str
    boxes: npt.NDArray[np.float32]

    @property
    def digits(self) -> str:
        """The text without its marks."""
        return "".join(character for character in self.text if character.isdecimal())


class LineSynthesizer:
    """Composes synthetic lines from images of digits and from pen strokes.

    Each line has one writer, who uses the images (the training part of a dataset), strokes of invented shapes
    or, if any are given, strokes that a person wrote on a tablet, see `strokes.py`.

    Raises:
        InputError: No image of one of the digits has ink.
    """

    def __init__(self, digits: Digits, writers: Sequence[WriterStrokes] = ()) -> None:
        has_ink = digits.images.any(axis=(1, 2))
        images = tuple(digits.images[has_ink & (digits.labels == digit)] for digit in range(10))
        missing = [str(digit) for digit in range(10) if not len(images[digit])]
        if missing:
            cause = f"There are no images with ink of the digits {', '.join(missing)}."
            raise InputError(cause, "Give images of all ten digits.")
        self._images = images
        self._writers = writers
        self._printed_digits = render_printed_digits()

    def synthesize_line(self, random: np.random.Generator) -> Line:
        """Compose a random line; a generator in the same state gives the same line.

        A line with fewer columns than CTC needs for its text is composed anew: nobody could read it.
        """
        while True:
            grey, text, boxes = self.synthesize_photograph(random)
            if grey.shape[1] >= COLUMN_PX * count_ctc_columns(text):
                return Line(line_ink(grey), text, boxes)

    def synthesize_photograph(self, random: np.random.Generator) -> tuple[Mask, str, npt.NDArray[np.float32]]:
        """Compose a random line as a camera sees it, dark on light: uint8 (40, W), its text and its boxes."""
        if random.random() < EMPTY_SHARE:
            text, composition = "", compose_empty(random)
        else:
            text = sample_text(random)
            composition = compose_text(random, self.sample_writer(random, text), text)
        image = photograph(random, composition.ink, composition.distractors)
        limits = np.tile(np.array(image.shape[::-1], np.float32), 2)
        boxes = np.clip(composition.boxes * np.float32(STRIP_HEIGHT_PX / CANVAS_PX), 0, limits)
        return image, text, boxes.astype(np.float32)

    def sample_writer(self, random: np.random.Generator, text: str) -> Writer:
        """Return a random writer, or a printer, for a text."""
        if random.random() < PRINTED_SHARE:
            font = int(random.integers(len(self._printed_digits) + 1))
            if font < len(self._printed_digits):
                return Writer(sample_printed_style(random), self._printed_digits[font], None, random)
            return Writer(sample_printed_style(random), self._images, seven_segment_writer(), random)
        return Writer(sample_style(random), self._images, self._sample_strokes(random, text), random)

    def _sample_strokes(self, random: np.random.Generator, text: str) -> WriterStrokes | None:
        """Return the strokes with which a text is written; None if it is written with images."""
        if random.random() < IMAGES_SHARE:
            return None
        invented = invent_writer(random, sorted({int(digit) for digit in text if digit.isdecimal()}))
        if not self._writers or random.random() > TABLET_SHARE:
            return invented
        writer = self._writers[int(random.integers(len(self._writers)))]
        blend_share = BLEND_SHARE if random.random() < 0.5 else 0.0
        return {digit: (invented if random.random() < blend_share else writer)[digit] for digit in invented}


def count_ctc_columns(text: str) -> int:
    """Return the number of columns that CTC needs for a text.

    Each character needs one, and a blank between equal characters needs another.
    """
    return len(text) + sum(left == right for left, right in zip(text, text[1:], strict=False))


def sample_text(random: np.random.Generator) -> str:
    """Return a random amount, or a number of any kind whose characters are all in `ALPHABET`."""
    if random.random() < AMOUNTS_SHARE:
        return sample_amount(random)
    while not set(text := sample_number(random)) <= set(ALPHABET):
        pass
    return text


@dataclass(frozen=True)
class Composition:
    """A line of writing on paper.

    ink: uint8 (H, W), the writing.
    distractors: uint8 (H, W), all other marks.
    boxes: float32 (n, 4), x0 y0 x1 y1 of the characters.
    """

    ink: Mask
    distractors: Mask
    boxes: npt.NDArray[np.float32]


def compose_empty(random: np.random.Generator) -> Composition:
    """Compose paper with nothing to read: distractors, and on most papers letters or objects."""
    height, width = shape = CANVAS_PX, int(random.uniform(*EMPTY_WIDTH) * CANVAS_PX)
    size_px = random.uniform(0.4, 0.9) * height
    pen_px = random.uniform(0.04, 0.15) * size_px
    box = (0.2 * width, (height - size_px) / 2, 0.8 * width, (height + size_px) / 2)
    distractors = np.zeros(shape, np.uint8)
    for _ in range(random.integers(0, 4)):
        np.maximum(distractors, draw_distractors(random, shape, box, pen_px), out=distractors)
    ink = np.zeros(shape, np.uint8)
    if random.random() < EMPTY_LETTERS_SHARE:
        x = random.uniform(0, 0.3) * width
        ink = draw_letters(random, shape, x, size_px, pen_px, int(random.integers(1, 8)))
    elif random.random() < EMPTY_OBJECTS_SHARE:
        ink = draw_objects(random, shape)
    return Composition(ink, distractors, np.zeros((0, 4), np.float32))


def compose_text(random: np.random.Generator, writer: Writer, text: str) -> Composition:
    """Compose a text of at least one character on a canvas `CANVAS_PX` high."""
    writing = write_text(random, writer, text)
    composition, shrink_factor = _put_on_paper(random, writer, writing)
    if random.random() < LETTERS_SHARE:
        composition = _add_letters(random, writer, composition)
    if random.random() < ROTATION_SHARE:
        composition = _change_view(random, composition)
    if shrink_factor == 1:
        return composition
    size = max(8, round(composition.ink.shape[1] * shrink_factor)), CANVAS_PX
    ink, distractors = (
        cv2.resize(layer, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        for layer in (composition.ink, composition.distractors)
    )
    return Composition(ink, distractors, composition.boxes * np.float32(shrink_factor))


def _put_on_paper(random: np.random.Generator, writer: Writer, writing: Writing) -> tuple[Composition, float]:
    """Put writing on paper among distractors; return also the factor that fits it into the canvas."""
    x0, y0, x1, y1 = writing.bounds()
    height = y1 - y0
    shrink_factor = CANVAS_PX * random.uniform(0.8, 1) / height if height > CANVAS_PX * 1.02 else 1.0
    space_px = CANVAS_PX - height * shrink_factor
    margins = [  # at the left and the right; a negative one cuts off a little of the writing
        int(abs(random.normal(0, 0.35)) * CANVAS_PX * 0.6 + random.uniform(least, 3) * SCALE)
        for least in (-2.5, -2)
    ]
    for index in range(2):
        if random.random() < WIDE_MARGIN_SHARE:
            margins[index] += int(random.uniform(0.2, 1.5) * CANVAS_PX)
    overlap = 0.03 * CANVAS_PX
    top = random.uniform(-overlap, space_px + overlap) if space_px > 0 else space_px / 2
    left, right = (int(margin / shrink_factor) for margin in margins)
    ink = np.zeros((round(CANVAS_PX / shrink_factor), x1 - x0 + left + right + 2), np.uint8)
    boxes = writing.draw(ink, left - x0, top / shrink_factor - y0)
    x0, y0 = boxes[:, :2].min(axis=0)
    x1, y1 = boxes[:, 2:].max(axis=0)
    distractors = draw_distractors(random, ink.shape, (x0, y0, x1, y1), writer.pen_px)
    if random.random() < CELLS_SHARE:
        draw_cells(random, distractors, boxes)
    return Composition(ink, distractors, boxes), shrink_factor


def _add_letters(random: np.random.Generator, writer: Writer, composition: Composition) -> Composition:
    """Add paper at the left or the right, with letters in the size and the pen of the writing."""
    at_left = random.random() < 0.5
    size_px = writer.style.height_px * random.uniform(0.5, 1)
    count = int(random.integers(1, 4))
    shape = composition.ink.shape[0], int(count * size_px * 0.9)
    letters = draw_letters(random, shape, 2, size_px, writer.pen_px * 0.9, count)
    blank = np.zeros_like(letters)
    ink, distractors, boxes = composition.ink, composition.distractors, composition.boxes
    if not at_left:
        return Composition(np.hstack([ink, letters]), np.hstack([distractors, blank]), boxes)
    moved_boxes = boxes + np.array([shape[1], 0, shape[1], 0], np.float32)
    return Composition(np.hstack([letters, ink]), np.hstack([blank, distractors]), moved_boxes)


def _change_view(random: np.random.Generator, composition: Composition) -> Composition:
    """Rotate a composition about its middle, and show some in perspective: one end or edge is nearer."""
    height, width = composition.ink.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    rotation = cv2.getRotationMatrix2D((width / 2, height / 2), random.normal(0, ROTATION_DEGREES), 1)
    moved = corners @ rotation[:, :2].T + rotation[:, 2]
    if random.random() < PERSPECTIVE_SHARE:
        left, right = random.normal(0, PERSPECTIVE, 2) * height / 2  # how much each end grows up and down
        top, bottom = random.normal(0, PERSPECTIVE, 2) * height / 2  # how much each edge grows sideways
        moved += np.array([[-top, -left], [top, -right], [bottom, right], [-bottom, left]])
    view = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    ink = cv2.warpPerspective(composition.ink, view, (width, height))
    distractors = cv2.warpPerspective(
        composition.distractors, view, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    # A box goes through the places to which the middles of its sides are moved.
    x0, y0, x1, y1 = composition.boxes.T
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    sides = np.stack([(x0, y), (x, y0), (x1, y), (x, y1)]).transpose(2, 0, 1)  # n, side, x or y
    sides = np.asarray(cv2.perspectiveTransform(sides.astype(np.float32), view), np.float32)
    boxes = np.stack([sides[:, 0, 0], sides[:, 1, 1], sides[:, 2, 0], sides[:, 3, 1]], axis=1)
    return Composition(ink.astype(np.uint8), distractors.astype(np.uint8), boxes)


class CharacterSynthesizer:
    """Composes digits like `LineSynthesizer`, and as many letters, handwritten or from `letters` (28, 28).

    Raises:
        InputError: No image of one of the digits has ink.
    """

    def __init__(self, digits: Digits, letters: Sequence[Mask]) -> None:
        self._lines = LineSynthesizer(digits, split_writers(load_writers(), "train"))
        self._letters = [np.stack(letters)] * 10

    def synthesize(self, random: np.random.Generator, count: int) -> Digits:
        """Return `count` characters, white on black; letters have the label `NO_DIGIT`."""
        images = np.zeros((count, 28, 28), np.uint8)
        labels = np.zeros(count, np.int64)
        for index in range(count):
            if random.random() >= NON_DIGITS_SHARE:
                labels[index] = digit = int(random.integers(10))
                writer = self._lines.sample_writer(random, str(digit))
            else:
                labels[index], digit, strokes = NO_DIGIT, 2, None
                if random.random() >= PRINTED_LETTERS_SHARE:
                    strokes = {2: [write_shape(random, LETTERS[str(random.choice(LIKE_NO_DIGIT))])]}
                # To this writer, every letter is a "2": the style changes no digit but 0 and 1.
                writer = Writer(sample_style(random), self._letters, strokes, random)
            ink = _degrade(random, writer.write(str(digit)).mask)
            images[index] = normalize_digit(ink, int(random.choice([BOX_PX, SMALL_BOX_PX])))
        return Digits(images, labels)


def synthesize_characters(
    digits: Digits, letters: Sequence[Mask], seed: int, count: int, processes: int = 1
) -> Digits:
    """Return `count` characters, which depend on the seed but not on the number of processes.

    Raises:
        InputError: No image of one of the digits has ink.
    """
    portions = [(seed, start, min(PORTION_SIZE, count - start)) for start in range(0, count, PORTION_SIZE)]
    processes = min(processes, len(portions))
    if processes > 1:
        pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin_worker, (digits, letters))
        with pool, suppress(BrokenExecutor):  # if a worker was killed, this process does all the work
            return concatenate(*pool.map(_synthesize_portion, portions))
    _set_synthesizer(digits, letters)
    return concatenate(*map(_synthesize_portion, portions))


def _begin_worker(digits: Digits, letters: Sequence[Mask]) -> None:
    set_up_worker()
    _set_synthesizer(digits, letters)


def _set_synthesizer(digits: Digits, letters: Sequence[Mask]) -> None:
    global _synthesizer
    _synthesizer = CharacterSynthesizer(digits, letters)


def _synthesize_portion(portion: tuple[int, int, int]) -> Digits:
    seed, start, count = portion
    return _synthesizer.synthesize(np.random.default_rng([seed, start]), count)


def _degrade(random: np.random.Generator, mask: Mask) -> _Ink:
    """Return ink from 0 to 1 as it is found in a picture: of any size, blurred, noisy, beside a speck."""
    side_px = float(np.exp(random.uniform(np.log(12), np.log(60))))
    scale = min(1.0, side_px / max(mask.shape))
    padded = np.pad(mask, int(6 / scale)).astype(np.float32) / 255
    ink: _Ink = cv2.resize(padded, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32)
    if random.random() < 0.6:
        ink = cv2.GaussianBlur(ink, (0, 0), random.uniform(0.3, 1.2)).astype(np.float32)
    if random.random() < 0.25:
        start = random.uniform([0, 0], ink.shape[::-1])
        ends = np.stack([start, start + random.normal(0, 0.12 * len(ink), 2)]).astype(np.float32)
        speck = np.zeros(ink.shape, np.uint8)
        draw_strokes(speck, [ends], max(1, random.uniform(0.04, 0.1) * len(ink)))
        ink = np.maximum(ink, speck / np.float32(255))
    ink = ink / max(float(ink.max()), 1e-6)
    if random.random() < 0.5:
        near_ink = cv2.dilate((ink > 0.15).astype(np.uint8), np.ones((3, 3), np.uint8))
        noise = random.normal(0, random.uniform(0.02, 0.12), ink.shape)
        ink = (np.clip(ink + noise, 0, 1) * near_ink).astype(np.float32)
    return ink
