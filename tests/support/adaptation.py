"""Labelled pictures and a reader that reads them badly, to adapt it to them."""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import nn

from digitcli.adaptation.adaptation import (
    Adaptation,
    Choice,
    EpochScore,
    FineTuning,
    PictureResult,
)
from digitcli.data.dataset import Failure
from digitcli.inference.checkpoint import read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import open_network
from tests.support.pictures import encoded, written

TEXTS = ("305", "17", "4280", "96", "512", "83", "7041", "269", "58", "1634", "90", "747")


def labelled_numbers(folder: Path, labels: Sequence[str] = TEXTS, groups: Sequence[str] = ()) -> Path:
    """Draw the numbers of `TEXTS`, and label them."""
    folder.mkdir()
    rows = [["file", "text", "group"]]
    for number, label in enumerate(labels):
        (folder / f"{number}.png").write_bytes(encoded(written(TEXTS[number], 60, margin_px=30)[0]))
        rows.append([f"{number}.png", label, groups[number] if groups else ""])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def miscounting_reader(path: Path) -> Path:
    """Write a copy of the shipped reader that takes each digit for the next one."""
    header, tensors = read_checkpoint(resolve_model("reader").path)
    order = [*(header.alphabet.index(str((digit - 1) % 10)) for digit in range(10))]
    for name in ("classes.weight", "classes.bias"):
        tensors[name][:10] = tensors[name][order]
    write_checkpoint(path, dataclasses.replace(header, refusal_threshold=None), tensors)
    return path


def healed(*arguments: object, **options: object) -> Iterator[nn.Module]:
    """Yield the shipped reader after each of two epochs, in place of `trained_epochs`."""
    yield from (_shipped_reader(), _shipped_reader())


@functools.cache
def _shipped_reader() -> nn.Module:
    """Open the network once for all tests, which only copy its weights."""
    return open_network(resolve_model("reader"))


def measured_adaptation(adapted: object, **changes: object) -> Adaptation:
    """Results of four labelled pictures: one was gained, one lost, one is wrong and one right as before."""
    outcomes = {"a": (False, True), "b": (True, False), "c": (False, False), "d": (True, True)}
    fields = {
        "folder": "scans/cheques",
        "model": "reader@0",
        "digest": "0" * 64,
        "pictures": tuple(
            PictureResult(f"{name}.png", number % 2, 5, before, after, 0.25, 0.75)
            for number, (name, (before, after)) in enumerate(outcomes.items())
        ),
        "unlabelled": 3,
        "failures": (Failure("e.png", "corrupt", "It is damaged."),),
        "lines": 20,
        "groups": 4,
        "divides_group": False,
        "folds": 2,
        "scores": (EpochScore(0, 0.4, 0.8, 1.0), EpochScore(1, 0.2, 0.9, 1.1), EpochScore(2, 0.3, 0.85, 1.2)),
        "choice": Choice(1, 0.5, 0.914, 0.908, EpochScore(1, 0.2, 0.9, 1.1)),
        "settings": FineTuning(),
        "seconds": 61.0,
        "adapted": adapted,
        **changes,
    }
    return Adaptation(**fields)  # type: ignore[arg-type]
