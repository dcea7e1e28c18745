"""A comparison as a file, which a later one takes in place of its runs. Loads no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args

from digitcli.atomic_write import write_whole
from digitcli.errors import InputError

if TYPE_CHECKING:
    from digitcli.comparison.compare import Comparison

SUFFIX, SCHEMA = ".json", 1
JudgedBy = Literal["test", "validation"]  # a part of the dataset
REMEDY = f"Save one with: digitcli compare cnn fast --save FILE{SUFFIX}"


@dataclass(frozen=True)
class ComparedRun:
    """A model that was judged. `misread` are the images that it reads wrongly, by their place in the part.

    `seed` and `train_seconds` are None where it was not trained to be compared.
    """

    model: str
    accuracy: float
    misread: tuple[int, ...]
    seed: int | None = None
    train_seconds: float | None = None


@dataclass(frozen=True)
class Built:
    """How a network is built and trained: `arguments`, `recipe` and the digest of `fonts` as a checkpoint
    holds them.
    """

    architecture: str
    arguments: Mapping[str, Any]
    recipe: Mapping[str, Any]
    fonts: str | None = None


@dataclass(frozen=True)
class SavedModel:
    """What a file holds of a model, and by which `images` of a part of which dataset it was judged."""

    label: str
    built: Built
    runs: tuple[ComparedRun, ...]
    data: str
    digest: str
    split: JudgedBy
    images: int


def save_comparison(path: Path, result: Comparison) -> None:
    """Write every run of a comparison, whole or not at all: JSON with a line for each model.

    Raises:
        OutputError: it cannot be written; a file that was there before is as it was.
    """
    kept = ("label", "built", "runs")
    lines = [
        json.dumps({name: getattr(model, name) for name in kept}, default=dataclasses.asdict)
        for model in result.models
    ]
    head = {"schema": SCHEMA} | {
        name: getattr(result, name) for name in ("data", "digest", "split", "images")
    }
    content = json.dumps(head)[:-1] + ', "models": [\n' + ",\n".join(lines) + "\n]}\n"
    write_whole(path, content.encode())


def read_comparison(path: Path) -> list[SavedModel]:
    """The models of a file that `save_comparison` wrote.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA or not content["models"]:
            raise ValueError("it holds no model, or was written by another version")
        of = {name: content[name] for name in ("data", "digest", "images")}
        of["split"] = content.get("split", "test")
        _check_kind(str, of["data"], of["digest"])
        if of["split"] not in get_args(JudgedBy):
            raise ValueError("its runs are judged by no part of a dataset that is known")
        _check_kind(int, of["images"])
        if of["images"] < 1:
            raise ValueError("it is of no images")
        models = [_model(entry, of) for entry in content["models"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        cause = f"{path} is no saved comparison: {getattr(error, 'strerror', None) or error}."
        raise InputError(cause, REMEDY) from error
    return models


def _model(entry: Mapping[str, Any], of: Mapping[str, Any]) -> SavedModel:
    label, built = entry["label"], Built(**entry["built"])
    _check_kind(str, label, built.architecture)
    _check_kind(dict, built.arguments, built.recipe)
    runs = tuple(_run(run, of["images"]) for run in entry["runs"])
    seeds = [run.seed for run in runs]
    if not runs or len(set(seeds)) < len(seeds):
        raise ValueError(f"{label} has no run, or two of a seed")
    return SavedModel(label, built, runs, **of)


def _run(entry: Mapping[str, Any], images: int) -> ComparedRun:
    misread = tuple(entry["misread"])
    _check_kind(int, *misread)
    if len(set(misread)) < len(misread) or not all(0 <= index < images for index in misread):
        raise ValueError("a run misreads what is not there")
    run = ComparedRun(**{**entry, "misread": misread, "accuracy": share_read(misread, images)})
    _check_kind(str, run.model)
    _check_kind((int, NoneType), run.seed)
    _check_kind((int, float, NoneType), run.train_seconds)
    return run


def share_read(misread: Sequence[int], images: int) -> float:
    """The accuracy of a run."""
    return (images - len(misread)) / images


def _check_kind(kind: type | tuple[type, ...], *values: Any) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{value!r} is of the wrong kind")
