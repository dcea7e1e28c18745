"""An evaluation as a file: figures (JSON), answers (CSV) or diagrams (SVG). Loads neither torch nor NumPy."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli.atomic_write import check_writable, write_whole
from digitcli.charts import Panel, Series, draw_chart
from digitcli.errors import UsageError

if TYPE_CHECKING:
    from digitcli.evaluation.evaluate import EvaluationResult
    from digitcli.evaluation.evaluate_lines import LineEvaluation

SUFFIXES = (".json", ".csv", ".svg")


def check_target(path: Path, force: bool) -> None:
    """Find out before the work whether its result can be saved there.

    Raises:
        UsageError: neither a .json, a .csv nor an .svg file.
        OutputError: it is there already and `force` is not given, or its folder cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--save is '{path}'.", f"Name a file that ends in {' or '.join(SUFFIXES)}.")
    check_writable(path, force)


def save_result(path: Path, result: EvaluationResult | LineEvaluation) -> None:
    """Write the figures (.json), a row an image or a line (.csv), or diagrams (.svg), whole or not at all.

    Raises:
        UsageError: lines, as a picture.
        OutputError: it cannot be written; a file that was there before is as it was.
    """
    from digitcli.evaluation.evaluate import EvaluationResult

    if path.suffix.lower() == ".json":
        write_whole(path, _as_json(result))
    elif path.suffix.lower() == ".svg":
        if not isinstance(result, EvaluationResult):
            raise UsageError("Of lines there is no picture.", "Name a .json or a .csv file.")
        write_whole(path, draw_calibration(result).encode())
    else:
        content = _as_csv(result) if isinstance(result, EvaluationResult) else _lines_as_csv(result)
        write_whole(path, content)


def _as_json(result: EvaluationResult | LineEvaluation) -> bytes:
    return (json.dumps(result.record(), default=dataclasses.asdict, indent=2) + "\n").encode()


def _lines_as_csv(result: LineEvaluation) -> bytes:
    """`index,label,predicted,confidence`."""
    rows = zip(result.labels, result.found, result.confidences, strict=True)
    lines = [f"{index},{label},{found},{sure:.6g}" for index, (label, found, sure) in enumerate(rows)]
    return ("\n".join(["index,label,predicted,confidence", *lines]) + "\n").encode()


def _as_csv(result: EvaluationResult) -> bytes:
    """`index,label,predicted,confidence,probability_0` to `probability_9`."""
    import numpy as np

    classes = range(result.probabilities.shape[1])
    names = ["index", "label", "predicted", "confidence", *(f"probability_{digit}" for digit in classes)]
    indices = np.arange(result.n)
    confidence = result.probabilities[indices, result.predicted]
    rows = np.column_stack(
        [indices, result.digits.labels, result.predicted, confidence, result.probabilities]
    )
    content = io.BytesIO()
    formats = ["%d"] * 3 + ["%.6g"] * (1 + len(classes))
    np.savetxt(content, rows, formats, delimiter=",", header=",".join(names), comments="")
    return content.getvalue()


def draw_calibration(result: EvaluationResult) -> str:
    """Return a reliability diagram, and the error of the most confident answers, as SVG."""
    points = [(100 * row.confidence, 100 * row.accuracy) for row in result.reliability]
    lowest = min(min(point) for point in points)
    diagonal = [(lowest, lowest), (100.0, 100.0)]
    errors = [(100 * row.coverage, 100 * (1 - row.accuracy)) for row in result.coverage]
    return draw_chart(
        f"Calibration of {result.model}",
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
