"""Pictures with what was read drawn into them, to be looked at by a person."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digitcli.atomic_write import write_whole
from digitcli.errors import OutputError
from digitcli.recognition.results import Digit, Reading

_NAME_BYTES = 180  # of the picture's name; a disk takes 255
_LARGEST_SIDE_PX, _SMALLEST_SIDE_PX = 1600, 480
_MOST_DRAWN = 12  # lines and digits in the picture of a road
_SURE, _DOUBTFUL, _UNSURE = (0, 130, 60), (190, 110, 0), (200, 30, 30)
_BANNER, _PAPER = (30, 30, 40), (255, 255, 255)


class Annotator:
    """Writes a picture for each reading into a folder, none over another: `photo.jpg` gives `photo.jpg.png`.

    With `steps` it writes the road of each picture too: `photo.jpg.steps.png`.

    Raises:
        OutputError: the folder is none, or holds something and `force` is not given.
    """

    def __init__(self, folder: Path, force: bool = False, steps: bool = False) -> None:
        self.folder, self.steps = folder, steps
        self._taken: set[str] = set()
        self._again: dict[str, int] = {}
        with self._faults():
            taken = folder.exists() and any(folder.iterdir()) and not force
        if taken:
            raise OutputError(f"The folder {folder} is not empty.", "Name another folder, or give --force.")

    def write_all(self, readings: Iterable[Reading]) -> Iterator[Reading]:
        """The same readings; the picture of each is written as it passes, where it has one.

        Raises:
            OutputError: the folder cannot be made or written.
        """
        for reading in readings:
            with self._faults():
                self.folder.mkdir(parents=True, exist_ok=True)
            if reading.picture is not None:
                path = self.folder / self._name(reading)
                write_whole(path, annotate(reading))
                if self.steps:
                    write_whole(path.with_suffix(".steps.png"), draw_road(reading))
            yield reading

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            cause = f"The folder {self.folder} cannot be used: {error.strerror or error}."
            raise OutputError(cause, "Name another folder.") from error

    def _name(self, reading: Reading) -> str:
        legible = os.fsencode(Path(reading.file).name or "picture").decode(errors="replace")
        base = legible.replace("\0", "").encode()[:_NAME_BYTES].decode(errors="ignore")
        page = "" if reading.page is None else f"-page{reading.page}"
        stem = f"{'stdin' if base == '-' else base}{page}"
        again = self._again.get(stem, 1)
        while (name := f"{stem}{'' if again == 1 else f'-{again}'}.png").lower() in self._taken:
            again += 1
        self._again[stem] = again + 1
        self._taken.add(name.lower())  # some disks know no capitals
        return name


def annotate(reading: Reading) -> bytes:
    """The bytes of a PNG: the upright picture, each digit boxed and named, and the answer below.

    Green is sure, orange doubtful, red a guess.
    """
    assert reading.picture is not None, "the reader was not asked to keep pictures"
    image, scale = _canvas(reading.picture)
    draw = ImageDraw.Draw(image)
    for digit in reading.digits:
        _draw_digit(draw, digit, scale)
    image = _with_banner(image, reading)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def draw_road(reading: Reading) -> bytes:
    """The bytes of a PNG: from the picture to its ink, its lines and their strings, from top to bottom."""
    assert reading.picture is not None and reading.ink is not None, "the reader was not asked to keep them"
    picture, _ = _canvas(reading.picture)
    ink, _ = _canvas(reading.ink)
    steps = [("the picture, upright and grey", picture), ("the ink found in it", ink)]
    steps += [
        (f"{number.raw}  {100 * number.confidence:.1f} %", _enlarged(number.line))
        for number in reading.numbers[:_MOST_DRAWN]
        if number.line is not None
    ]
    steps += [
        (f"{digit.digit}  {100 * digit.confidence:.1f} %", _enlarged(digit.image))
        for digit in reading.digits[:_MOST_DRAWN]
        if digit.image is not None
    ]
    font = ImageFont.load_default(20)
    width = max(*(image.width for _, image in steps), *(round(font.getlength(text)) for text, _ in steps))
    page = Image.new("RGB", (width + 20, sum(image.height + 44 for _, image in steps) + 10), _PAPER)
    draw, y = ImageDraw.Draw(page), 8
    for text, image in steps:
        draw.text((10, y), text, _BANNER, font)
        page.paste(image, (10, y + 28))
        y += image.height + 44
    stream = io.BytesIO()
    page.save(stream, "PNG")
    return stream.getvalue()


def _enlarged(pixels: np.ndarray) -> Image.Image:
    """What a network sees, uint8 (H, W), three times as large; of a long line its beginning."""
    pixels = pixels[:, : _LARGEST_SIDE_PX // 3]
    return Image.fromarray(np.kron(pixels, np.ones((3, 3), np.uint8))).convert("RGB")


def _canvas(picture: np.ndarray) -> tuple[Image.Image, float]:
    """The picture in a size that can be looked at, and how much larger that is."""
    side = max(picture.shape)
    scale = min(1.0, _LARGEST_SIDE_PX / side) if side >= _SMALLEST_SIDE_PX else _SMALLEST_SIDE_PX / side
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    grey = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    return Image.fromarray(np.clip(grey * 255 + 0.5, 0, 255).astype(np.uint8)).convert("RGB"), scale


def _draw_digit(draw: ImageDraw.ImageDraw, digit: Digit, scale: float) -> None:
    x, y, width, height = (side * scale for side in digit.box)
    colour = _colour(digit.confidence)
    draw.rectangle((x - 2, y - 2, x + width + 1, y + height + 1), outline=colour, width=2)
    font = ImageFont.load_default(max(14, min(32, height / 3)))
    left, top, right, bottom = draw.textbbox((0, 0), digit.digit, font)
    tag_height, tag_width = bottom + 4, right - left + 8
    above = y - 2 - tag_height
    place = above if above >= 0 else y + height + 2
    draw.rectangle((x - 2, place, x - 2 + tag_width, place + tag_height), fill=colour)
    draw.text((x + 2, place + 1), digit.digit, _PAPER, font)


def _with_banner(image: Image.Image, reading: Reading) -> Image.Image:
    font = ImageFont.load_default(20)
    answer = reading.text or ("nothing written" if reading.status == "blank" else "no digits")
    sure = "" if reading.confidence is None else f"  {100 * reading.confidence:.1f} %"
    why = (
        f"  {reading.status}: {(reading.reason or '').replace('_', ' ')}"
        if reading.status == "refused"
        else ""
    )
    text = answer + sure + why
    width = max(image.width, round(font.getlength(text)) + 20)
    page = Image.new("RGB", (width, image.height + 34), _BANNER)
    page.paste(image, (0, 0))
    ImageDraw.Draw(page).text((10, image.height + 5), text, _PAPER, font)
    return page


def _colour(confidence: float) -> tuple[int, int, int]:
    return _SURE if confidence >= 0.95 else _DOUBTFUL if confidence >= 0.5 else _UNSURE
