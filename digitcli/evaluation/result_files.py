"""Write an evaluation to a file: its figures, its answers, its diagrams, or the models that it selected."""

from __future__ import annotations

import csv
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

LINE_SUFFIXES = (".json", ".csv")
DIGIT_SUFFIXES = (*LINE_SUFFIXES, ".svg")
MODEL_SUFFIX = ".safetensors"  # of the models that were selected, as one ensemble


def check_result_file(path: Path, suffixes: Sequence[str], force: bool) -> None:
    """Check, before any work is done, that a result can be written to a path.

    Raises:
        UsageError: the name ends in none of the suffixes.
        OutputError: the file exists and `force` is not given, or its folder cannot be written.
    """
    if path.suffix.lower() not in suffixes:
        cause = f"--output does not know the type of '{path}'."
        raise UsageError(cause, f"Name a file that ends in {' or '.join(suffixes)}.")
    check_writable(path, force)


def save_result(path: Path, result: EvaluationResult | LineEvaluation) -> None:
    """Write figures (.json), a row for each image or line (.csv), diagrams (.svg) or the selected models.

    Raises:
        OutputError: the file cannot be written; a file that was there before is unchanged.
    """
    from digitcli.evaluation.evaluate import EvaluationResult

    suffix = path.suffix.lower()
    if suffix == ".json":
        write_whole(path, (json.dumps(result.record(), indent=2) + "\n").encode())
    elif not isinstance(result, EvaluationResult):
        write_whole(path, _lines_as_csv(result))
    elif suffix == MODEL_SUFFIX:
        _save_selected_models(path, result)
    elif suffix == ".svg":
        write_whole(path, draw_calibration(result.model, result.reliability, result.coverage).encode())
    else:
        write_whole(path, _digits_as_csv(result))


def _save_selected_models(path: Path, result: EvaluationResult) -> None:
    """Write the selected models as one model, an ensemble with their temperature.

    The accuracies become part of it if all members were trained on the dataset of the evaluation.
    """
    from digitcli.inference.ensemble_file import write_ensemble

    selection = result.selection
    assert selection is not None, "the command checks it"
    metrics = {
        "validation_accuracy": selection.additions[-1].accuracy,
        "test_accuracy": result.accuracy,
        "test_nll": result.nll,
        "test_ece": result.ece,
    }
    is_own_data = all(model.header.dataset.get("digest") == selection.digest for model in result.models)
    own_metrics = metrics if is_own_data else {}
    write_ensemble(path, result.models, temperature=selection.temperature, metrics=own_metrics)


def _lines_as_csv(result: LineEvaluation) -> bytes:
    """Return the columns `index,label,predicted,confidence`."""
    rows = enumerate(zip(result.labels, result.predicted, result.confidences, strict=True))
    lines = [f"{index},{label},{text},{confidence:.6g}" for index, (label, text, confidence) in rows]
    return ("\n".join(["index,label,predicted,confidence", *lines]) + "\n").encode()


def _digits_as_csv(result: EvaluationResult) -> bytes:
    """Return `index,label,predicted,confidence`, `probability_0` to `probability_9`, and `group` if any."""
    columns = ["index", "label", "predicted", "confidence"]
    columns += [f"probability_{digit}" for digit in range(result.probabilities.shape[1])]
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(columns + ["group"] * bool(result.digit_groups))
    for index, probabilities in enumerate(result.probabilities.tolist()):
        label, predicted = int(result.digits.labels[index]), int(result.predicted[index])
        figures = [f"{value:.6g}" for value in (probabilities[predicted], *probabilities)]
        writer.writerow([index, label, predicted, *figures, *result.digit_groups[index : index + 1]])
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
