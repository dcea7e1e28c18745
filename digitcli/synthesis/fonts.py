"""Letters that could be no digit, in the fonts that OpenCV brings and in those of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digitcli.errors import InputError
from digitcli.synthesis.distractors import FONTS, PRINTED
from digitcli.synthesis.glyphs import Mask

SUFFIXES = (".ttf", ".otf", ".woff", ".woff2")
REMEDY = f"Give a font, or a folder of fonts that have Latin letters ({', '.join(SUFFIXES)})."
_LETTER_PX = 22  # the longer side, of 28
_NO_CHARACTER = "\uffff"


def printed_letters(fonts: Path | None = None) -> list[Mask]:
    """Every letter (28, 28), white on black, in every font.

    Raises:
        InputError: a font cannot be read or has no letters, or there is none.
    """
    drawn = [_in_opencv(letter, font) for font in FONTS for letter in PRINTED]
    files = [] if fonts is None else font_files(fonts)
    return drawn + [image for file in files for image in _in_font(file)]


def font_files(path: Path) -> list[Path]:
    """The font at a path, or those in and below a folder, in the order of their names.

    Raises:
        InputError: there is none.
    """
    inside: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    files = sorted(file for file in inside if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise InputError(f"There is no font in {path}.", REMEDY)
    return files


def digest_of_fonts(path: Path) -> str:
    """The SHA-256 of all fonts at a path.

    Raises:
        InputError: there is none, or one cannot be read.
    """
    return hashlib.sha256(b"".join(_content(file) for file in font_files(path))).hexdigest()


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.", REMEDY) from error


def _in_opencv(letter: str, font: int) -> Mask:
    canvas = np.zeros((80, 80), np.uint8)
    cv2.putText(canvas, letter, (15, 60), font, cv2.getFontScaleFromHeight(font, 40, 3), 255, 3, cv2.LINE_AA)
    return _framed(canvas)


def _in_font(file: Path) -> list[Mask]:
    try:
        font = ImageFont.truetype(file, 60)
        unknown = _in_pillow(_NO_CHARACTER, font)
        images = [_in_pillow(letter, font) for letter in PRINTED]
    except OSError as error:
        raise InputError(f"{file} is no font: {error}.", REMEDY) from error
    if any(not image.any() or np.array_equal(image, unknown) for image in images):
        raise InputError(f"{file} has no Latin letters.", REMEDY)
    return [_framed(image) for image in images]


def _in_pillow(text: str, font: ImageFont.FreeTypeFont) -> Mask:
    left, top, right, bottom = map(int, font.getbbox(text))
    canvas = Image.new("L", (max(1, right - left + 2), max(1, bottom - top + 2)))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), text, 255, font)
    return np.asarray(canvas, np.uint8)


def _framed(letter: Mask) -> Mask:
    """The ink, its longer side `_LETTER_PX`, in the middle of 28 x 28."""
    x, y, width, height = cv2.boundingRect(letter)
    scale = _LETTER_PX / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(letter[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((28, 28), np.uint8)
    left, top = (28 - size[0]) // 2, (28 - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas
