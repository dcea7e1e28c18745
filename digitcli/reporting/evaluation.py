"""The report of an evaluation: accuracy, calibration, confusion matrix and worst mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from digitcli.compression.results import COMPRESSIONS
from digitcli.data import DEFAULT_DATASET
from digitcli.data.dataset import Digits
from digitcli.errors import DigitcliError
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.evaluate_lines import evaluate_lines
from digitcli.evaluation.result_files import draw_calibration
from digitcli.evaluation.saved import SavedEvaluation, SavedLineEvaluation, parse_evaluation
from digitcli.events import OnEvent
from digitcli.inference.checkpoint import MODEL_FILE, RUNS
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.reporting.mistakes import MAX_MISTAKES, explain_command, find_digits, show_mistakes
from digitcli.reporting.page import Page, chart_figure
from digitcli.synthesis.line_folders import lines_to_evaluate

WITHOUT_MODEL = "There are no explanations, since {name} is not at hand as a single model."


def page_of_model(model: ResolvedModel, on_event: OnEvent) -> Page:
    """Evaluate a model on its default data, and return the report.

    Raises:
        The errors of `evaluate` and `evaluate_lines`.
    """
    if model.header.task == "line":
        lines, split = lines_to_evaluate(DEFAULT_DATASET, model.header.dataset.get("digest"))
        result = evaluate_lines(model, lines, data=DEFAULT_DATASET, split=split, on_event=on_event)
        record = result.record()
    else:
        record = evaluate(model, on_event=on_event).record()
    evaluation = parse_evaluation(json.loads(json.dumps(record)))
    return page_of_evaluation(evaluation, model.name, model.sha256, model)


def page_of_evaluation(
    evaluation: SavedEvaluation | SavedLineEvaluation,
    source: str,
    digest: str,
    model: ResolvedModel | None = None,
) -> Page:
    """Return the report of a saved evaluation; if `model` is None, the model is looked for by its id."""
    values: dict[str, Any] = {"evaluation": evaluation, "chart": None, "max_mistakes": MAX_MISTAKES}
    if isinstance(evaluation, SavedEvaluation):
        chart = draw_calibration(evaluation.model, evaluation.reliability, evaluation.coverage)
        values |= {
            "chart": chart_figure(chart),
            "largest": [max(1, sum(row)) for row in evaluation.confusion],
            "scores": {row.digit: (row.recall, row.precision) for row in evaluation.per_class},
        }
        values |= _shown_mistakes(evaluation, model or find_model(evaluation.model, Path(source).parent))
    digest_of: Literal["file", "model"] = "file" if model is None else "model"
    return Page("evaluation", f"Evaluation of {evaluation.model}", source, digest, digest_of, values)


def find_model(name: str, folder: Path) -> ResolvedModel | None:
    """Return the model with an id such as `cnn@1a2b3c4d`: shipped, among the runs, or in `folder`.

    The result is None if there is none, or only one with other weights; so it is for an ensemble.
    """
    label = name.rpartition("@")[0]
    words = label.split("-")  # the last ones may say what a compression has changed
    labels = ["-".join(words[:count]) for count in range(len(words), 0, -1)]
    places = [
        place
        for each in labels
        for place in (RUNS / each, COMPRESSIONS / each, folder / each, folder / f"{each}.safetensors")
    ]
    candidates = [label, *(str(path) for path in places if path.is_file() or (path / MODEL_FILE).is_file())]
    for candidate in candidates if label and Path(label).name == label else ():
        try:
            model = resolve_model(candidate)
        except DigitcliError:
            continue
        if model.id == name:
            return model
    return None


def _shown_mistakes(evaluation: SavedEvaluation, model: ResolvedModel | None) -> dict[str, Any]:
    """Return the mistakes as the template shows them, and why pictures or explanations are missing."""
    digits: Digits | None = None
    note = "" if model is not None else WITHOUT_MODEL.format(name=evaluation.model)
    try:
        digits = find_digits(evaluation)
    except DigitcliError as error:
        note = error.cause
    return {
        "mistakes": show_mistakes(evaluation.mistakes, digits, model),
        "note": note,
        "explain": model and explain_command(model.name, evaluation.data, evaluation.split),
    }
