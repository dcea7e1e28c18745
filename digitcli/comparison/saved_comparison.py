"""Save the runs of a comparison to a JSON file, which later comparisons read instead of training.

Loads no torch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from digitcli.atomic_write import write_whole
from digitcli.json_records import read_json

SUFFIX = ".json"
SCHEMA = 1
REMEDY = f"Save a comparison with: digitcli compare cnn fast -o FILE{SUFFIX}"

EvaluationSplit = Literal["test", "validation"]  # the part of a dataset on which models are evaluated


@dataclass(frozen=True)
class ComparedRun:
    """One trained model and its errors.

    model: the run folder, the checkpoint file or the name of a shipped model.
    accuracy: the share of the images that it reads correctly.
    misread: the indices of the images that it reads wrongly, in the part of the dataset that was used.
    seed, train_seconds: None for a model that was not trained by the comparison.
    """

    model: str
    accuracy: float
    misread: tuple[int, ...]
    seed: int | None = None
    train_seconds: float | None = None


@dataclass(frozen=True)
class ModelDefinition:
    """How a model is built and trained: the fields of a checkpoint, and digests of what else it depends on.

    teacher: those of the models whose answers it learned from.
    start: that of the model whose weights it started from.
    original: that of the data that it rehearsed.
    """

    architecture: str
    arguments: Mapping[str, Any]
    recipe: Mapping[str, Any]
    fonts: str | None = None
    corrections: str | None = None
    teacher: tuple[str, ...] = ()
    start: str | None = None
    original: str | None = None


@dataclass(frozen=True)
class SavedModel:
    """The runs of one model, and the images on which they were evaluated.

    data, digest: the name of the dataset and the digest of its content.
    split: the part of the dataset on which the runs were evaluated.
    images: the number of images in that part.
    """

    label: str
    definition: ModelDefinition
    data: str
    digest: str
    split: EvaluationSplit
    images: int
    runs: tuple[ComparedRun, ...]

    def __post_init__(self) -> None:
        seeds = [run.seed for run in self.runs]
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"{self.label} has no run, or two runs with one seed")
        for run in self.runs:
            exist = all(0 <= index < self.images for index in run.misread)
            if self.images < 1 or not exist or len(set(run.misread)) < len(run.misread):
                raise ValueError(f"{self.label} misreads an image that does not exist, or one image twice")
            if run.accuracy != accuracy_of(run.misread, self.images):
                raise ValueError(f"an accuracy of {self.label} does not follow from its misread images")


@dataclass(frozen=True)
class SavedComparison:
    """The content of a file."""

    schema: int
    models: tuple[SavedModel, ...]

    def __post_init__(self) -> None:
        if self.schema != SCHEMA or not self.models:
            raise ValueError("it holds no model, or another version of digitcli wrote it")


def accuracy_of(misread: Sequence[int], images: int) -> float:
    """Return the accuracy of a run that misreads `misread` out of `images` images."""
    return (images - len(misread)) / images


def save_comparison(path: Path, models: Sequence[SavedModel]) -> None:
    """Write the models to a file, one on each line.

    Raises:
        OutputError: the file cannot be written; a file that existed before is unchanged.
    """
    lines = [json.dumps(dataclasses.asdict(model)) for model in models]
    content = f'{{"schema": {SCHEMA}, "models": [\n' + ",\n".join(lines) + "\n]}\n"
    write_whole(path, content.encode())


def read_comparison(path: Path) -> tuple[SavedModel, ...]:
    """Return the models of a file that `save_comparison` wrote.

    Raises:
        InputError: the file cannot be read, or is not a saved comparison.
    """
    return read_json(path, SavedComparison, "a saved comparison", REMEDY).models
