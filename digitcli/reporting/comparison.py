"""The report of a comparison: the chart, and the table of significance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from digitcli.comparison.compare import (
    ComparedModel,
    Comparison,
    compare_saved,
    draw_comparison_chart,
    listed,
)
from digitcli.comparison.saved_comparison import SavedModel
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.data.torchvision_datasets import PUBLISHED_DATASETS
from digitcli.errors import DigitcliError
from digitcli.evaluation.statistics import SIGNIFICANCE
from digitcli.interpretation.drawing import data_url
from digitcli.reporting.page import Figure, Page, chart_figure

MAX_MISSED = 24  # images that no run reads; more would hide the table
LONGEST_TITLE = 3  # models that the title names


@dataclass(frozen=True)
class Row:
    """A model, and the interval of its error as a bar: start, length and mean, in percent of the axis."""

    model: ComparedModel
    start: float
    length: float
    mean: float


def page_of_comparison(saved: Sequence[SavedModel], source: str, digest: str) -> Page:
    """Return the report of a saved comparison.

    Raises:
        UsageError, InputError: see `compare_saved`.
    """
    result = compare_saved(saved)
    models = sorted(result.models, key=lambda model: -model.accuracy)
    axis = _axis(result)
    values: dict[str, Any] = {
        "result": result,
        "rows": _rows(models, axis),
        "axis": axis,
        "conclusion": result.conclusion() if len(models) > 1 else "",
        "significance": SIGNIFICANCE,
        "chart": chart_figure(draw_comparison_chart(result)),
        "missed": _missed_images(result),
        "max_missed": MAX_MISSED,
    }
    title = f"Comparison of {listed([model.label for model in models], LONGEST_TITLE)}"
    return Page("comparison", title, source, digest, "file", values)


def _axis(result: Comparison) -> tuple[float, float]:
    """Return the ends of the axis of errors; it is logarithmic, so that it begins at half an image."""
    least = 0.5 / result.images
    lowest = 1 - max(model.high for model in result.models)
    highest = 1 - min(model.low for model in result.models)
    return max(least, lowest), max(least, highest)


def _rows(models: Sequence[ComparedModel], axis: tuple[float, float]) -> list[Row]:
    low, high = map(math.log, axis)
    per_unit = 100 / ((high - low) or 1.0)

    def place(accuracy: float) -> float:
        return per_unit * (math.log(max(axis[0], 1 - accuracy)) - low)

    return [
        Row(model, place(model.high), place(model.low) - place(model.high), place(model.accuracy))
        for model in models
    ]


def _missed_images(result: Comparison) -> list[Figure]:
    """Return the first images that no run reads; none if the dataset is not at hand or has changed."""
    if result.data in PUBLISHED_DATASETS or not result.missed:
        return []
    try:
        dataset = load_dataset(result.data)
        parts = split(dataset)
    except DigitcliError:
        return []
    digits = parts.test if result.split == "test" else parts.validation
    if dataset.digest != result.digest or len(digits) != result.images:
        return []
    return [
        Figure(
            data_url(digits.images[index]), f"image {index}", f"image {index}, a {int(digits.labels[index])}"
        )
        for index in result.missed[:MAX_MISSED]
    ]
