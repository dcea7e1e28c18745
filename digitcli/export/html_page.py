"""HTML: one page that needs nothing else, in which the network reads what a person draws.

The page forbids itself every request, and every script and style but its own (Content Security Policy).
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from digitcli.errors import EnvironmentFault, QualityError, counted
from digitcli.export.exporter import TEMPLATES, Exporter, Images, Outputs, Source, describe, render
from digitcli.export.plain_layers import PlainLayer, count_weights, plain_layers
from digitcli.strip_format import DIGITS
from digitcli.templating import SHARED

STYLES = ("page.css", "drawing.css")
SCRIPTS = ("network.js", "ink.js", "page.js")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
BROWSER_OPTIONS = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-dev-shm-usage",
)  # fmt: skip
PATIENCE_S = 300  # for a browser that hangs
EXAMPLES = 200  # test digits on which a browser is compared with PyTorch


def prepare(source: Source) -> Exporter:
    """Prepare the export of a model to one `.html` file.

    Raises:
        UsageError: the network has a layer that the page cannot compute.
        EnvironmentFault: the export is to be verified, and there is no browser.
    """
    layers = plain_layers(source.network, source.model.header.architecture, "html")
    if source.verified:
        find_browser()
    facts = describe(source)
    records, weights = _records(layers)
    style = "".join(map(_read_asset, STYLES))
    script = '"use strict";\n' + "\n".join(map(_read_asset, SCRIPTS))
    values = {
        "facts": facts,
        "layers": layers,
        "weights": count_weights(layers),
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "model": json.dumps({"facts": facts, "layers": records}).replace("<", "\\u003c"),
        "weights_base64": base64.b64encode(weights).decode(),
    }
    page = render("page.html.jinja", values, {"outputs": _outputs}, escape=True)
    return Exporter({"model.html": page.encode()}, {"layers": len(layers)}, _run, examples=EXAMPLES)


def _policy(style: str, script: str) -> str:
    """Return a Content Security Policy that allows this style, this script and no request."""
    hashes = f"style-src {_policy_hash(style)}; script-src {_policy_hash(script)}"
    return f"default-src 'none'; img-src data:; {hashes}"


def _records(layers: Sequence[PlainLayer]) -> tuple[list[dict[str, Any]], bytes]:
    """Return the layers as JSON, in which arrays are places in a row of floats, and the bytes of this row."""
    records, floats = [], bytearray()
    for layer in layers:
        record = asdict(layer) | {"title": layer.title}
        del record["scales"], record["bits"]
        for name in ("weights", "biases"):
            if (array := record[name]) is not None:
                record[name] = {"start": len(floats), "count": array.size}
                floats += array.astype("<f4").tobytes()
        records.append(record)
    return records, bytes(floats)


def _outputs(layer: PlainLayer) -> str:
    """Return the size of the output of a layer in words."""
    if prod(layer.shape[1:]) == 1:
        return f"{layer.shape[0]} values"
    maps, rows, columns = layer.shape
    return f"{counted(maps, 'map')} of {rows} x {columns}"


def _read_asset(name: str) -> str:
    """Return a file that becomes part of the page as it is."""
    folder = TEMPLATES if (TEMPLATES / name).exists() else SHARED
    return (folder / name).read_text(encoding="utf-8")


def _policy_hash(text: str) -> str:
    """Return the hash by which a Content Security Policy allows a script or a style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def find_browser() -> str:
    """Return the browser that checks pages: Chromium, Chrome or Edge.

    Raises:
        EnvironmentFault: there is none.
    """
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    remedy = "Install Chromium, or write the page without a check with --no-verify."
    raise EnvironmentFault("There is no Chromium, Chrome or Edge to check the exported page.", remedy)


def _run(page: Path, batches: Sequence[Images]) -> list[Outputs]:
    """Open a copy of a page that computes the logits of images (N, 28, 28), and nothing else.

    Raises:
        QualityError: the page computes nothing.
        EnvironmentFault: there is no browser, or it does not answer.
    """
    browser = find_browser()
    images = np.concatenate(list(batches))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        check = Path(folder, "check.html")
        check.write_text(_with_check(page.read_text(encoding="utf-8"), images), encoding="utf-8")
        # Chromium refuses to run for root with its sandbox.
        for_root = ["--no-sandbox"] * (hasattr(os, "geteuid") and os.geteuid() == 0)
        options = [*for_root, *BROWSER_OPTIONS, f"--user-data-dir={folder}/profile", "--dump-dom"]
        command = [browser, *options, check.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            remedy = "Try again, or give --no-verify."
            raise EnvironmentFault(f"{browser} does not answer.", remedy) from error
    found = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    if not found:
        raise QualityError(f"The exported page computes nothing in {browser}: {done.stderr.strip()[-300:]}")
    numbers = json.loads(html.unescape(found[1]))["logits"]
    logits = np.array(numbers, np.float32).reshape(-1, len(DIGITS))
    ends = np.cumsum([len(batch) for batch in batches])
    return [(part,) for part in np.split(logits, ends[:-1])]


def _with_check(page: str, images: Images) -> str:
    """Return a page with images and with a script that computes them, which its policy then allows."""
    script = _read_asset("check.js")
    data = base64.b64encode(images.tobytes()).decode()
    added = f'<script type="text/plain" id="check-images">{data}</script>\n<script>{script}</script>\n'
    allowed = page.replace("script-src ", f"script-src {_policy_hash(script)} ", 1)
    return allowed.replace("</body>", f"{added}</body>")
