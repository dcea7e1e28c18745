"""Synthetic characters for networks of single digits: digits of random writers, and letters as non-digits."""

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
from digitcli.synthesis.strokes import load_writers, split_writers
from digitcli.synthesis.writer_style import Writer, sample_style
from digitcli.worker_process import set_up_worker

NO_DIGIT = 10  # the label of a letter
LETTERS_SHARE = 0.5  # of the characters are letters
PRINTED_SHARE = 0.5  # of the letters are printed; the others are handwritten
SMALL_BOX_PX = 16  # `predict` shows a network each digit in MNIST's box and in this one, so both occur
PORTION_SIZE = 1_000  # characters; each portion has a random generator of its own

_Ink = npt.NDArray[np.float32]

_synthesizer: CharacterSynthesizer  # of a worker process


class CharacterSynthesizer:
    """Composes digits like `LineSynthesizer`, and as many letters, handwritten or from `letters` (28, 28).

    Raises:
        InputError: No image of one of the digits has ink.
    """

    def __init__(self, digits: Digits, letters: Sequence[Mask]) -> None:
        self._lines = LineSynthesizer(digits, split_writers(load_writers(), held_out=False))
        self._letters = [np.stack(letters)] * 10

    def synthesize(self, random: np.random.Generator, count: int) -> Digits:
        """Return `count` characters, white on black; letters have the label `NO_DIGIT`."""
        images = np.zeros((count, 28, 28), np.uint8)
        labels = np.zeros(count, np.int64)
        for index in range(count):
            ink, labels[index] = self._sample_character(random)
            images[index] = normalize_digit(ink, int(random.choice([BOX_PX, SMALL_BOX_PX])))
        return Digits(images, labels)

    def _sample_character(self, random: np.random.Generator) -> tuple[_Ink, int]:
        """Return the ink of a random character and its label."""
        if random.random() >= LETTERS_SHARE:
            digit = int(random.integers(10))
            writer = self._lines.sample_writer(random, str(digit))
            return _degrade(random, writer.write(str(digit)).mask), digit
        strokes = None
        if random.random() >= PRINTED_SHARE:
            strokes = {2: [write_shape(random, LETTERS[str(random.choice(LIKE_NO_DIGIT))])]}
        # To this writer, every letter is a "2": with any digit other than 0 and 1, the style changes nothing.
        writer = Writer(sample_style(random), self._letters, strokes, random)
        return _degrade(random, writer.write("2").mask), NO_DIGIT


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
        ink = np.maximum(ink, _draw_speck(random, ink.shape) / np.float32(255))
    ink = ink / max(float(ink.max()), 1e-6)
    if random.random() < 0.5:
        near_ink = cv2.dilate((ink > 0.15).astype(np.uint8), np.ones((3, 3), np.uint8))
        noise = random.normal(0, random.uniform(0.02, 0.12), ink.shape)
        ink = (np.clip(ink + noise, 0, 1) * near_ink).astype(np.float32)
    return ink


def _draw_speck(random: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    height, width = shape
    start = random.uniform([0, 0], [width, height])
    ends = np.stack([start, start + random.normal(0, 0.12 * height, 2)]).astype(np.float32)
    speck = np.zeros(shape, np.uint8)
    draw_strokes(speck, [ends], max(1, random.uniform(0.04, 0.1) * height))
    return speck
