"""Labelled pictures and a reader that reads them badly, to adapt it to them."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import nn

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


def labelled_digits(folder: Path, count: int = 12) -> Path:
    """Draw single digits, 0 to 9 and again from 0 on, and label them."""
    folder.mkdir()
    rows = [["file", "text"]]
    for number in range(count):
        text = str(number % 10)
        (folder / f"{number}.png").write_bytes(encoded(written(text, 60 + number, margin_px=30)[0]))
        rows.append([f"{number}.png", text])
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
    for _ in range(2):
        yield open_network(resolve_model("reader"))
