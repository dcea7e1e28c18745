"""Letters, for networks that have to tell digits from letters: written shapes and printed images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from digitcli.errors import InputError

# Written letters of `strokes.LETTERS` that cannot be taken for a digit, even where one stands alone.
LIKE_NO_DIGIT = (
    *"adfhkmnuwxAEFHKMNRWX",
    *("alpha", "delta", "eta", "lambda", "mu", "xi", "pi", "phi", "chi", "psi", "omega"),
    *("Gamma", "Delta", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"),
)
CLEAR_LETTERS = "AEFHKMNPRUVWXYaefhkmnrtvwxy"  # hardly anybody takes these for a digit, in any hand or font
PRINTED_LETTERS = "ACEFGHKLMNRTUVWXacdfhkmnptuvwxy"  # without letters that look like a digit in some font
OPENCV_FONTS = (
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_ITALIC,
)
LETTER_PX = 22  # the longer side of a letter in its 28 x 28 image; a little more than MNIST's 20
FONT_SUFFIXES = (".ttf", ".otf", ".woff", ".woff2")
_REMEDY = f"Give a font, or a folder of fonts that have Latin letters ({', '.join(FONT_SUFFIXES)})."
_NONCHARACTER = "\uffff"  # no font has a glyph for it, so it shows how a font draws missing letters

Mask = npt.NDArray[np.uint8]  # H, W; ink 255 on paper 0


def render_letters(fonts: Path | None = None) -> list[Mask]:
    """Render every printed letter (28, 28), white on black, in OpenCV's fonts and in those at a path.

    Raises:
        InputError: There is no font at the path, or a font cannot be read or has no letters.
    """
    in_opencv = [_render_in_opencv(letter, font) for font in OPENCV_FONTS for letter in PRINTED_LETTERS]
    files = [] if fonts is None else find_fonts(fonts)
    return in_opencv + [image for file in files for image in _render_in_font(file)]


def find_fonts(path: Path) -> list[Path]:
    """Return the font at a path, or the fonts in a folder and its sub-folders, sorted by name.

    Raises:
        InputError: There is no font.
    """
    candidates: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    files = sorted(file for file in candidates if file.suffix.lower() in FONT_SUFFIXES and file.is_file())
    if not files:
        raise InputError(f"There is no font in {path}.", _REMEDY)
    return files


def hash_fonts(path: Path) -> str:
    """Return the SHA-256 of all fonts at a path.

    Raises:
        InputError: There is no font, or one cannot be read.
    """
    sha256 = hashlib.sha256()
    for file in find_fonts(path):
        try:
            sha256.update(file.read_bytes())
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}.", _REMEDY) from error
    return sha256.hexdigest()


def _render_in_opencv(letter: str, font: int) -> Mask:
    canvas = np.zeros((80, 80), np.uint8)
    cv2.putText(canvas, letter, (15, 60), font, cv2.getFontScaleFromHeight(font, 40, 3), 255, 3, cv2.LINE_AA)
    return _centred(canvas)


def _render_in_font(file: Path) -> list[Mask]:
    try:
        font = ImageFont.truetype(file, 60)
        missing_glyph = _render_in_pillow(_NONCHARACTER, font)
        images = [_render_in_pillow(letter, font) for letter in PRINTED_LETTERS]
    except OSError as error:
        raise InputError(f"{file} is not a font that can be read: {error}.", _REMEDY) from error
    if any(not image.any() or np.array_equal(image, missing_glyph) for image in images):
        raise InputError(f"{file} has no Latin letters.", _REMEDY)
    return [_centred(image) for image in images]


def _render_in_pillow(text: str, font: ImageFont.FreeTypeFont) -> Mask:
    left, top, right, bottom = map(int, font.getbbox(text))
    canvas = Image.new("L", (max(1, right - left + 2), max(1, bottom - top + 2)))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), text, 255, font)
    return np.asarray(canvas, np.uint8)


def _centred(letter: Mask) -> Mask:
    """Crop a letter (H, W), scale its longer side to `LETTER_PX` and put it in the middle of 28 x 28."""
    x, y, width, height = cv2.boundingRect(letter)
    scale = LETTER_PX / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(letter[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((28, 28), np.uint8)
    left, top = (28 - size[0]) // 2, (28 - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas
