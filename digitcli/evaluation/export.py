"""Save an evaluation: its figures, answers and diagrams, or the models that it selected. Loads no torch."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli.atomic_write import check_writable, write_whole
from digitcli.charts import Panel, Series, draw_chart
from digitcli.errors import UsageError

if TYPE_CHECKING:
    from digitcli.evaluation.calibration import CoveragePoint, ReliabilityBin
    from digitcli.evaluation.evaluate import EvaluationResult
    from digitcli.evaluation.evaluate_lines import LineEvaluation

SUFFIXES = (".json", ".csv", ".svg")
MODEL_SUFFIX = ".safetensors"


def check_target(path: Path, force: bool) -> None:
    """Check, before any work is done, that a result can be saved to a path.

    Raises:
        UsageError: the name does not end in .json, .csv or .svg.
        OutputError: the file exists and `force` is not given, or its folder cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"--save does not know the type of '{path}'.",
            f"Name a file that ends in {' or '.join(SUFFIXES)}.",
        )
    check_writable(path, force)


def check_model_target(path: Path, force: bool) -> None:
    """Check, before any work is done, that the selected models can be saved to a path.

    Raises:
        UsageError: the name does not end in .safetensors.
        OutputError: see `check_target`.
    """
    if path.suffix != MODEL_SUFFIX:
        raise UsageError(f"--out is '{path}'.", f"Name a file that ends in {MODEL_SUFFIX}.")
    check_writable(path, force)


def save_selected_models(path: Path, result: EvaluationResult) -> None:
    """Write the selected models as one model, an ensemble with their temperature.

    The accuracies become part of it if all members were trained on the dataset of the evaluation.

    Raises:
        OutputError: the file cannot be written; a file that was there before is unchanged.
    """
    from digitcli.inference.ensemble import write_ensemble

    selection = result.selection
    assert selection is not None
    metrics = {
        "validation_accuracy": selection.additions[-1].accuracy,
        "test_accuracy": result.accuracy,
        "test_nll": result.nll,
        "test_ece": result.ece,
    }
    is_own_data = all(model.header.dataset.get("digest") == selection.digest for model in result.models)
    write_ensemble(
        path,
        result.models,
        temperature=selection.temperature,
        metrics=metrics if is_own_data else {},
    )


def save_result(path: Path, result: EvaluationResult | LineEvaluation) -> None:
    """Write the figures (.json), one row for each image or line (.csv), or the diagrams (.svg).

    Raises:
        UsageError: diagrams are asked for an evaluation of lines.
        OutputError: the file cannot be written; a file that was there before is unchanged.
    """
    from digitcli.evaluation.evaluate import EvaluationResult

    if path.suffix.lower() == ".json":
        write_whole(path, _as_json(result))
    elif path.suffix.lower() == ".svg":
        if not isinstance(result, EvaluationResult):
            raise UsageError(f"Lines have no diagrams to save as {path}.", "Name a .json or a .csv file.")
        name = result.model if result.adaptation is None else f"adapted {result.model}"
        chart = draw_calibration(name, result.reliability, result.coverage)
        write_whole(path, chart.encode())
    else:
        content = _as_csv(result) if isinstance(result, EvaluationResult) else _lines_as_csv(result)
        write_whole(path, content)


def _as_json(result: EvaluationResult | LineEvaluation) -> bytes:
    return (json.dumps(result.record(), default=dataclasses.asdict, indent=2) + "\n").encode()


def _lines_as_csv(result: LineEvaluation) -> bytes:
    """Return the columns `index,label,predicted,confidence`."""
    rows = enumerate(zip(result.labels, result.predicted, result.confidences, strict=True))
    lines = [f"{index},{label},{text},{confidence:.6g}" for index, (label, text, confidence) in rows]
    return ("\n".join(["index,label,predicted,confidence", *lines]) + "\n").encode()


def _as_csv(result: EvaluationResult) -> bytes:
    """Return `index,label,predicted,confidence`, `probability_0` to `probability_9`, and `group` if any.

    If the models were adapted to the digits, the answers before that are in `predicted_as_trained`.
    """
    columns = ["index", "label", "predicted", "confidence"]
    columns += [f"probability_{digit}" for digit in range(result.probabilities.shape[1])]
    columns += ["group"] if result.digit_groups else []
    before = [] if result.predicted_as_trained is None else result.predicted_as_trained.tolist()
    columns += ["predicted_as_trained"] if before else []
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(columns)
    for index, probabilities in enumerate(result.probabilities.tolist()):
        label, predicted = int(result.digits.labels[index]), int(result.predicted[index])
        figures = [f"{value:.6g}" for value in (probabilities[predicted], *probabilities)]
        group = [result.digit_groups[index]] if result.digit_groups else []
        writer.writerow([index, label, predicted, *figures, *group, *before[index : index + 1]])
    return content.getvalue().encode()


def draw_calibration(
    model: str, reliability: Sequence[ReliabilityBin], coverage: Sequence[CoveragePoint]
) -> str:
    """Return a reliability diagram, and the error of the most confident answers, as SVG."""
    points = [(100 * row.confidence, 100 * row.accuracy) for row in reliability]
    lowest = min(min(point) for point in points)
    diagonal = [(lowest, lowest), (100.0, 100.0)]
    errors = [(100 * row.coverage, 100 * (1 - row.accuracy)) for row in coverage]
    return draw_chart(
        f"Calibration of {model}",
        [
            Panel(
                "accuracy in %",
                "confidence in %",
                [Series("measured", points), Series("perfect calibration", diagonal, dashed=True)],
                y_range=(math.floor(lowest), 100.0),
            ),
            Panel("error in %", "coverage in %", [Series("error", errors)]),
        ],
    )
