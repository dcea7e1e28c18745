"""Run an exported page in a browser without a window, and compute logits with its scripts."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from digitcli.errors import EnvironmentFault, QualityError
from digitcli.export.source import Images, Outputs
from digitcli.export.templating import policy_hash, read_asset

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
)
PATIENCE_S = 300  # for a browser that hangs
CLASSES = 10


def find_browser() -> str:
    """Return the browser that checks pages: Chromium, Chrome or Edge.

    Raises:
        EnvironmentFault: there is none.
    """
    for name in NAMES:
        if path := shutil.which(name):
            return path
    remedy = "Install Chromium, or write the page without a check with --no-verify."
    raise EnvironmentFault("There is no Chromium, Chrome or Edge to check the exported page.", remedy)


def run(page: Path, batches: Sequence[Images]) -> list[Outputs]:
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
        command = [browser, *OPTIONS, f"--user-data-dir={folder}/profile", "--dump-dom", check.as_uri()]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium refuses to run for root with its sandbox
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise EnvironmentFault(
                f"{browser} does not answer.", "Try again, or give --no-verify."
            ) from error
    found = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    if not found:
        raise QualityError(f"The exported page computes nothing in {browser}: {done.stderr.strip()[-300:]}")
    numbers = json.loads(html.unescape(found[1]))["logits"]
    logits = np.array(numbers, np.float32).reshape(-1, CLASSES)
    ends = np.cumsum([len(batch) for batch in batches])
    return [(part,) for part in np.split(logits, ends[:-1])]


def _with_check(page: str, images: Images) -> str:
    """Return a page with images and with a script that computes them, which its policy then allows."""
    script = read_asset("check.js")
    data = base64.b64encode(images.tobytes()).decode()
    added = f'<script type="text/plain" id="check-images">{data}</script>\n<script>{script}</script>\n'
    allowed = page.replace("script-src ", f"script-src {policy_hash(script)} ", 1)
    return allowed.replace("</body>", f"{added}</body>")
