"""Write what a command has written as JSON, or the folder of a run or an adaptation, to one HTML file."""

from __future__ import annotations

import base64
import contextlib
import csv
import filecmp
import hashlib
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

import digitcli
from digitcli.atomic_write import write_whole
from digitcli.charts import Panel, Series, draw_chart
from digitcli.errors import InputError, PictureError, UsageError, quoted
from digitcli.imaging.grayscale import rotate
from digitcli.imaging.opening import open_pages
from digitcli.inference.checkpoint import ADAPTATION_FILE, CONFIG_FILE, MODEL_FILE, read_header
from digitcli.inference.model_resolution import shipped_models
from digitcli.templating import template_environment

Record = Mapping[str, Any]

REMEDY = (
    "Give a run folder, a folder of digitcli adapt, or a file that one of these wrote: digitcli evaluate -o "
    "FILE.json, digitcli compare -o FILE.json, digitcli predict -o FILE.jsonl"
)
TEMPLATES = Path(__file__).parent / "templates"
METRICS_FILE = "metrics.csv"  # the figures of the epochs in a run folder
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
# Columns that stand first in a table, in this order, and those that are not shown.
FIRST = ("picture", "text", "confidence", "status", "reason", "file", "page", "row", "column")
HIDDEN = ("box", "rotation")


@dataclass(frozen=True)
class Report:
    """A report that was written.

    report: the HTML file.
    size_bytes: its size.
    """

    report: str
    title: str
    source: str
    size_bytes: int


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
    rows: Sequence[Sequence[str | Figure]] = field(default_factory=list)


def write_report(source: str, path: Path) -> Report:
    """Write the report of a source to a file, titled by the source's name, and return what was written.

    source: a run folder, a folder that adapt wrote, or a file of JSON, JSON lines or CSV.

    Raises:
        UsageError: it is a model, which has to be evaluated first.
        InputError: there is no such source, it cannot be read, or it holds nothing that a command writes.
        ModelError: the model of a run is damaged.
        OutputError: the file cannot be written.
    """
    value, digest = read_source(source)
    title = f"Report of {Path(source).resolve().name}"
    html = render(value, title, source, digest).encode(errors="replace")
    write_whole(path, html)
    return Report(str(path), title, source, len(html))


def read_source(source: str) -> tuple[Any, str]:
    """Return the content of a source as a JSON value, and the SHA-256 of the file that it was read from.

    Raises:
        UsageError, InputError, ModelError: see `write_report`.
    """
    path = Path(source)
    try:
        if path.is_dir():
            if (path / ADAPTATION_FILE).is_file():
                return _parse_file(path / ADAPTATION_FILE)
            if (path / CONFIG_FILE).is_file():
                return _read_run(path)
            raise InputError(f"{source} is no folder of a run or an adaptation.", REMEDY)
        if source in shipped_models() or path.suffix == Path(MODEL_FILE).suffix:
            command = f"digitcli evaluate {quoted(source)} -o evaluation.json"
            raise UsageError(f"{source} is a model.", f"Evaluate it, and report the result: {command}")
        if not path.exists():
            raise InputError(f"There is no file or folder '{source}'.", REMEDY)
        return _parse_file(path)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}.", REMEDY) from error


def _read_run(folder: Path) -> tuple[Any, str]:
    """Return the result of a run, the figures of its epochs, and the settings and versions."""
    config, digest = _parse_file(folder / CONFIG_FILE)
    result: dict[str, Any] = {}
    if (folder / MODEL_FILE).is_file():
        header = asdict(read_header(folder / MODEL_FILE))
        result = {name: header[name] for name in ("architecture", "task", "seed", "metrics", "dataset")}
        config = {**config, "recipe": header["recipe"], "versions": header["versions"]}
    if (folder / METRICS_FILE).is_file():
        rows, _ = _parse_file(folder / METRICS_FILE)
        result["epochs"] = [{name: _number(text) for name, text in row.items()} for row in rows]
    return {**result, **config}, digest


def _number(text: str) -> float | int | str:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def _parse_file(path: Path) -> tuple[Any, str]:
    """Return the JSON value of a file, or the list of its values or rows if it is JSON lines or CSV."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        if path.suffix.lower() == ".csv":
            value: Any = list(csv.DictReader(io.StringIO(text, newline="")))
        elif path.suffix.lower() == ".jsonl":
            value = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            value = json.loads(text)
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path} cannot be reported: {error}.", REMEDY) from error
    if not isinstance(value, list | dict) or not value:
        raise InputError(f"{path} cannot be reported: it holds no record.", REMEDY)
    return value, hashlib.sha256(content).hexdigest()


def render(value: Any, title: str, source: str, digest: str) -> str:
    """Return the HTML of a page; every text in it is escaped."""
    environment = template_environment(TEMPLATES, {}, escape=True, finalize=_printable)
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    return environment.get_template("report.html").render(
        title=title,
        sections=list(sections_of(value, "Summary" if isinstance(value, dict) else "Records", folder)),
        source=source,
        digest=digest,
        version=digitcli.__version__,
        today=datetime.now(UTC).date().isoformat(),
    )


def _printable(value: Any) -> Any:
    """Replace what cannot be printed in a text, for example control characters in a file name."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unprintable(char) else char for char in value)


def _is_unprintable(character: str) -> bool:
    """Tell whether a character is a control character, invisible, not assigned, or half of a pair."""
    category = unicodedata.category(character)
    return category.startswith("C") or category in ("Zl", "Zp")


def sections_of(value: Any, title: str, folder: Path, level: int = 2) -> Iterator[Section]:
    """Yield the sections that show a JSON value.

    folder: where pictures are looked for, beside the current folder.
    """
    kinds = {type(each) for each in value} if isinstance(value, list) else set()
    if isinstance(value, dict):
        shown = {name: each for name, each in value.items() if each not in (None, {}, [])}
        facts = [(in_words(name), in_cell(shown[name], name)) for name in shown if not _is_long(shown[name])]
        yield Section(title, level, rows=facts)
        for name in filter(lambda name: _is_long(shown[name]), shown):
            yield from sections_of(shown[name], in_words(name), folder, min(level + 1, 4))
    elif kinds == {dict}:
        yield from _sections_of_records(value, title, folder, level)
    elif kinds == {list}:
        rows = [[str(index), *map(in_cell, row)] for index, row in enumerate(value[:MAX_ROWS])]
        yield Section(title, level, columns=("", *map(str, range(max(map(len, value))))), rows=rows)
    else:
        yield Section(title, level, note=in_cell(value))


def _is_long(value: Any) -> bool:
    """Tell whether a value needs a section of its own: a dictionary, or a list of dictionaries or lists."""
    if isinstance(value, list):
        return any(isinstance(each, dict | list) for each in value)
    return isinstance(value, dict) and bool(value)


def _sections_of_records(
    records: Sequence[Record], title: str, folder: Path, level: int
) -> Iterator[Section]:
    """Yield a table of records, and sections of the lists that they hold."""
    if all("file" in each and "status" in each for each in records):
        statuses = Counter(str(each["status"]) for each in records)
        facts = [(name, f"{count:,}") for name, count in statuses.most_common()]
        yield Section("Pages by status", level, rows=facts)
        records, title = sorted(_answers(records), key=_certainty), "Answers, the least certain first"
    shown = records[:MAX_ROWS]
    pictures = crop_pictures(shown[:MAX_PICTURES], folder)
    names = list(dict.fromkeys(name for each in shown for name in each if not _is_long(each[name])))
    names = ["picture"] * bool(pictures) + [name for name in names if name not in HIDDEN]
    names.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    rows = [
        [pictures.get(index, "") if name == "picture" else in_cell(each.get(name), name) for name in names]
        for index, each in enumerate(shown)
    ]
    note = f"{len(shown):,} of {len(records):,} are shown." if len(shown) < len(records) else ""
    yield Section(title, level, note, _curves(records, title), [in_words(name) for name in names], rows)
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
    with contextlib.suppress(TypeError, ValueError):
        return float(answer.get("confidence") or 0.0)
    return 0.0


def _curves(records: Sequence[Record], title: str) -> Figure | None:
    """Draw the columns of numbers over the epochs or the coverage, if there are any."""
    over = next((name for name in OVER if all(name in each for each in records)), None)
    if over is None or len(records) < 2:
        return None
    panels = []
    for name in (name for name in records[0] if name != over):
        points: list[tuple[Any, Any]] = [(each[over], each.get(name)) for each in records]
        if all(isinstance(number, int | float) for point in points for number in point):
            numbers = [float(y) for _, y in points]
            y_range = min(0.0, *numbers), 1.05 * max(numbers) or 1.0
            series = Series(in_words(name), [(float(x), float(y)) for x, y in points])
            panels.append(Panel(in_words(name), in_words(over), [series], y_range=y_range))
    if not panels:
        return None
    svg = draw_chart(title, panels[:4], panel_px=(260, 220)).encode()
    return _figure(
        "svg+xml", svg, f"Chart of the table below: {', '.join(each.title for each in panels[:4])}"
    )


def _figure(kind: str, content: bytes, alt: str) -> Figure:
    return Figure(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", alt)


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
    if isinstance(value, list) and not _is_long(value):
        text = ", ".join(map(in_cell, value[:MAX_CHARACTERS]))
        return text if len(text) <= MAX_CHARACTERS else f"{len(value):,} values"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."


def crop_pictures(records: Sequence[Record], folder: Path) -> dict[int, Figure]:
    """Return the places that records name by `file` and `box`, by index. Each file is opened once.

    A picture is looked for in the current folder and in `folder`. If each has another one of that name, it is
    not known which was read, and neither is used.
    """
    figures: dict[int, Figure] = {}
    for file in dict.fromkeys(each["file"] for each in records if isinstance(each.get("file"), str)):
        found = [path for path in (Path(file), folder / file) if _is_file(path)]
        with contextlib.suppress(OSError):  # of a file that cannot be read, which then has no picture
            found = found if len(found) < 2 or filecmp.cmp(found[0], found[1], shallow=False) else []
        for path in found[:1]:
            wanted = {index: each for index, each in enumerate(records) if each.get("file") == file}
            figures |= _crop_file(path, wanted)
    return figures


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return False


def _crop_file(path: Path, records: Mapping[int, Record]) -> dict[int, Figure]:
    figures: dict[int, Figure] = {}
    pages = {each.get("page") for each in records.values()}
    with contextlib.closing(open_pages(path)) as opened:
        for page, picture in opened:
            if page not in pages or isinstance(picture, PictureError):
                continue
            for index, each in records.items():
                if each.get("page") == page and (crop := _crop(picture, each)) is not None:
                    figures[index] = _figure("jpeg", _jpeg(crop), f"the picture of this row, in {path.name}")
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
    is_box = isinstance(box, list) and len(box) == 4
    if not is_box or not all(isinstance(each, int) and each >= 0 for each in box):
        return None
    x, y, width, height = box
    margin = round(MARGIN * height)
    crop = picture[max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin]
    return crop if crop.size else None


def _jpeg(crop: np.ndarray) -> bytes:
    image = Image.fromarray(np.clip(255 * crop + 0.5, 0, 255).astype(np.uint8))
    image.thumbnail(PICTURE_PX)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()
