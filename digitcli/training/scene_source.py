"""Where composed scenes come from: digits of a dataset, and the embedded writers and fonts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from digitcli.data.dataset import Dataset, Digits
from digitcli.synthesis.lines import LineSynthesizer
from digitcli.synthesis.scenes import SceneComposer
from digitcli.synthesis.stamps import WritingRoom, load_fonts
from digitcli.synthesis.strokes import EMBEDDED, WriterStrokes, load_writers, split_writers


def scene_composer(
    digits: Digits, *, held_out: bool, writers: Sequence[WriterStrokes] | None = None
) -> SceneComposer:
    """Return a composer with digits, and with the writers and fonts to train on, or the held-out ones.

    writers: those of the package by default.
    """
    writers = split_writers(load_writers() if writers is None else writers, held_out=held_out)
    room = WritingRoom(digits, writers, load_fonts().split(held_out=held_out))
    return SceneComposer(room, LineSynthesizer(digits, writers))


def handwriting_digest(dataset: Dataset) -> str:
    """Return a hash of the digits, the strokes and the fonts."""
    files = sorted(file for file in EMBEDDED.rglob("*") if file.suffix in (".xz", ".woff"))
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(dataset.digest.encode() + content).hexdigest()
