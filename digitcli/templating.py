"""Templates of files that digitcli writes, and the style that all its HTML files share. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SHARED = Path(__file__).parent / "templates"


def template_environment(
    folder: Path, filters: Mapping[str, Callable[..., str]], *, escape: bool, **settings: Any
) -> Environment:
    """Return what fills the templates of a folder and the shared ones; a value that is missing is an error.

    escape: makes every text safe for HTML.
    settings: further settings of the environment.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **settings,
    )
    environment.filters |= {"thousands": lambda number: f"{number:,}", **filters}
    return environment
