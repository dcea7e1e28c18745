"""Fill the templates of the formats whose files are text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from digitcli.templating import SHARED, template_environment

TEMPLATES = Path(__file__).parent / "templates"


def render(
    template: str, values: Mapping[str, Any], filters: Mapping[str, Callable[..., str]], *, escape: bool
) -> str:
    """Return a template of this package filled with values; `escape` makes every text safe for HTML."""
    environment = template_environment(TEMPLATES, filters, escape=escape, keep_trailing_newline=True)
    return environment.get_template(template).render(values)


def policy_hash(text: str) -> str:
    """Return the hash by which a Content Security Policy allows a script or a style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def read_asset(name: str) -> str:
    """Return a file that becomes part of an export as it is, of this package or of all HTML files."""
    folder = TEMPLATES if (TEMPLATES / name).exists() else SHARED
    return (folder / name).read_text(encoding="utf-8")
