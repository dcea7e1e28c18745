"""Synthetic single characters with labels, for networks that read digits and tell them from letters."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Digits, concatenate
from digitcli.errors import InputError
from digitcli.imaging.digits import BOX_PX, normalize_digit
from digitcli.synthesis.glyphs import LIKE_NO_DIGIT, Mask, draw_strokes, render_printed_digits
from digitcli.synthesis.strokes import (
    LETTERS,
    WriterStrokes,
    invent_writer,
    load_writers,
    seven_segment_writer,
    split_writers,
    write_shape,
)
from digitcli.synthesis.writers import Writer, sample_printed_style, sample_style
from digitcli.threads import set_up_worker

# How a digit is written. The shares were chosen by hand.
PRINTED_SHARE = 0.08  # are printed or shown by a display
IMAGES_SHARE = 0.35  # of the handwritten ones use MNIST's images
TABLET_SHARE = 0.45  # of the rest use strokes from a tablet; else a writer is invented
BLEND_SHARE = 0.3  # of a tablet writer's digits have an invented shape, half of the times

NO_DIGIT = 10  # the label of a letter
NON_DIGITS_SHARE = 0.5  # of the characters are letters
PRINTED_LETTERS_SHARE = 0.5  # of the letters are printed; the others are handwritten
SMALL_BOX_PX = 16  # `predict` shows a network each digit in MNIST's box and in this one, so both occur
PORTION_SIZE = 1_000  # characters; each portion has a random generator of its own

_Ink = npt.NDArray[np.float32]

_synthesizer: CharacterSynthesizer  # of a worker process


class CharacterSynthesizer:
    """Composes digits, and as many letters, handwritten or from `letters` (28, 28).

    Digits are images of a dataset, strokes of invented shapes or strokes that a person wrote on a tablet.

    Raises:
        InputError: No image of one of the digits has ink.
    """

    def __init__(self, digits: Digits, letters: Sequence[Mask]) -> None:
        has_ink = digits.images.any(axis=(1, 2))
        self._images = tuple(digits.images[has_ink & (digits.labels == digit)] for digit in range(10))
        missing = [str(digit) for digit in range(10) if not len(self._images[digit])]
        if missing:
            cause = f"There are no images with ink of the digits {', '.join(missing)}."
            raise InputError(cause, "Give images of all ten digits.")
        self._writers = split_writers(load_writers(), "train")
        self._printed_digits = render_printed_digits()
        self._letters = [np.stack(letters)] * 10

    def synthesize(self, random: np.random.Generator, count: int) -> Digits:
        """Return `count` characters, white on black; letters have the label `NO_DIGIT`."""
        images = np.zeros((count, 28, 28), np.uint8)
        labels = np.zeros(count, np.int64)
        for index in range(count):
            if random.random() >= NON_DIGITS_SHARE:
                labels[index] = digit = int(random.integers(10))
                writer = self._writer(random, digit)
            else:
                labels[index], digit, strokes = NO_DIGIT, 2, None
                if random.random() >= PRINTED_LETTERS_SHARE:
                    strokes = {2: [write_shape(random, LETTERS[str(random.choice(LIKE_NO_DIGIT))])]}
                # To this writer, every letter is a "2": the style changes no digit but 0 and 1.
                writer = Writer(sample_style(random), self._letters, strokes, random)
            ink = _degrade(random, writer.write(str(digit)).mask)
            images[index] = normalize_digit(ink, int(random.choice([BOX_PX, SMALL_BOX_PX])))
        return Digits(images, labels)

    def _writer(self, random: np.random.Generator, digit: int) -> Writer:
        """Return a random writer, or a printer, for a digit."""
        if random.random() < PRINTED_SHARE:
            font = int(random.integers(len(self._printed_digits) + 1))
            if font < len(self._printed_digits):
                return Writer(sample_printed_style(random), self._printed_digits[font], None, random)
            return Writer(sample_printed_style(random), self._images, seven_segment_writer(), random)
        return Writer(sample_style(random), self._images, self._strokes(random, digit), random)

    def _strokes(self, random: np.random.Generator, digit: int) -> WriterStrokes | None:
        """Return the strokes with which a digit is written; None if it is an image."""
        if random.random() < IMAGES_SHARE:
            return None
        invented = invent_writer(random, [digit])
        if random.random() > TABLET_SHARE:
            return invented
        writer = self._writers[int(random.integers(len(self._writers)))]
        blend_share = BLEND_SHARE if random.random() < 0.5 else 0.0
        return {digit: (invented if random.random() < blend_share else writer)[digit]}


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
