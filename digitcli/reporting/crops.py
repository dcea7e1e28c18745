"""Cut the places of answers out of their pictures, where the pictures can still be found."""

from __future__ import annotations

import base64
import contextlib
import filecmp
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from digitcli.errors import PictureError
from digitcli.imaging.grayscale import rotate
from digitcli.imaging.opening import open_pages
from digitcli.recognition.reading_formats import SavedNumber, SavedReading
from digitcli.reporting.page import Figure

# Paper around a number, as a fraction of its height: enough to see whether a digit was cut off.
MARGIN = 0.3
# Greatest width and height of a crop in pixels: legible, and about 3 kB.
CROP_SIZE_PX = (320, 72)
# Quality of its JPEG file, of 100.
QUALITY = 70

Answer = tuple[SavedReading, SavedNumber | None]  # one number of a page, or the whole page


@dataclass(frozen=True)
class Crops:
    """The crops of answers by their index, and the names of which two different pictures were found."""

    figures: Mapping[int, Figure]
    ambiguous: tuple[str, ...]


def crop_answers(answers: Sequence[Answer], folder: Path) -> Crops:
    """Return the crops of answers; an answer without its picture has none.

    A picture is looked for in the current folder and in `folder`. If each has another one of that name, it is
    not known which was read, and neither is used. Each file is opened once.
    """
    by_file: dict[str, list[int]] = defaultdict(list)
    for index, (reading, _) in enumerate(answers):
        by_file[reading.file].append(index)
    figures: dict[int, Figure] = {}
    ambiguous = []
    for file, indices in by_file.items():
        match _find(file, folder):
            case [path]:
                figures |= _crop_file(path, {index: answers[index] for index in indices})
            case [_, _]:
                ambiguous.append(file)
    return Crops(figures, tuple(ambiguous))


def _find(file: str, folder: Path) -> list[Path]:
    """Return the pictures of a name that differ from each other, two at most."""
    found = []
    for path in (Path(file), folder / file):
        with contextlib.suppress(OSError, ValueError):  # a name too long, or with a zero byte
            if path.is_file():
                found.append(path)
    with contextlib.suppress(OSError):
        if len(found) == 2 and filecmp.cmp(found[0], found[1], shallow=False):
            found.pop()
    return found


def _crop_file(path: Path, answers: Mapping[int, Answer]) -> dict[int, Figure]:
    crops: dict[int, Figure] = {}
    pages = {reading.page for reading, _ in answers.values()}
    with contextlib.closing(open_pages(path)) as opened:
        for page, picture in opened:
            if page not in pages or isinstance(picture, PictureError):
                continue
            for index, (reading, number) in answers.items():
                if reading.page == page and (crop := _crop(picture, reading, number)) is not None:
                    crops[index] = Figure(_jpeg_url(crop), f"the handwriting behind this row, in {path.name}")
            pages.remove(page)
            if not pages:
                break
    return crops


def _crop(picture: np.ndarray, reading: SavedReading, number: SavedNumber | None) -> np.ndarray | None:
    """Return the place of a number, or the whole picture; None if it lies outside the picture."""
    picture = rotate(picture, reading.rotation)
    if number is None:
        return picture
    x, y, width, height = number.box
    margin = round(MARGIN * height)
    crop = picture[max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin]
    return crop if crop.size else None


def _jpeg_url(crop: np.ndarray) -> str:
    image = Image.fromarray(np.clip(255 * crop + 0.5, 0, 255).astype(np.uint8))
    image.thumbnail(CROP_SIZE_PX)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
