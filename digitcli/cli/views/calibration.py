"""Describe a calibration in words and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from digitcli import console
from digitcli.errors import counted
from digitcli.evaluation.risk_control import RiskControl
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
    if result.copies:
        rows["copies"] = (
            f"{counted(len(result.copies), 'picture')} left out: each is a copy of another, and "
            "copies show nothing new"
        )
    if proven is None:
        rows["result"] = _why_nothing(control, result.answers)
        rows["more pictures"] = _would_help(result)
        return rows
    rows |= {
        "threshold": f"{proven.threshold:g}",
        "answered": f"{proven.answered:,} of {counted(result.pictures, 'picture')}, "
        f"{console.percent(result.share_answered)}",
        "wrong": f"{proven.wrong:,} of {counted(proven.answered, 'answer')}",
        "p-value": f"{proven.p_value:.3g}, the probability of so few wrong answers if {limit} were wrong",
        "guarantee": result.guarantee or "",
        "tests": _tests(control),
    }
    if result.groups is not None:
        rows["groups"] = (
            f"{result.groups:,}, of which {result.groups_with_wrong:,} have wrong answers. Pictures of a "
            "group are alike, so nothing is shown about pictures of other groups."
        )
    rows["more pictures"] = _for_half(result)
    rows["use"] = _command(result, output, named)
    return rows


def remedy(result: Calibration) -> str:
    """Return what to do if no threshold is proven, because pictures or right answers are too few."""
    looser = "allow more errors with --max-error, or give a lower --confidence"
    if not result.answers:
        return "None of the pictures is answered. Give models that read them with -m."
    if result.more_pictures is None:
        return (
            "Too many answers are wrong, and more pictures would hardly change that. Check the labels, read "
            "with another model (-m), or allow more errors with --max-error."
        )
    if result.more_pictures:
        more = f"{_rounded(result.more_pictures):,}"
        return f"There are too few pictures for this guarantee. Label about {more} more, {looser}."
    return f"It may be chance. Calibrate once more with as many new pictures, {looser}."


def _why_nothing(control: RiskControl, answers: int) -> str:
    limit, level = (f"{100 * share:g} %" for share in (control.max_error, control.confidence))
    if not control.tests:
        return (
            f"{limit} cannot be guaranteed at a confidence level of {level}: that takes at least "
            f"{counted(control.least_answers, 'answer')}, all of them right, and these pictures give only "
            f"{answers:,}."
        )
    first = control.tests[0]
    return (
        f"The first tested threshold, {first.threshold:g}, failed: {first.wrong:,} of {first.answered:,} "
        f"answers are wrong (p-value {first.p_value:.3g}). Stricter ones have fewer than the "
        f"{counted(control.first_answers, 'answer')} that a test needs here."
    )


def _tests(control: RiskControl) -> str:
    """Return which thresholds were tested, and where the tests ended."""
    first, last = control.tests[0], control.tests[-1]
    text = (
        f"They begin at {first.threshold:g}, the strictest threshold with "
        f"{counted(control.first_answers, 'answer')} or more,"
    )
    if last == control.proven:
        return f"{text} and all of them passed, down to {last.threshold:g}."
    failed = f"{last.threshold:g}, with {last.wrong:,} of {last.answered:,} answers wrong"
    return f"{text} and end at the first that failed: {failed}."


def _would_help(result: Calibration) -> str:
    """Return whether more labelled pictures would help where nothing is proven."""
    limit = f"{100 * result.control.max_error:g} %"
    if not result.answers:
        return "They would not help, because none of these is answered."
    if result.more_pictures is None:
        return f"{limit} would hardly be reached with any number, because too many answers are wrong."
    if result.more_pictures:
        return _estimate(limit, result.more_pictures)
    return f"As many pictures as these suffice for {limit} in four of five samples; they did not here."


def _for_half(result: Calibration) -> str:
    """Return how many more labelled pictures a guarantee of half of the wrong answers needs."""
    max_error, pictures = result.control.max_error / 2, result.tighter_more_pictures
    limit = f"{100 * max_error:g} %"
    if pictures is None:
        return f"{limit} would hardly be reached with any number, because too many answers are wrong."
    if pictures:
        return _estimate(limit, pictures)
    return f"For {limit}, none are needed: give --max-error {max_error:g}."


def _estimate(limit: str, pictures: int) -> str:
    more = counted(_rounded(pictures), "more labelled picture")
    return f"{limit} would need about {more}, by a rough estimate."


def _rounded(number: int) -> int:
    """Round an estimate up to two digits."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit


def _command(result: Calibration, output: Path | None, named: Sequence[str]) -> str:
    """Return the command that reads with the threshold."""
    assert result.control.proven is not None
    carrier = carrier_of(result.models).name
    if output is None:
        models, options = named, [f"--min-confidence {result.control.proven.threshold:g}"]
    else:
        models, options = [str(output), *(name for name in named if name != carrier)], []
    return " ".join(["digitcli predict PICTURES", *(f"-m {name}" for name in models), *options])
