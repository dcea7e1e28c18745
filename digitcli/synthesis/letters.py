"""Letters, for networks that have to tell digits from letters: written shapes and printed images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digitcli.data.printed_letters import PRINTED_LETTERS, Mask, centred, draw_letters
from digitcli.errors import InputError

# Written letters in the notation of `strokes.SHAPES`, drawn for this project.
LETTERS = {
    "a": "46,36 24,30 4,60 20,98 44,70 48,34! 46,84 58,98",
    "b": "6,0! 6,96! / 6,60 30,40 46,70 28,99 6,90",
    "c": "46,40 24,30 4,62 22,98 48,84",
    "d": "46,44 22,34 4,70 22,98 44,70! / 50,0! 46,98!",
    "e": "4,66 44,56 26,30 4,60 20,98 46,84",
    "f": "40,6 24,0 18,40 16,100! / 0,44! 38,40!",
    "g": "44,40 20,30 4,60 24,80 42,40! 42,110 18,126 2,112",
    "h": "6,0! 4,98! / 6,56 28,40 36,60 36,98!",
    "k": "6,0! 4,98! / 40,36! 8,66! 42,98!",
    "m": "2,36! 2,98! / 2,56 18,36 24,60 24,98! / 24,56 42,36 50,60 50,98!",
    "n": "4,36! 4,98! / 4,56 26,36 38,56 38,98!",
    "p": "6,36! 2,130! / 6,50 30,34 42,60 24,90 6,80",
    "q": "42,40 20,32 4,60 20,92 40,60! / 44,36! 40,130!",
    "r": "4,36! 4,98! / 4,60 20,40 36,38",
    "s": "38,40 16,34 12,56 34,72 28,98 2,92",
    "t": "20,4! 16,84 30,98 42,88 / 0,36! 38,34!",
    "u": "2,36 4,84 24,98 40,70 42,36! 42,84 52,98",
    "v": "0,36! 18,98! 38,34!",
    "w": "0,36! 12,96! 26,50! 38,96! 54,34!",
    "x": "2,36! 44,98! / 42,36! 0,98!",
    "y": "2,36! 22,80! / 42,34! 6,130!",
    "z": "2,38! 40,38! 0,98! 44,96!",
    "A": "0,100! 28,0! 54,100! / 10,64! 46,62!",
    "B": "6,0! 4,100! / 6,2 40,10 36,44 8,46! 50,58 46,92 4,100",
    "C": "50,14 28,0 2,50 26,100 52,84",
    "D": "6,0! 4,100! / 6,2 50,24 50,76 4,100",
    "E": "50,2! 4,2! 4,100! 52,98! / 4,50! 40,48!",
    "F": "50,2! 4,2! 4,100! / 4,48! 40,46!",
    "G": "52,16 28,0 2,46 22,98 54,80 54,54! 30,54!",
    "H": "4,0! 4,100! / 50,0! 50,100! / 4,50! 50,48!",
    "K": "4,0! 4,100! / 48,0! 6,54! 52,100!",
    "L": "6,0! 4,98! 50,96!",
    "M": "0,100! 8,0! 30,60! 54,0! 62,100!",
    "N": "2,100! 4,0! 46,100! 50,0!",
    "P": "6,0! 4,100! / 6,2 46,10 42,46 6,54",
    "R": "6,0! 4,100! / 6,2 44,8 40,44 8,50! 50,100!",
    "S": "48,14 24,0 8,24 28,48 50,72 28,100 2,86",
    "T": "0,2! 56,0! / 28,0! 26,100!",
    "U": "2,0! 4,80 26,100 48,80 50,0!",
    "V": "0,0! 26,100! 52,0!",
    "W": "0,0! 16,100! 32,30! 48,100! 66,0!",
    "X": "2,0! 50,100! / 50,0! 0,100!",
    "Z": "2,2! 50,2! 0,98! 52,98!",
    "alpha": "52,36! 36,86 16,98 2,66 18,34 36,50 50,98!",
    "delta": "44,8 24,0 10,16 34,46 40,80 20,98 4,76 18,50 36,48",
    "eta": "0,44 8,36 10,90! / 10,56 30,36 38,60 38,126!",
    "lambda": "4,4 14,2 28,50 44,98! / 26,44! 2,98!",
    "mu": "10,36! 2,126! / 8,80 24,98 40,76 44,36! 44,90 54,96",
    "xi": "36,0 12,12 34,20 10,34 32,46 4,70 34,92 22,118",
    "pi": "0,42 12,36! 56,36! / 18,38! 14,98! / 40,38! 42,98!",
    "phi": "18,40 2,66 24,92 48,66 26,36 26,126!",
    "chi": "2,36 12,40 34,116 44,118 / 44,36! 2,120!",
    "psi": "2,36 6,84 28,92 50,70 54,36! / 30,10! 26,126!",
    "omega": "12,38 2,70 14,98 28,66! 40,98 56,70 44,38",
    "Gamma": "6,100! 6,2! 50,2!",
    "Delta": "28,0! 0,98! 58,98! 28,0!",
    "Xi": "2,2! 50,2! / 8,50! 44,50! / 0,98! 52,98!",
    "Pi": "6,100! 6,2! 48,2! 48,100!",
    "Sigma": "50,4! 2,2! 28,50! 0,98! 52,96!",
    "Phi": "28,0! 28,100! / 28,24 4,50 28,76 52,50 28,24",
    "Psi": "2,4 6,50 28,60 50,46 54,4 / 28,0! 28,100!",
    "Omega": "4,98! 18,96! 2,50 26,2 52,50 36,96! 52,98!",
}

# Written letters that cannot be taken for a digit, even where one stands alone.
LIKE_NO_DIGIT = (
    *"adfhkmnuwxAEFHKMNRWX",
    *("alpha", "delta", "eta", "lambda", "mu", "xi", "pi", "phi", "chi", "psi", "omega"),
    *("Gamma", "Delta", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"),
)
# Letters that hardly anybody takes for a digit, in any hand or font.
CLEAR_LETTERS = "AEFHKMNPRUVWXYaefhkmnrtvwxy"
FONT_SUFFIXES = (".ttf", ".otf", ".woff", ".woff2")
_REMEDY = f"Give a font, or a folder of fonts that have Latin letters ({', '.join(FONT_SUFFIXES)})."
_NONCHARACTER = "\uffff"  # no font has a glyph for it, so it shows how a font draws missing letters


def render_letters(fonts: Path | None = None) -> list[Mask]:
    """Render every printed letter (28, 28), white on black, in OpenCV's fonts and in those at a path.

    Raises:
        InputError: There is no font at the path, or a font cannot be read or has no letters.
    """
    files = [] if fonts is None else find_fonts(fonts)
    return draw_letters() + [image for file in files for image in _render_in_font(file)]


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
    return hashlib.sha256(b"".join(_read_font(file) for file in find_fonts(path))).hexdigest()


def _read_font(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.", _REMEDY) from error


def _render_in_font(file: Path) -> list[Mask]:
    try:
        font = ImageFont.truetype(file, 60)
        missing_glyph = _render_in_pillow(_NONCHARACTER, font)
        images = [_render_in_pillow(letter, font) for letter in PRINTED_LETTERS]
    except OSError as error:
        raise InputError(f"{file} is not a font that can be read: {error}.", _REMEDY) from error
    if any(not image.any() or np.array_equal(image, missing_glyph) for image in images):
        raise InputError(f"{file} has no Latin letters.", _REMEDY)
    return [centred(image) for image in images]


def _render_in_pillow(text: str, font: ImageFont.FreeTypeFont) -> Mask:
    left, top, right, bottom = map(int, font.getbbox(text))
    canvas = Image.new("L", (max(1, right - left + 2), max(1, bottom - top + 2)))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), text, 255, font)
    return np.asarray(canvas, np.uint8)
