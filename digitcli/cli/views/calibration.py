"""Describe a calibration in words and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from digitcli import console
from digitcli.evaluation.risk_control import RiskControl, ThresholdTest
from digitcli.recognition.calibrate import Calibration
from digitcli.recognition.calibrated_model import carrier_of


def describe(result: Calibration, output: Path | None, named: Sequence[str]) -> dict[str, str]:
    """Return the rows of a table; `named` are the models that the person named."""
    control, proven = result.control, result.control.proven
    limit = f"{100 * control.max_error:g} %"
    rows = {
        "model": result.model,
        "pictures": f"{result.pictures:,}, of which {result.answers:,} are answered without a threshold",
    }
    if proven is None:
        rows["result"] = _why_nothing(control, result.answers)
        rows["more pictures"] = _more(result.more_pictures, control.max_error, is_proven=False)
        return rows
    rows |= {
        "threshold": f"{proven.threshold:g}",
        "answered": f"{proven.answered:,} of {result.pictures:,} pictures, "
        f"{console.percent(result.share_answered)}",
        "wrong": f"{proven.wrong:,} of {proven.answered:,} answers",
        "p-value": f"{proven.p_value:.3g}, the probability of so few wrong answers if {limit} were wrong",
        "guarantee": result.guarantee or "",
        "tests": _tests(control),
    }
    if result.groups is not None:
        rows["groups"] = (
            f"{result.groups:,}, of which {result.groups_with_wrong:,} have wrong answers. Pictures of a "
            "group are alike, so nothing is shown about pictures of other groups."
        )
    rows["more pictures"] = _more(result.tighter_more_pictures, control.max_error / 2, is_proven=True)
    rows["use"] = _command(result, output, named)
    return rows


def _why_nothing(control: RiskControl, answers: int) -> str:
    limit, confidence = (f"{100 * share:g} %" for share in (control.max_error, control.confidence))
    if not control.tests:
        return (
            f"{limit} cannot be guaranteed with {confidence} confidence: that takes at least "
            f"{control.least_answers:,} answers, all of them right, and only {answers:,} pictures are "
            "answered."
        )
    first = control.tests[0]
    return (
        f"The first tested threshold, {first.threshold:g}, failed: {first.wrong:,} of {first.answered:,} "
        f"answers are wrong (p-value {first.p_value:.3g})."
    )


def _tests(control: RiskControl) -> str:
    """Return which thresholds were tested, and where the tests ended."""
    first, last = control.tests[0], control.tests[-1]
    text = (
        f"from {first.threshold:g} on, the strictest threshold with {control.first_answers:,} answers or more"
    )
    return text if last == control.proven else f"{text}; {_failed(last)}"


def _failed(test: ThresholdTest) -> str:
    return f"{test.threshold:g} failed with {test.wrong:,} of {test.answered:,} answers wrong"


def _more(pictures: int | None, max_error: float, is_proven: bool) -> str:
    """Return how many more labelled pictures a guarantee needs, as an estimate."""
    limit = f"{100 * max_error:g} %"
    if pictures is None:
        return f"{limit} would hardly be reached with any number: too many answers are wrong."
    if pictures:
        return f"{limit} would need about {_rounded(pictures):,} more labelled pictures, by a rough estimate."
    if is_proven:
        return f"none for {limit}: give --max-error {max_error:g}."
    return f"As many pictures as these suffice for {limit} in four of five samples; they did not here."


def _rounded(number: int) -> int:
    """Round an estimate up to two digits."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit


def _command(result: Calibration, output: Path | None, named: Sequence[str]) -> str:
    """Return the command that reads with the threshold."""
    assert result.control.proven is not None
    carrier = carrier_of(result.models).name
    if output is None:
        models, option = named, f"--min-confidence {result.control.proven.threshold:g}"
    else:
        models = [str(output), *(name for name in named if name != carrier)]
        option = f"--max-error {result.control.max_error:g}"
    return " ".join(["digitcli predict PICTURES", *(f"-m {name}" for name in models), option])
