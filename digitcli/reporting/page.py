"""A page: one HTML file that needs nothing else, filled from the template of its kind."""

from __future__ import annotations

import base64
import functools
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from jinja2 import Environment
from markupsafe import Markup

import digitcli
from digitcli.errors import counted
from digitcli.evaluation.statistics import describe_p
from digitcli.recognition.readings import as_percentage
from digitcli.templating import template_environment

Kind = Literal["run", "evaluation", "comparison", "readings", "adaptation"]
TEMPLATES = Path(__file__).parent / "templates"
SVG = "{http://www.w3.org/2000/svg}"
SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Figure:
    """A picture inside the page.

    url: a data URL.
    alt: what a person who cannot see the picture reads in its place.
    caption: the text below it, which may be empty.
    """

    url: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Page:
    """The content of a report.

    kind: the kind of the source, which is also the name of the template.
    source: the name of what is reported.
    digest, digest_of: a SHA-256, and whether it is that of a file or that which a model states.
    values: what the template of the kind shows, by name.
    """

    kind: Kind
    title: str
    source: str
    digest: str
    digest_of: Literal["file", "model"]
    values: Mapping[str, Any] = field(repr=False)


def render(page: Page) -> str:
    """Return the HTML of a page; every text in it is escaped."""
    template = _environment().get_template(f"{page.kind}.html")
    today = datetime.now(UTC).date().isoformat()
    return template.render(page=page, version=digitcli.__version__, today=today, **page.values)


def chart_figure(svg: str) -> Figure:
    """Return a chart that `charts.draw_chart` drew as a figure; its own description is the alt text.

    As a picture it keeps its styles to itself, and it cannot request anything.
    """
    chart = ElementTree.fromstring(svg)
    alt = f"{chart.findtext(f'{SVG}title')}. {chart.findtext(f'{SVG}desc')}"
    return Figure(f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}", alt)


@functools.cache
def _environment() -> Environment:
    filters: dict[str, Callable[..., str]] = {
        "percent": lambda fraction: f"{100 * fraction:.2f}{SPACE}%",
        "counted": counted,
        "points": lambda fraction: f"{100 * fraction:.2f}",
        "probability": lambda probability: as_percentage(probability).replace(" ", SPACE),
        "p_value": describe_p,
        "words": lambda name: name.replace("_", " "),
    }
    return template_environment(TEMPLATES, filters, escape=True, finalize=_printable)


def _printable(value: Any) -> Any:
    """Replace what cannot be printed in a text, for example control characters in a file name."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unprintable(char) else char for char in value)


def _is_unprintable(character: str) -> bool:
    """Tell whether a character is a control character, invisible, not assigned, or half of a pair."""
    category = unicodedata.category(character)
    return category.startswith("C") or category in ("Zl", "Zp")
