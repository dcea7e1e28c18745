"""The report of an adaptation of the reader: whether it helps, and how it was chosen."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from digitcli.adaptation.results import OF_ONE_GROUP, PictureResult, describe_help
from digitcli.adaptation.saved import SavedAdaptation, SavedSelfTraining
from digitcli.adaptation.self_training_results import PictureReadTwice, describe_help_of_self_training
from digitcli.charts import Panel, Series, draw_chart
from digitcli.reporting.page import Page, chart_figure

# Pictures, and left-out pictures, that a page lists.
MAX_ROWS = 500


def page_of_adaptation(adaptation: SavedAdaptation | SavedSelfTraining, source: str, digest: str) -> Page:
    """Return the report of an adaptation to labelled pictures, or of a self-training."""
    if isinstance(adaptation, SavedAdaptation):
        specific = _with_labels(adaptation)
    else:
        specific = _without_labels(adaptation)
    values = {
        "adaptation": adaptation,
        "is_labelled": isinstance(adaptation, SavedAdaptation),
        "failures": adaptation.failures[:MAX_ROWS],
        "environment": _environment(adaptation),
        **specific,
    }
    title = f"Adaptation to {Path(adaptation.folder).name or adaptation.folder}"
    return Page("adaptation", title, source, digest, "file", values)


def _with_labels(adaptation: SavedAdaptation) -> dict[str, Any]:
    """Return what the page of an adaptation to labelled pictures shows besides."""
    pictures = sorted(adaptation.results, key=_urgency)
    shown = [each for each in pictures if not (each.right_before and each.right_after)]
    return {
        "verdict": describe_help(adaptation.helps, adaptation.may_be_chance),
        "caution": OF_ONE_GROUP if adaptation.divides_group else "",
        "chart": chart_figure(_draw_scores(adaptation)) if len(adaptation.scores) > 1 else None,
        "rows": shown[:MAX_ROWS],
        "rows_in_all": len(shown),
    }


def _urgency(picture: PictureResult) -> int:
    """Return the place of a picture: first those that were lost, then those that are still read wrongly."""
    if picture.right_before and not picture.right_after:
        return 0
    return 2 if picture.right_after else 1


def _draw_scores(adaptation: SavedAdaptation) -> str:
    """Draw the scores of the held-out lines by epoch."""
    right = [(float(score.epochs), 100 * score.exact_match) for score in adaptation.scores]
    nll = [(float(score.epochs), score.nll) for score in adaptation.scores]
    lowest = math.floor(min(share for _, share in right))
    return draw_chart(
        "Held-out lines by epoch",
        [
            Panel(
                "lines read rightly in %", "epochs", [Series("right", right)], y_range=(int(lowest), 100.0)
            ),
            Panel("negative log-likelihood in nats", "epochs", [Series("nll", nll)]),
        ],
    )


def _without_labels(training: SavedSelfTraining) -> dict[str, Any]:
    """Return what the page of a self-training shows besides."""
    verdict = describe_help_of_self_training(
        training.epochs, training.forgets, training.gained or 0, training.lost or 0, training.p_value
    )
    is_too_sure = (training.wrong_after or 0) > (training.wrong_before or 0)
    caution = "The reader is sure of more wrong answers than before: trust its confidence less."
    changed = [each for each in training.results if each.text_before != each.text_after]
    return {
        "verdict": verdict,
        "caution": caution if is_too_sure else "",
        "rows": sorted(changed, key=_confidence)[:MAX_ROWS],
        "rows_in_all": len(changed),
    }


def _confidence(picture: PictureReadTwice) -> float:
    return picture.confidence_after or 0.0


def _environment(adaptation: SavedAdaptation | SavedSelfTraining) -> dict[str, str]:
    """Return what a repetition needs, by name."""
    return {
        "folder": adaptation.folder,
        "digest of the pictures and labels": adaptation.digest,
        "reader before": adaptation.model,
        "written models": ", ".join(adaptation.models),
        "time": f"{adaptation.seconds:,.0f} s",
        **{name.replace("_", " "): str(value) for name, value in adaptation.settings.items()},
        **{f"version of {name}": str(version) for name, version in adaptation.versions.items()},
    }
