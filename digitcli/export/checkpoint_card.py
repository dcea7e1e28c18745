"""The rows of a model card that a checkpoint and `cards.toml` tell, without a measurement."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli.architectures.registry import find_architecture
from digitcli.architectures.summary import summarize
from digitcli.inference.checkpoint import Header, name_members
from digitcli.inference.model_resolution import shipped_models

if TYPE_CHECKING:
    from torch import nn

FACTS_FILE = "cards.toml"
# By task: what the multiplications are counted for, and what a model is trained on.
INPUTS = {"digit": "an image", "line": "a line of 200 x 40 pixels", "page": "a page of 256 x 256 pixels"}
UNITS = {
    "digit": "digits",
    "line": "composed lines an epoch, with digits",
    "page": "composed squares of pages an epoch, with digits",
}


def facts_of_shipped(name: str) -> dict[str, str]:
    """Return what `cards.toml` tells about a shipped model; nothing about another model."""
    path = shipped_models().get(name)
    return read_facts(path.with_name(FACTS_FILE)).get(name, {}) if path else {}


def read_facts(path: Path) -> dict[str, dict[str, str]]:
    """Return what a file of facts tells about each model; nothing where the file is missing."""
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def checkpoint_rows(
    network: nn.Module, header: Header, path: Path, facts: Mapping[str, str]
) -> dict[str, str]:
    """Return the rows of a card that its checkpoint and its `cards.toml` tell, without a measurement."""
    summary = summarize(network, header.task)
    seed = "" if header.seed is None else f" (seed {header.seed})"
    return {
        "architecture": f"`{header.architecture}`: {_first_sentence(header.architecture)}",
        "members": name_members(header),
        "parameters, MACs": f"{summary.parameters:,} · {_rounded(summary.macs)} for {INPUTS[header.task]}",
        "size": _size(path.stat().st_size),
        "made by": f"`{facts['command']}`{seed}" if "command" in facts else "",
        "trained on": _training_data(header),
        "teacher": ", ".join(header.teacher),
    }


def rows_table(rows: Mapping[str, str]) -> str:
    """Return rows as a Markdown table without headings; empty rows are left out."""
    table = "\n".join(f"| {title} | {text} |" for title, text in rows.items() if text)
    return f"| | |\n|---|---|\n{table}"


def _first_sentence(architecture: str) -> str:
    description = find_architecture(architecture).load().__doc__ or ""
    sentence = description.strip().split("\n\n")[0].replace("\n", " ").rstrip(".")
    return " ".join(sentence.split())


def _rounded(macs: int) -> str:
    return f"{macs / 1e6:.3g} million"


def _training_data(header: Header) -> str:
    dataset = header.dataset
    if not {"name", "train", "validation"} <= dataset.keys():
        return ""
    synthetic = f" and {dataset['synthetic']:,} synthetic characters" if "synthetic" in dataset else ""
    return (
        f"{dataset['train']:,} {UNITS[header.task]} of {dataset['name']}{synthetic}; "
        f"{dataset['validation']:,} more to choose settings and to fit the temperature"
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.0f} kB"
