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
from digitcli.recognition.readings import Detection, Digit, Number, Reading, as_percentage

# Greatest number of bytes of a picture's name in the name of its annotated copy; disks take 255 in all.
NAME_BYTES = 180
# Greatest longer side in pixels of an annotated picture, so that it fits a screen.
LARGEST_SIDE_PX = 1600
# Least longer side in pixels of an annotated picture, so that the labels are readable.
SMALLEST_SIDE_PX = 480
# Median height in pixels from which digits stand out from their labels, which are a third as high.
DIGIT_PX = 60
# Times that a picture is enlarged at most for the sake of its digits (chosen by hand).
MOST_TIMES_FOR_DIGITS = 4
# Greatest number of pixels of a picture that is enlarged for the sake of its digits.
MOST_ENLARGED_PIXELS = LARGEST_SIDE_PX**2
# Greatest number of lines, and of digits, in the picture of the steps; more would not fit a screen.
MAX_DRAWN = 12
# Width in pixels of the outline of a digit's box.
OUTLINE_PX = 2
# Distance in pixels of the frame of a number from the boxes of its digits.
FRAME_PX = 5
# Times that the picture of the steps enlarges a crop.
CROP_SCALE = 3
# Confidence of a digit from which its box is green (chosen by hand).
GREEN_CONFIDENCE = 0.95
# Confidence of a digit from which its box is orange; below, the digit is probably wrong and its box red.
ORANGE_CONFIDENCE = 0.5
# Colours, red, green and blue.
GREEN = (0, 130, 60)
ORANGE = (190, 110, 0)
RED = (200, 30, 30)
BLUE = (40, 90, 210)
BANNER = (30, 30, 40)
PAPER = (255, 255, 255)
# Height in pixels of the text.
TEXT_PX = 20
# Height in pixels of the score of a detection.
SCORE_PX = 13
# Height in pixels of the banner below a picture, which holds one line of text.
BANNER_PX = 34
BANNER_CHARACTERS = 60  # of the answer; a table of 180 numbers would make a very wide picture
# Height in pixels of the title and the margin of a step.
STEP_MARGIN_PX = 44

Rectangle = tuple[float, float, float, float]  # its left, upper, right and lower end in pixels


class Annotator:
    """Writes an annotated picture for each reading into a folder: `photo.jpg` gives `photo.jpg.png`.

    No two pictures get the same name. With `steps` it writes the steps of each picture too, for example
    `photo.jpg.steps.png`.

    Raises:
        OutputError: the path is not a folder, or the folder is not empty and `force` is not given.
    """

    def __init__(self, folder: Path, force: bool = False, steps: bool = False) -> None:
        self.folder, self.steps = folder, steps
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
                path = self.folder / self._name(reading)
                write_whole(path, annotate(reading))
                if self.steps:
                    write_whole(path.with_suffix(".steps.png"), draw_steps(reading))
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
    heights = [digit.box[3] for digit in reading.digits]
    image, scale = _canvas(reading.picture, _times_for_digits(reading.picture, heights))
    draw = ImageDraw.Draw(image)
    _draw_detections(image, (each for each in reading.detections if not each.has_number), scale)
    taken = [_outline(digit, scale) for digit in reading.digits]
    for number in reading.numbers:
        is_refused = number.status == "refused"
        for digit in number.digits:
            colour = RED if is_refused else _colour(digit.confidence)
            taken.append(_draw_digit(image, digit, scale, colour, taken))
        if len(reading.numbers) > 1 and number.digits:
            colour = RED if is_refused else _colour(number.confidence)
            draw.rectangle(_frame(number, scale, image.size), outline=colour)
    image = _with_banner(image, reading)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def draw_steps(reading: Reading) -> bytes:
    """Return a PNG of the steps, one below the other: the picture, ink or detections, lines, digits."""
    assert reading.picture is not None, "the reader does not keep pictures"
    steps = [("the picture in grey, as it was read", _canvas(reading.picture)[0])]
    if reading.ink is not None:
        steps.append(("the ink that was found", _canvas(reading.ink)[0]))
    if reading.detections:
        image, scale = _canvas(reading.picture)
        _draw_detections(image, reading.detections, scale, with_score=True)
        steps.append(
            ("lines that the page finder detects, with its score; in blue ones no number was read", image)
        )
    numbers = [(_title_of(number), number.line) for number in reading.numbers if number.line is not None]
    digits = [
        (f"{digit.digit}  {as_percentage(digit.confidence)}", digit.image)
        for digit in reading.digits
        if digit.image is not None
    ]
    crops = numbers or digits
    steps += [(title, _enlarged(pixels)) for title, pixels in crops[:MAX_DRAWN]]
    nothing = Image.new("RGB", (1, 1), PAPER)
    if len(crops) > MAX_DRAWN:
        steps.append((f"... and {len(crops) - MAX_DRAWN} more", nothing))
    if not reading.numbers:
        steps.append((_answer(reading), nothing))
    font = ImageFont.load_default(TEXT_PX)
    width = max(*(image.width for _, image in steps), *(round(font.getlength(text)) for text, _ in steps))
    height = sum(image.height + STEP_MARGIN_PX for _, image in steps) + 10
    page = Image.new("RGB", (width + 20, height), PAPER)
    draw, y = ImageDraw.Draw(page), 8
    for text, image in steps:
        draw.text((10, y), text, BANNER, font)
        page.paste(image, (10, y + 28))
        y += image.height + STEP_MARGIN_PX
    stream = io.BytesIO()
    page.save(stream, "PNG")
    return stream.getvalue()


def _enlarged(pixels: np.ndarray) -> Image.Image:
    """Enlarge a crop, uint8 (H, W), by `CROP_SCALE`; a long line is cut off."""
    pixels = pixels[:, : LARGEST_SIDE_PX // CROP_SCALE]
    return Image.fromarray(np.kron(pixels, np.ones((CROP_SCALE, CROP_SCALE), np.uint8))).convert("RGB")


def _canvas(picture: np.ndarray, least_times: int = 1) -> tuple[Image.Image, float]:
    """Scale a picture to a size for screens, and return the scale too.

    A small picture is enlarged by a whole number, `least_times` at least.
    """
    side = max(picture.shape)
    times = max(least_times, math.ceil(SMALLEST_SIDE_PX / side))
    scale = min(1.0, LARGEST_SIDE_PX / side) if times == 1 else float(times)
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    grey = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    return Image.fromarray(np.clip(grey * 255 + 0.5, 0, 255).astype(np.uint8)).convert("RGB"), scale


def _times_for_digits(picture: np.ndarray, heights: Sequence[int]) -> int:
    """Return by which whole number a picture is enlarged so that its digits stand out from their labels."""
    if not heights:
        return 1
    wanted = math.ceil(DIGIT_PX / statistics.median(heights))
    return max(1, min(wanted, MOST_TIMES_FOR_DIGITS, math.isqrt(MOST_ENLARGED_PIXELS // picture.size)))


def _outline(digit: Digit, scale: float) -> Rectangle:
    """Return the left, upper, right and lower end of a digit's box with its outline."""
    x, y, width, height = (side * scale for side in digit.box)
    return x - OUTLINE_PX, y - OUTLINE_PX, x + width + OUTLINE_PX, y + height + OUTLINE_PX


def _draw_digit(
    image: Image.Image,
    digit: Digit,
    scale: float,
    colour: tuple[int, int, int],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Draw the box of a digit and its label, and return the place of the label."""
    draw = ImageDraw.Draw(image)
    left, upper, right, lower = outline = _outline(digit, scale)
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
    within = [place for place in places if min(place) >= 0 and place[2] <= size[0] and place[3] <= size[1]]
    return min(within, key=lambda place: _covered_pixels(place, others), default=places[1])


def _covered_pixels(place: Rectangle, others: np.ndarray) -> float:
    """Return the number of pixels that a rectangle shares with others (N, 4)."""
    ends = np.minimum(others[:, 2:], place[2:]) - np.maximum(others[:, :2], place[:2])  # N, 2
    return float(np.maximum(ends, 0).prod(axis=1).sum())


def _draw_detections(
    image: Image.Image, detections: Iterable[Detection], scale: float, with_score: bool = False
) -> None:
    """Draw a frame around each detection; it is thin and blue where no number was read."""
    draw, height = ImageDraw.Draw(image), image.height
    for each in detections:
        corners = [(x * scale, y * scale) for x, y in each.corners]
        colour = GREEN if each.has_number else BLUE
        draw.polygon(corners, outline=colour, width=2 if each.has_number else 1)
        if with_score:
            x, y = max(corners[3][0], 2), min(corners[3][1] + 2, height - SCORE_PX - 2)
            draw.text((x, y), f"{each.score:.2f}", colour, ImageFont.load_default(SCORE_PX))


def _frame(number: Number, scale: float, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the corners of a frame around the boxes of a number's digits, within the picture."""
    x, y, width, height = (side * scale for side in number.box)
    right = min(x + width + FRAME_PX, size[0] - 1)
    bottom = min(y + height + FRAME_PX, size[1] - 1)
    return max(x - FRAME_PX, 0), max(y - FRAME_PX, 0), right, bottom


def _title_of(number: Number) -> str:
    refusal = "" if number.reason is None else f"  refused: {number.reason.replace('_', ' ')}"
    return f"{number.raw}  {as_percentage(number.confidence)}{refusal}"


def _answer(reading: Reading) -> str:
    """Return the answer of a page in a line of text."""
    answer = reading.text or ("nothing is written" if reading.status == "blank" else "no digits")
    if len(answer) > BANNER_CHARACTERS:
        answer = answer[:BANNER_CHARACTERS] + " ..."
    confidence = "" if reading.confidence is None else f"  {as_percentage(reading.confidence)}"
    if reading.status not in ("partial", "refused"):
        return answer + confidence
    return f"{answer}{confidence}  {reading.status}: {(reading.reason or '').replace('_', ' ')}"


def _with_banner(image: Image.Image, reading: Reading) -> Image.Image:
    font, text = ImageFont.load_default(TEXT_PX), _answer(reading)
    width = max(image.width, round(font.getlength(text)) + 20)
    page = Image.new("RGB", (width, image.height + BANNER_PX), BANNER)
    page.paste(image, (0, 0))
    ImageDraw.Draw(page).text((10, image.height + 5), text, PAPER, font)
    return page


def _colour(confidence: float) -> tuple[int, int, int]:
    if confidence >= GREEN_CONFIDENCE:
        return GREEN
    return ORANGE if confidence >= ORANGE_CONFIDENCE else RED
