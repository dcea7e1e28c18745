"""Draw readings into their pictures, for people to look at."""

from __future__ import annotations

import contextlib
import io
import math
import os
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digitcli.atomic_write import write_whole
from digitcli.errors import OutputError
from digitcli.imaging.grayscale import Box
from digitcli.recognition.line_reading import as_levels
from digitcli.recognition.readings import Digit, Number, Reading, as_percentage

NAME_BYTES = 180  # of a picture's name in the name of its annotated copy, at most; disks take 255 in all
LARGEST_SIDE_PX = 1600  # greatest longer side of an annotated picture, so that it fits a screen
SMALLEST_SIDE_PX = 480  # least longer side of an annotated picture, so that the labels are readable
DIGIT_PX = 60  # median height from which digits stand out from their labels, which are a third as high
# Times that a picture is enlarged at most for the sake of its digits (chosen by hand), and its pixels then.
MOST_TIMES_FOR_DIGITS, MOST_ENLARGED_PIXELS = 4, LARGEST_SIDE_PX**2
OUTLINE_PX = 2  # width of the outline of a digit's box
FRAME_PX = 5  # distance of the frame of a number from the boxes of its digits
GREEN_CONFIDENCE = 0.95  # of a digit from which its box is green (chosen by hand)
ORANGE_CONFIDENCE = 0.5  # from which its box is orange; below, the digit is probably wrong and its box red
GREEN, ORANGE, RED, BLUE = (0, 130, 60), (190, 110, 0), (200, 30, 30), (40, 90, 210)
BANNER, PAPER = (30, 30, 40), (255, 255, 255)
TEXT_PX = 20  # height of the text
BANNER_PX = 34  # height of the banner below a picture, which holds one line of text
BANNER_CHARACTERS = 60  # of the answer; a table of 180 numbers would make a very wide picture
Rectangle = tuple[float, float, float, float]  # its left, upper, right and lower end in pixels


class Annotator:
    """Writes an annotated picture for each reading into a folder: `photo.jpg` gives `photo.jpg.png`.

    No two pictures get the same name.

    Raises:
        OutputError: the path is not a folder, or the folder is not empty and `force` is not given.
    """

    def __init__(self, folder: Path, force: bool = False) -> None:
        self.folder = folder
        self._taken_names: set[str] = set()
        self._next_numbers: dict[str, int] = {}
        with self._disk_errors():
            is_refused = folder.exists() and any(folder.iterdir()) and not force
        if is_refused:
            raise OutputError(f"The folder {folder} is not empty.", "Name another folder, or give --force.")

    def write_all(self, readings: Iterable[Reading]) -> Iterator[Reading]:
        """Yield the same readings, and write the picture of each reading that has one.

        Raises:
            OutputError: the folder cannot be made or written.
        """
        for reading in readings:
            with self._disk_errors():
                self.folder.mkdir(parents=True, exist_ok=True)
            if reading.picture is not None:
                write_whole(self.folder / self._name(reading), annotate(reading))
            yield reading

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            cause = f"The folder {self.folder} cannot be used: {error.strerror or error}."
            raise OutputError(cause, "Name another folder.") from error

    def _name(self, reading: Reading) -> str:
        legible = os.fsencode(Path(reading.file).name or "picture").decode(errors="replace")
        base = legible.replace("\0", "").encode()[:NAME_BYTES].decode(errors="ignore")
        page = "" if reading.page is None else f"-page{reading.page}"
        stem = f"{'stdin' if base == '-' else base}{page}"
        number = self._next_numbers.get(stem, 1)
        while (name := f"{stem}{'' if number == 1 else f'-{number}'}.png").lower() in self._taken_names:
            number += 1
        self._next_numbers[stem] = number + 1
        self._taken_names.add(name.lower())  # some disks ignore case
        return name


def annotate(reading: Reading) -> bytes:
    """Return a PNG of the upright picture with a box and a label at each digit, and the answer below.

    A picture of small digits is enlarged. A label covers no digit where there is such a place beside its own.

    Where there are several numbers, a frame around each shows which digits belong together. The colour of a
    box tells the confidence of its digit, and that of a frame the confidence of the number, see
    `GREEN_CONFIDENCE` and `ORANGE_CONFIDENCE`; those of a refused number are red. A thin blue frame is a
    line that the page finder detected, and that was passed over when it was read.
    """
    assert reading.picture is not None, "the reader does not keep pictures"
    image, scale = _canvas(reading.picture, [digit.box[3] for digit in reading.digits])
    draw = ImageDraw.Draw(image)
    for each in reading.detections:
        if not each.has_number:
            draw.polygon([(x * scale, y * scale) for x, y in each.corners], outline=BLUE)
    taken = [_around(digit.box, scale, OUTLINE_PX) for digit in reading.digits]
    for number in reading.numbers:
        for digit in number.digits:
            taken.append(_draw_digit(image, digit, scale, _colour(number, digit.confidence), taken))
        if len(reading.numbers) > 1 and number.digits:
            left, upper, right, lower = _around(number.box, scale, FRAME_PX)
            frame = max(left, 0), max(upper, 0), min(right, image.width - 1), min(lower, image.height - 1)
            draw.rectangle(frame, outline=_colour(number, number.confidence))
    font, text = ImageFont.load_default(TEXT_PX), _answer(reading)
    width = max(image.width, round(font.getlength(text)) + 20)
    page = Image.new("RGB", (width, image.height + BANNER_PX), BANNER)
    page.paste(image, (0, 0))
    ImageDraw.Draw(page).text((10, image.height + 5), text, PAPER, font)
    stream = io.BytesIO()
    page.save(stream, "PNG")
    return stream.getvalue()


def _canvas(picture: np.ndarray, heights: Sequence[int]) -> tuple[Image.Image, float]:
    """Scale a picture to a size for screens, and return the scale too.

    A small picture, and one of digits of small `heights` beside their labels, is enlarged by a whole number.
    """
    side, times = max(picture.shape), 1
    if heights:
        wanted = math.ceil(DIGIT_PX / statistics.median(heights))
        times = min(wanted, MOST_TIMES_FOR_DIGITS, math.isqrt(MOST_ENLARGED_PIXELS // picture.size))
    times = max(times, math.ceil(SMALLEST_SIDE_PX / side))
    scale = min(1.0, LARGEST_SIDE_PX / side) if times == 1 else float(times)
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    grey = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    return Image.fromarray(as_levels(grey)).convert("RGB"), scale


def _around(box: Box, scale: float, distance_px: int) -> Rectangle:
    """Return the rectangle at this distance around a box of the picture that is scaled."""
    x, y, width, height = (side * scale for side in box)
    return x - distance_px, y - distance_px, x + width + distance_px, y + height + distance_px


def _colour(number: Number, confidence: float) -> tuple[int, int, int]:
    """Return the colour of a number or of one of its digits, which has this confidence."""
    if number.status == "refused" or confidence < ORANGE_CONFIDENCE:
        return RED
    return GREEN if confidence >= GREEN_CONFIDENCE else ORANGE


def _draw_digit(
    image: Image.Image,
    digit: Digit,
    scale: float,
    colour: tuple[int, int, int],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Draw the box of a digit and its label, and return the place of the label."""
    draw = ImageDraw.Draw(image)
    left, upper, right, lower = outline = _around(digit.box, scale, OUTLINE_PX)
    draw.rectangle((left, upper, right - 1, lower - 1), outline=colour, width=OUTLINE_PX)
    font = ImageFont.load_default(max(14, min(32, digit.box[3] * scale / 3)))
    text_left, _, text_right, text_bottom = draw.textbbox((0, 0), digit.digit, font)
    place = _place_label(outline, (text_right - text_left + 8, text_bottom + 4), image.size, taken)
    draw.rectangle(place, fill=colour)
    draw.text((place[0] + 4, place[1] + 1), digit.digit, PAPER, font)
    return place


def _place_label(
    outline: Rectangle, label: tuple[float, float], size: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """Return a place beside a digit where its label covers as little as possible of what is `taken`.

    Above is the best place, then below, on the right and on the left.
    """
    left, upper, right, lower = outline
    width, height = label
    corners = (left, upper - height), (left, lower), (right, upper), (left - width, upper)
    places = [(x, y, x + width, y + height) for x, y in corners]
    others = np.array(taken)  # N, 4

    def covered_pixels(place: Rectangle) -> float:
        ends = np.minimum(others[:, 2:], place[2:]) - np.maximum(others[:, :2], place[:2])  # N, 2
        return float(np.maximum(ends, 0).prod(axis=1).sum())

    within = [place for place in places if min(place) >= 0 and place[2] <= size[0] and place[3] <= size[1]]
    return min(within, key=covered_pixels, default=places[1])


def _answer(reading: Reading) -> str:
    """Return the answer of a page in a line of text."""
    answer = reading.text or ("nothing is written" if reading.status == "blank" else "no digits")
    if len(answer) > BANNER_CHARACTERS:
        answer = answer[:BANNER_CHARACTERS] + " ..."
    if reading.confidence is not None:
        answer += f"  {as_percentage(reading.confidence)}"
    if reading.status in ("partial", "refused"):
        answer += f"  {reading.status}: {(reading.reason or '').replace('_', ' ')}"
    return answer
