"""Write what a command has written as JSON, or the folder of a run or an adaptation, to one HTML file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import unicodedata
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

import digitcli
from digitcli.atomic_write import write_whole
from digitcli.errors import InputError, UsageError, quoted
from digitcli.inference.checkpoint import ADAPTATION_FILE, CONFIG_FILE, MODEL_FILE, read_header
from digitcli.inference.model_resolution import shipped_models
from digitcli.reporting.content import sections_of
from digitcli.templating import template_environment

REMEDY = (
    "Give a run folder, a folder of digitcli adapt, or a file that one of these wrote: digitcli evaluate -o "
    "FILE.json, digitcli compare -o FILE.json, digitcli predict -o FILE.jsonl"
)
TEMPLATES = Path(__file__).parent / "templates"
METRICS_FILE = "metrics.csv"  # the figures of the epochs in a run folder


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
        rows = csv.DictReader(io.StringIO((folder / METRICS_FILE).read_text(), newline=""))
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
