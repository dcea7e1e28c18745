"""What a report shows of a JSON value: headings, tables, charts of curves, and pictures of what was read."""

from __future__ import annotations

import base64
import contextlib
import filecmp
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from digitcli.charts import Panel, Series, draw_chart
from digitcli.errors import PictureError
from digitcli.imaging.grayscale import rotate
from digitcli.imaging.opening import open_pages

Record = Mapping[str, Any]

# Rows of a table, and rows of it that have a picture: 200 pictures take about 1 MB.
MAX_ROWS, MAX_PICTURES = 500, 200
# Records of a list whose own lists have sections, and characters of a value in a cell.
MAX_RECORDS, MAX_CHARACTERS = 30, 200
# Paper around a number, as a fraction of its height: enough to see whether a digit was cut off.
MARGIN = 0.3
# Greatest width and height of a picture in pixels, legible and about 3 kB, and the quality of its JPEG file.
PICTURE_PX, QUALITY = (320, 72), 70
# Columns over which the other columns of a table are drawn as curves.
OVER = ("epoch", "epochs", "coverage")
# Names that end so are of fractions, which people read in percent.
FRACTIONS = ("accuracy", "confidence", "coverage", "ece", "exact_match", "cer", "precision", "recall",
             "probability", "accuracy_low", "accuracy_high")  # fmt: skip
# Columns that stand first in a table, in this order.
FIRST = ("picture", "text", "confidence", "status", "reason", "file", "page", "row", "column")


@dataclass(frozen=True)
class Figure:
    """A picture inside the page: a data URL, and what a person who cannot see it reads in its place."""

    url: str
    alt: str


@dataclass
class Section:
    """A part of the page below a heading.

    rows: the rows of a table; a cell is a text or a figure. Facts have two columns and no header.
    """

    title: str
    level: int
    note: str = ""
    chart: Figure | None = None
    columns: Sequence[str] = ()
    rows: list[list[str | Figure]] = field(default_factory=list)


def sections_of(value: Any, title: str, folder: Path, level: int = 2) -> Iterator[Section]:
    """Yield the sections that show a JSON value.

    folder: where pictures are looked for, beside the current folder.
    """
    if isinstance(value, dict):
        facts = {
            name: each for name, each in value.items() if each not in (None, {}, []) and not _is_long(each)
        }
        rows: list[list[str | Figure]] = [
            [in_words(name), in_cell(each, name)] for name, each in facts.items()
        ]
        yield Section(title, level, rows=rows)
        for name in (name for name in value if _is_long(value[name])):
            yield from sections_of(value[name], in_words(name), folder, min(level + 1, 4))
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        yield from _sections_of_records(value, title, folder, level)
    elif isinstance(value, list) and value and all(isinstance(each, list) for each in value):
        rows = [[str(index), *map(in_cell, row)] for index, row in enumerate(value[:MAX_ROWS])]
        yield Section(title, level, columns=("", *map(str, range(max(map(len, value))))), rows=rows)
    else:
        yield Section(title, level, note=in_cell(value))


def _is_long(value: Any) -> bool:
    """Tell whether a value needs a section of its own: a dictionary, or a list of dictionaries or lists."""
    return (isinstance(value, dict) and bool(value)) or (
        isinstance(value, list) and any(isinstance(each, dict | list) for each in value)
    )


def _sections_of_records(
    records: Sequence[Record], title: str, folder: Path, level: int
) -> Iterator[Section]:
    """Yield a table of records, and sections of the lists that they hold."""
    if all("file" in each and "status" in each for each in records):
        statuses = Counter(str(each["status"]) for each in records)
        facts: list[list[str | Figure]] = [[name, f"{count:,}"] for name, count in statuses.most_common()]
        yield Section("Pages by status", level, rows=facts)
        records = sorted(_answers(records), key=_certainty)
        title = "Answers, the least certain first"
    shown = records[:MAX_ROWS]
    pictures, ambiguous = crop_pictures(shown[:MAX_PICTURES], folder)
    names = list(dict.fromkeys(name for each in shown for name in each if not _is_long(each[name])))
    names = [name for name in names if name not in ("box", "rotation")]
    names = (["picture"] if pictures else []) + names
    names.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    rows = [
        [pictures.get(index, "") if name == "picture" else in_cell(each.get(name), name) for name in names]
        for index, each in enumerate(shown)
    ]
    notes = [f"{len(shown):,} of {len(records):,} are shown."] if len(shown) < len(records) else []
    notes += [f"Two different pictures have the name {name}, and neither is shown." for name in ambiguous]
    chart = _curves(records, title)
    yield Section(title, level, " ".join(notes), chart, [in_words(name) for name in names], rows)
    for index, each in enumerate(records[:MAX_RECORDS]):
        label = each.get("label") or each.get("name") or each.get("architecture") or index
        for name in (name for name in each if _is_long(each[name]) and name not in ("numbers", "digits")):
            yield from sections_of(each[name], f"{label}: {in_words(name)}", folder, min(level + 1, 4))


def _answers(readings: Sequence[Record]) -> Iterator[Record]:
    """Yield the numbers of readings with what belongs to their page, or a page without numbers as a whole."""
    for reading in readings:
        page = {name: reading.get(name) for name in ("file", "page", "rotation")}
        for number in reading.get("numbers") or [reading]:
            kept = {name: value for name, value in number.items() if not isinstance(value, list | dict)}
            yield {**kept, **page, "box": number.get("box")}


def _certainty(answer: Record) -> float:
    """Return the confidence of an answer, which is a text in CSV; 0 if it has none."""
    try:
        return float(answer.get("confidence") or 0.0)
    except (TypeError, ValueError):
        return 0.0


def _curves(records: Sequence[Record], title: str) -> Figure | None:
    """Draw the columns of numbers over the epochs or the coverage, if there are any."""
    over = next((name for name in OVER if all(name in each for each in records)), None)
    if over is None or len(records) < 2:
        return None
    panels = []
    for name in (name for name in records[0] if name != over):
        points = [(each[over], each.get(name)) for each in records]
        if not all(isinstance(number, int | float) for point in points for number in point):
            continue
        numbers = [float(each[name]) for each in records]
        y_range = min(0.0, *numbers), 1.05 * max(numbers) or 1.0
        series = Series(in_words(name), [(float(each[over]), float(each[name])) for each in records])
        panels.append(Panel(in_words(name), in_words(over), [series], y_range=y_range))
    if not panels:
        return None
    svg = draw_chart(title, panels[:4], panel_px=(260, 220))
    url = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    return Figure(url, f"Chart of the table below: {', '.join(panel.title for panel in panels[:4])}")


def in_words(name: str) -> str:
    """Return the name of a JSON key as words."""
    return name.replace("_", " ")


def in_cell(value: Any, name: str = "") -> str:
    """Return a JSON value as a short text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        is_fraction = any(name == each or name.endswith(f"_{each}") for each in FRACTIONS)
        return f"{100 * value:.2f} %" if is_fraction else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list) and not any(isinstance(each, list | dict) for each in value):
        text = ", ".join(map(in_cell, value[:MAX_CHARACTERS]))
        return text if len(text) <= MAX_CHARACTERS else f"{len(value):,} values"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."


def crop_pictures(records: Sequence[Record], folder: Path) -> tuple[dict[int, Figure], list[str]]:
    """Return the places that records name by `file` and `box`, by index, and names that two pictures have.

    A picture is looked for in the current folder and in `folder`. If each has another one of that name, it is
    not known which was read, and neither is used. Each file is opened once.
    """
    figures: dict[int, Figure] = {}
    ambiguous = []
    for file in dict.fromkeys(each["file"] for each in records if isinstance(each.get("file"), str)):
        wanted = {index: each for index, each in enumerate(records) if each.get("file") == file}
        match _find(file, folder):
            case [path]:
                figures |= _crop_file(path, wanted)
            case [_, _]:
                ambiguous.append(file)
    return figures, ambiguous


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


def _crop_file(path: Path, records: Mapping[int, Record]) -> dict[int, Figure]:
    figures: dict[int, Figure] = {}
    pages = {each.get("page") for each in records.values()}
    with contextlib.closing(open_pages(path)) as opened:
        for page, picture in opened:
            if page not in pages or isinstance(picture, PictureError):
                continue
            for index, each in records.items():
                if each.get("page") == page and (crop := _crop(picture, each)) is not None:
                    figures[index] = Figure(_jpeg_url(crop), f"the picture of this row, in {path.name}")
            pages.remove(page)
            if not pages:
                break
    return figures


def _crop(picture: np.ndarray, record: Record) -> np.ndarray | None:
    """Return the place of a record, or the whole picture; None if it lies outside the picture."""
    rotation, box = record.get("rotation") or 0, record.get("box")
    picture = rotate(picture, rotation) if rotation in (90, 180, 270) else picture
    if box is None:
        return picture
    if not (
        isinstance(box, list) and len(box) == 4 and all(isinstance(each, int) and each >= 0 for each in box)
    ):
        return None
    x, y, width, height = box
    margin = round(MARGIN * height)
    crop = picture[max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin]
    return crop if crop.size else None


def _jpeg_url(crop: np.ndarray) -> str:
    image = Image.fromarray(np.clip(255 * crop + 0.5, 0, 255).astype(np.uint8))
    image.thumbnail(PICTURE_PX)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
