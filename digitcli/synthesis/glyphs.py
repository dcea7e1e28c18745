"""Draw the ink of one character: strokes of a pen, MNIST's images redrawn with that pen, marks, or print."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from digitcli.errors import InputError
from digitcli.synthesis.strokes import DigitStrokes

SUBPIXEL_BITS = 4  # lines are drawn with a precision of a sixteenth of a pixel
MNIST_FINE = 3  # MNIST's images are redrawn from this multiple of their resolution
INK_LEVEL = 100  # of 255; darker pixels count as ink for boxes and gaps
_EDGE_LEVEL = 110  # of 255; MNIST's soft edges are cut here
_SMOOTHING_PX = 1.2  # standard deviation of the blur that removes MNIST's steps, in fine pixels
_FAR_PX = -99.0  # the distance to the ink outside of MNIST's image
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
DIGIT_FONTS = (
    *(cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX),
    cv2.FONT_HERSHEY_COMPLEX | cv2.FONT_ITALIC,
)
LETTER_PX = 22  # the longer side of a letter in its 28 x 28 image; a little more than MNIST's 20
FONT_SUFFIXES = (".ttf", ".otf", ".woff", ".woff2")
_REMEDY = f"Give a font, or a folder of fonts that have Latin letters ({', '.join(FONT_SUFFIXES)})."
_NONCHARACTER = "\uffff"  # no font has a glyph for it, so it shows how a font draws missing letters

Mask = npt.NDArray[np.uint8]
Points = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Glyph:
    """The ink of a character.

    mask: uint8 (H, W), 255 on 0, in pixels of the canvas.
    corner: (2,), x and y of the mask's upper left pixel relative to the character's origin.
    strokes: the strokes in the same pixels, if the character was drawn from strokes.
    """

    mask: Mask
    corner: Points
    strokes: tuple[Points, ...] = ()


def draw_strokes(canvas: Mask, strokes: Sequence[Points], width_px: float, level: int = 255) -> None:
    """Draw lines through points (P, 2), in pixels, on a canvas (H, W)."""
    scale = 1 << SUBPIXEL_BITS
    lines = [np.round(points * scale).astype(np.int32).reshape(-1, 1, 2) for points in strokes]
    cv2.polylines(canvas, lines, False, level, max(1, round(width_px)), cv2.LINE_AA, SUBPIXEL_BITS)


def glyph_of_strokes(strokes: Sequence[Points], pen_px: float) -> Glyph:
    """Draw strokes, points (P, 2) in pixels, with a round pen."""
    corner, (width, height) = _bound(np.concatenate(strokes), margin_px=pen_px / 2 + 2)
    mask = np.zeros((height, width), np.uint8)
    draw_strokes(mask, [points - corner for points in strokes], pen_px)
    return Glyph(mask, corner, tuple(strokes))


def glyph_of_image(image: Mask, to_pixels: npt.NDArray[np.float32], height_px: float, pen_px: float) -> Glyph:
    """Redraw an image of MNIST (28, 28) that has ink in another size, shape and pen width.

    Args:
        image: the image.
        to_pixels: (2, 2), the matrix from heights of the digit to pixels of the canvas.
        height_px: the height of the digit on the canvas.
        pen_px: the width of the pen on the canvas.
    """
    distance, half_width = signed_distance(image)
    left, top, width, height = cv2.boundingRect((distance > 0).astype(np.uint8))
    digit_height = max(height, width / 2)  # in fine pixels
    to_pixels = (to_pixels / digit_height).astype(np.float32)
    ends = np.array([[x, y] for y in (0, height) for x in (0, width)], np.float32)
    corner, size = _bound(ends @ to_pixels.T, margin_px=pen_px + 4)
    origin = corner + to_pixels @ np.array([left, top], np.float32)
    affine = np.column_stack([to_pixels, -origin]).astype(np.float32)
    scale = height_px * MNIST_FINE / digit_height
    depth = cv2.warpAffine(distance * np.float32(scale), affine, size, borderValue=_FAR_PX)
    # More thinning would break the strokes, and more growth would fill their loops.
    half_width_px = half_width * scale
    growth_px = min(max(pen_px / 2 - half_width_px, -0.45 * half_width_px), 0.6 * half_width_px + 1)
    return Glyph(np.clip((depth + growth_px + 0.5) * 255, 0, 255).astype(np.uint8), corner)


def signed_distance(image: Mask) -> tuple[npt.NDArray[np.float32], float]:
    """Return the depth of each pixel of an image (28, 28) in the ink, and half of the stroke width.

    Both are in MNIST's pixels; the depth is negative outside the ink. The field is (84, 84). Adding a
    constant to it makes every stroke thicker or thinner and leaves its edges smooth.
    """
    side = image.shape[0] * MNIST_FINE
    fine = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(fine, (0, 0), _SMOOTHING_PX)
    inside = (fine > min(_EDGE_LEVEL, int(fine.max()) // 2)).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    half_width = float(np.percentile(depth[depth > 0], 90)) / MNIST_FINE
    return ((depth - outside) / MNIST_FINE).astype(np.float32), half_width


def _bound(points: Points, margin_px: float) -> tuple[Points, tuple[int, int]]:
    """Return the upper left corner, and the width and height in pixels, of the box around points (P, 2)."""
    low = np.floor(points.min(axis=0) - margin_px)
    width, height = (np.ceil(points.max(axis=0) + margin_px) - low).astype(int) + 1
    return low, (int(width), int(height))


# The marks, in heights of a digit: y is 0 at the top of a digit and 1 at its foot.


def draw_mark(random: np.random.Generator, mark: str) -> DigitStrokes:
    """Return random strokes of one of `. , - = /`, points (P, 2) in heights of a digit."""
    return [np.array(points, np.float32) for points in MARKS[mark](random)]


_Lines = list[list[tuple[float, float]]]


def _point(random: np.random.Generator) -> _Lines:
    if random.random() < 0.7:
        return [[(0, 1), (abs(random.normal(0, 0.02)) + 0.01, 1 + random.normal(0, 0.01))]]
    return [[(0, 1), (random.uniform(0.02, 0.1), random.uniform(0.93, 1))]]


def _comma(random: np.random.Generator) -> _Lines:
    start = (random.uniform(0.02, 0.1), random.uniform(0.88, 0.98))
    return [[start, (0.05, 1.05), (random.uniform(-0.12, 0), random.uniform(1.08, 1.25))]]


def _dash(random: np.random.Generator) -> _Lines:
    """Return a straight dash, or a wavy tail that fills the line and may end in a hook."""
    y, width = random.uniform(0.4, 0.7), random.uniform(0.25, 0.9)
    if random.random() < 0.75:
        return [[(0, y), (width, y + random.normal(0, 0.06))]]
    width *= random.uniform(1, 3)
    bend, hook = random.normal(0, 0.08), random.uniform(-0.25, 0.25)
    tail = [(0, y), (0.3 * width, y - bend), (0.7 * width, y + bend), (width, y + random.normal(0, 0.06))]
    if random.random() < 0.6:
        tail += [(width + 0.05, y + hook / 2), (width - abs(hook), y + hook)]
    return [tail]


def _double_dash(random: np.random.Generator) -> _Lines:
    y, width, gap = random.uniform(0.3, 0.6), random.uniform(0.3, 0.9), random.uniform(0.12, 0.3)
    rise = random.normal(0, 0.06)
    lower_start = (random.normal(0, 0.04), y + gap)
    lower_end = (width + random.normal(0, 0.06), y + gap + rise + random.normal(0, 0.02))
    return [[(0, y), (width, y + rise)], [lower_start, lower_end]]


def _slash(random: np.random.Generator) -> _Lines:
    """Return a stroke that is taller than a digit at both ends: one of the same height may be a slanted 1."""
    top, foot = random.uniform(-0.35, -0.05), random.uniform(1.05, 1.3)
    lean = random.uniform(0.0, 0.3) if random.random() < 0.2 else random.uniform(0.3, 0.7)
    return [[(0, foot), (lean, top)]]


def _colon(random: np.random.Generator) -> _Lines:
    ys = 0.95 - random.uniform(0.3, 0.6), 0.95
    return [[(0, y), (0.02 + abs(random.normal(0, 0.02)), y + random.normal(0, 0.02))] for y in ys]


def _plus(random: np.random.Generator) -> _Lines:
    size, y = random.uniform(0.4, 0.8), random.uniform(0.45, 0.65)
    tilt, lean = random.normal(0, 0.05, 2)
    x = size * random.uniform(0.4, 0.6)
    return [[(0, y - tilt), (size, y + tilt)], [(x + lean, y - size / 2), (x - lean, y + size / 2)]]


def _cross(random: np.random.Generator) -> _Lines:
    size, y = random.uniform(0.35, 0.7), random.uniform(0.5, 0.7)
    half = size / 2
    a, b, c, d = random.normal(0, 0.05, 4)
    return [[(0, y - half + a), (size, y + half + b)], [(size, y - half + c), (0, y + half + d)]]


def _obelus(random: np.random.Generator) -> _Lines:
    width, y, tilt = random.uniform(0.4, 0.8), random.uniform(0.45, 0.65), random.normal(0, 0.04)
    dots = [(width * random.uniform(0.4, 0.6), y + side * random.uniform(0.15, 0.3)) for side in (-1, 1)]
    return [[(0, y - tilt), (width, y + tilt)], *[[dot, (dot[0] + 0.02, dot[1])] for dot in dots]]


def _star(random: np.random.Generator) -> _Lines:
    size, y = random.uniform(0.3, 0.6), random.uniform(0.35, 0.6)
    half, count = size / 2, int(random.integers(3, 5))
    angles = (np.arange(count) + random.uniform(0, 1)) * np.pi / count + random.normal(0, 0.08, count)
    directions = [(half * float(np.cos(angle)), half * float(np.sin(angle))) for angle in angles]
    return [[(half - x, y - rise), (half + x, y + rise)] for x, rise in directions]


def _percent(random: np.random.Generator) -> _Lines:
    width = random.uniform(0.5, 0.9)
    radius = random.uniform(0.1, 0.17)
    rings = [_ring(x, y, radius) for x, y in ((radius, 0.2), (width - radius, 0.82))]
    return [rings[0], [(0.05 * width, 1.02), (0.95 * width, random.uniform(-0.02, 0.08))], rings[1]]


def _ring(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 10)
    return [(x + radius * float(np.cos(angle)), y + radius * float(np.sin(angle))) for angle in angles]


def _parenthesis(bend: float, random: np.random.Generator) -> _Lines:
    depth, overhang = bend * random.uniform(0.1, 0.25), random.uniform(0, 0.2)
    ys = np.linspace(-overhang, 1 + overhang, 8).tolist()
    return [[(0.15 + depth * (0.5 - 2 * (y - 0.5) ** 2 / (0.5 + overhang) ** 2), y) for y in ys]]


def _bracket(side: float, random: np.random.Generator) -> _Lines:
    depth, overhang = random.uniform(0.1, 0.22), random.uniform(0, 0.15)
    near, far = (0.0, depth) if side < 0 else (depth, 0.0)
    return [[(far, -overhang), (near, -overhang), (near, 1 + overhang), (far, 1 + overhang)]]


def _hash(random: np.random.Generator) -> _Lines:
    width, lean = random.uniform(0.5, 0.8), random.uniform(0, 0.2)
    bars = [[(0.0, y), (width, y + random.normal(0, 0.04))] for y in (0.35, 0.65)]
    return bars + [[(x + lean, 0.1), (x, random.uniform(0.85, 1))] for x in (0.25 * width, 0.65 * width)]


def _dollar(random: np.random.Generator) -> _Lines:
    body = [(0.46, 0.16), (0.24, 0.04), (0.06, 0.26), (0.26, 0.48), (0.5, 0.7), (0.28, 0.96), (0.02, 0.84)]
    x = 0.26 + random.normal(0, 0.03)
    return [body, [(x + 0.03, random.uniform(-0.15, 0)), (x - 0.03, random.uniform(1, 1.15))]]


def _euro(random: np.random.Generator) -> _Lines:
    angles = np.linspace(-0.8, -2 * np.pi + 0.8, 12)
    body = [(0.38 + 0.3 * float(np.cos(angle)), 0.5 + 0.48 * float(np.sin(angle))) for angle in angles]
    return [body, *[[(0.0, y), (0.45, y + random.normal(0, 0.02))] for y in (0.42, 0.6)]]


def _pound(random: np.random.Generator) -> _Lines:
    x, y = (0.5, 0.36, 0.22, 0.22, 0.18, 0.04, 0.2, 0.55), (0.15, 0.02, 0.12, 0.6, 0.86, 0.98, 0.94, 0.98)
    stem = list(zip(x, y, strict=True))
    return [stem, [(0.04, 0.5), (0.42, 0.5 + random.normal(0, 0.03))]]


MARKS: dict[str, Callable[[np.random.Generator], _Lines]] = {
    ".": _point,
    ",": _comma,
    "-": _dash,
    "=": _double_dash,
    "/": _slash,
    ":": _colon,
    "+": _plus,
    "×": _cross,
    "*": _star,
    "%": _percent,
    "(": partial(_parenthesis, -1),
    ")": partial(_parenthesis, 1),
    "[": partial(_bracket, -1),
    "]": partial(_bracket, 1),
    "#": _hash,
    "$": _dollar,
    "€": _euro,
    "£": _pound,
    "÷": _obelus,
}


def render_printed_digits() -> list[list[Mask]]:
    """Render the ten digits, each (1, 28, 28), in five fonts of OpenCV and in Pillow's own font."""
    styles = [np.zeros((10, 1, 28, 28), np.uint8) for _ in DIGIT_FONTS]
    for style, font in zip(styles, DIGIT_FONTS, strict=True):
        scale = cv2.getFontScaleFromHeight(font, 20, 2)
        for digit in range(10):
            cv2.putText(style[digit, 0], str(digit), (5, 25), font, scale, 255, 2, cv2.LINE_AA)
    in_pillow = [Image.new("L", (28, 28)) for _ in range(10)]
    for digit, image in enumerate(in_pillow):
        ImageDraw.Draw(image).text((7, 0), str(digit), 255, ImageFont.load_default(26))
    return [*map(list, styles), [np.asarray(image, np.uint8)[None] for image in in_pillow]]


def render_letters(fonts: Path | None = None) -> list[Mask]:
    """Render every printed letter (28, 28), white on black, in OpenCV's fonts and in those at a path.

    Raises:
        InputError: There is no font at the path, or a font cannot be read or has no letters.
    """
    letters = np.zeros((len(OPENCV_FONTS), len(PRINTED_LETTERS), 80, 80), np.uint8)
    for canvases, face in zip(letters, OPENCV_FONTS, strict=True):
        scale = cv2.getFontScaleFromHeight(face, 40, 3)
        for canvas, letter in zip(canvases, PRINTED_LETTERS, strict=True):
            cv2.putText(canvas, letter, (15, 60), face, scale, 255, 3, cv2.LINE_AA)
    images = [*letters.reshape(-1, 80, 80)]
    for file in () if fonts is None else find_fonts(fonts):
        try:
            font = ImageFont.truetype(file, 60)
            missing, *of_font = (_letter_in_pillow(each, font) for each in _NONCHARACTER + PRINTED_LETTERS)
        except OSError as error:
            raise InputError(f"{file} is not a font that can be read: {error}.", _REMEDY) from error
        if any(not image.any() or np.array_equal(image, missing) for image in of_font):
            raise InputError(f"{file} has no Latin letters.", _REMEDY)
        images += of_font
    return [_centred(image) for image in images]


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


def _letter_in_pillow(text: str, font: ImageFont.FreeTypeFont) -> Mask:
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
