"""Single characters for networks of digits: digits of invented writers, and letters, which are no digit."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.data.dataset import Digits, concatenate
from digitcli.imaging.normalization import BOX_PX, normalize_digit
from digitcli.synthesis.digit_shapes import write_shape
from digitcli.synthesis.glyphs import Mask, draw_strokes
from digitcli.synthesis.letters import LETTERS, LIKE_NO_DIGIT
from digitcli.synthesis.lines import LineSynthesizer
from digitcli.synthesis.writer_style import Writer, sample_style
from digitcli.worker_process import set_up_worker

NO_DIGIT = 10  # the label of a letter
LETTERS_SHARE = 0.5
PRINTED_SHARE = 0.5  # of the letters; the others are written by hand
SMALL_BOX_PX = 16  # pictures are read by two views of each digit, in MNIST's box and in this one
PORTION = 1_000  # characters are drawn from a seed of their own

_Ink = npt.NDArray[np.float32]

_synthesizer: CharacterSynthesizer  # of a child


class CharacterSynthesizer:
    """Draws digits by the hands of `LineSynthesizer`, and as many letters: `letters` (28, 28) in print too.

    Raises:
        InputError: a digit has no image with ink.
    """

    def __init__(self, digits: Digits, letters: Sequence[Mask]) -> None:
        self._lines = LineSynthesizer(digits)
        self._letters = [np.stack(letters)] * 10

    def draw(self, random: np.random.Generator, count: int) -> Digits:
        """So many characters, white on black; letters have the label `NO_DIGIT`."""
        images = np.zeros((count, 28, 28), np.uint8)
        labels = np.zeros(count, np.int64)
        for number in range(count):
            ink, labels[number] = self._character(random)
            images[number] = normalize_digit(ink, int(random.choice([BOX_PX, SMALL_BOX_PX])))
        return Digits(images, labels)

    def _character(self, random: np.random.Generator) -> tuple[_Ink, int]:
        if random.random() >= LETTERS_SHARE:
            digit = int(random.integers(10))
            return _seen(random, self._lines.sample_writer(random, str(digit)).write(str(digit)).mask), digit
        writer = None
        if random.random() >= PRINTED_SHARE:
            writer = {2: [write_shape(random, LETTERS[str(random.choice(LIKE_NO_DIGIT))])]}
        hand = Writer(sample_style(random), self._letters, writer, random)
        return _seen(random, hand.write("2").mask), NO_DIGIT


def synthesize_characters(
    digits: Digits, letters: Sequence[Mask], seed: int, count: int, processes: int = 1
) -> Digits:
    """So many characters; they follow from the seed, however many processes draw them.

    Raises:
        InputError: a digit has no image with ink.
    """
    portions = [(seed, number, min(PORTION, count - number)) for number in range(0, count, PORTION)]
    processes = min(processes, len(portions))
    if processes > 1:
        pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin_child, (digits, letters))
        with pool, suppress(BrokenExecutor):  # a child that was killed: what is drawn is drawn here
            return concatenate(*pool.map(_draw, portions))
    _begin_drawing(digits, letters)
    return concatenate(*map(_draw, portions))


def _begin_child(digits: Digits, letters: Sequence[Mask]) -> None:
    set_up_worker()
    _begin_drawing(digits, letters)


def _begin_drawing(digits: Digits, letters: Sequence[Mask]) -> None:
    global _synthesizer
    _synthesizer = CharacterSynthesizer(digits, letters)


def _draw(portion: tuple[int, int, int]) -> Digits:
    seed, number, count = portion
    return _synthesizer.draw(np.random.default_rng([seed, number]), count)


def _seen(random: np.random.Generator, mask: Mask) -> _Ink:
    """Ink from 0 to 1 as it is found in a picture: small or large, blurred, with noise, beside a speck."""
    side_px = float(np.exp(random.uniform(np.log(12), np.log(60))))
    scale = min(1.0, side_px / max(mask.shape))
    padded = np.pad(mask, int(6 / scale)).astype(np.float32) / 255
    ink: _Ink = cv2.resize(padded, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32)
    if random.random() < 0.6:
        ink = cv2.GaussianBlur(ink, (0, 0), random.uniform(0.3, 1.2)).astype(np.float32)
    if random.random() < 0.25:
        ink = np.maximum(ink, _speck(random, ink.shape) / np.float32(255))
    ink = ink / max(float(ink.max()), 1e-6)
    if random.random() < 0.5:
        near = cv2.dilate((ink > 0.15).astype(np.uint8), np.ones((3, 3), np.uint8))
        noise = random.normal(0, random.uniform(0.02, 0.12), ink.shape)
        ink = (np.clip(ink + noise, 0, 1) * near).astype(np.float32)
    return ink


def _speck(random: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    height, width = shape
    start = random.uniform([0, 0], [width, height])
    ends = np.stack([start, start + random.normal(0, 0.12 * height, 2)]).astype(np.float32)
    speck = np.zeros(shape, np.uint8)
    draw_strokes(speck, [ends], max(1, random.uniform(0.04, 0.1) * height))
    return speck
