"""The confidences below which a reader refuses: what its models store, or what keeps the share of errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from digitcli.evaluation.calibration import threshold_for_error
from digitcli.inference.checkpoint import Guarantee
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.recognition.models import DEFAULT_OF_KIND, reads_pictures
from digitcli.recognition.readings import DEFAULT_MAX_ERROR, DEFAULT_MODELS, MIN_CONFIDENCE

# The evidence for a threshold that no pictures have confirmed.
UNMEASURED = "this is 1 minus --max-error, and was not measured with these models"


@dataclass(frozen=True)
class Thresholds:
    """The least confidences of numbers that are not refused.

    alone: of the only number of a page, and of all numbers that classifiers of single digits read.
    page: of a number that stands among others on its page.
    evidence: what is known about the answers above the thresholds, as the end of a sentence.
    note: why a share of errors that was asked for, or that was guaranteed, is not known to hold, as a
        sentence; None where that is not the case.
    is_guaranteed: whether a guarantee of `digitcli calibrate` holds.
    """

    alone: float
    page: float
    evidence: str
    note: str | None = None
    is_guaranteed: bool = False

    def describe(self) -> str:
        """Return below which confidences numbers are refused, and what is known about the others."""
        alone, page = (f"{threshold:.4g}" for threshold in (self.alone, self.page))
        beside = "" if page == alone else f", and below {page} beside other numbers,"
        return f"Numbers with a confidence below {alone}{beside} are refused: {self.evidence}."


def find_thresholds(
    models: Sequence[ResolvedModel], max_error: float | None, *, is_plain: bool = True
) -> Thresholds:
    """Return the thresholds of models for a share of wrong answers, or their own ones.

    A calibrated model's own threshold is the one that was proven, those of the default models are the ones
    for `DEFAULT_MAX_ERROR`. What was proven goes before the shares of wrong answers to synthetic pictures,
    which the default models store.

    is_plain: whether pictures are read as `digitcli calibrate` reads them: without constraints, and with no
        rotation given.
    """
    if any(model.header.guarantee for model in models):
        return _proven(models, max_error, is_plain)
    risk = _risk(models)
    if max_error is None and not risk:
        stored = [model.header.refusal_threshold for model in models]
        threshold = max((each for each in stored if each is not None), default=MIN_CONFIDENCE)
        return Thresholds(threshold, threshold, "this is the default threshold of the models")
    max_error = DEFAULT_MAX_ERROR if max_error is None else max_error
    for model in models:
        companions = model.header.risk_companions
        if companions and companions == companions_of(model, models):
            return _of_adaptation(model.header.risk, max_error)
    alone, page = (threshold_for_error(max_error, each) for each in (risk, _page_risk(models)))
    if not risk:
        note = _unknown("--max-error is calibrated for the default models only.", alone)
        return Thresholds(alone, alone, UNMEASURED, note)
    evidence = f"above that, at most {100 * max_error:g} % of the answers to synthetic pictures were wrong"
    if alone >= 1:
        evidence = "no lower threshold is known for this --max-error"
    elif page < 1:
        evidence += ", and it may be more of those to real pages of several numbers"
    return Thresholds(alone, page, evidence, _unreached(max_error, alone) if max(alone, page) >= 1 else None)


def companions_of(model: ResolvedModel, models: Sequence[ResolvedModel]) -> tuple[str, ...]:
    """Return the digests of the other models of a reader, in ascending order."""
    return tuple(sorted(other.sha256 for other in models if other is not model))


def _unreached(max_error: float, alone: float) -> str:
    """Return the note for a share of errors that no measured threshold reaches, at least on pages."""
    where, there = ("", "") if alone >= 1 else (" on pages of several numbers", " there")
    return (
        f"No confidence is known from which on at most {100 * max_error:g} % of the answers are wrong"
        f"{where}, so nearly every answer is refused{there}. Give a larger --max-error."
    )


def _unknown(cause: str, threshold: float) -> str:
    return f"{cause} With these models it refuses every answer with a confidence below {threshold:g}."


def _proven(models: Sequence[ResolvedModel], max_error: float | None, is_plain: bool) -> Thresholds:
    """Return the threshold that was proven for these models, and what keeps the guarantee from holding."""
    names, thresholds = [], []
    for model in models:
        guarantee = model.header.guarantee
        if not guarantee:
            continue
        limit = guarantee.max_error if max_error is None else max_error
        if companions_of(model, models) == guarantee.companions:
            return _of_guarantee(model.name, guarantee, limit, is_plain)
        names.append(model.name)
        thresholds += [guarantee.threshold, 1 - limit]
    threshold = max(thresholds)
    note = _unknown(f"{names[0]} was calibrated together with other models than these.", threshold)
    return Thresholds(threshold, threshold, "nothing was measured with these models", note)


def _of_guarantee(name: str, guarantee: Guarantee, max_error: float, is_plain: bool) -> Thresholds:
    if max_error < guarantee.max_error:
        note = (
            f"{name} was calibrated for --max-error {guarantee.max_error:g}. With a smaller one nearly "
            "every answer is refused; calibrate it again for that."
        )
        return Thresholds(1.0, 1.0, "a smaller --max-error than that of the guarantee is not proven", note)
    threshold = guarantee.threshold
    if not is_plain:
        note = f"{name} was calibrated without constraints and rotation; its guarantee does not hold here."
        return Thresholds(threshold, threshold, f"the guarantee of {name} does not hold here", note)
    limit, level = (f"{100 * share:g} %" for share in (guarantee.max_error, guarantee.confidence))
    evidence = (
        f"{name} guarantees that at most {limit} of the answers are wrong, at a confidence level of {level}, "
        "in pictures of one number from the same source as those of the calibration"
    )
    return Thresholds(threshold, threshold, evidence, is_guaranteed=True)


def _of_adaptation(risk: Mapping[str, float], max_error: float) -> Thresholds:
    """Return the threshold of an adapted model; nearly all answers are refused where none was shown."""
    threshold = threshold_for_error(max_error, risk) if risk else 1.0
    limit = f"at most {100 * max_error:g} %"
    if threshold < 1:
        evidence = f"above that, {limit} of the answers to the held-out pictures of the adaptation were wrong"
        return Thresholds(threshold, threshold, evidence)
    note = (
        f"The pictures of the adaptation do not show from which confidence on {limit} of the answers are "
        "wrong, so nearly every answer is refused. Give a larger --max-error, or run digitcli calibrate."
    )
    return Thresholds(1.0, 1.0, "the adaptation has not shown a lower threshold for this --max-error", note)


def _risk(models: Sequence[ResolvedModel]) -> Mapping[str, float]:
    """Return the risk table of the only numbers of their pages.

    The errors of the default models were measured together, and the line model keeps them. The default model
    for easy pictures may be missing.
    """
    if {model.shipped_as for model in models} | {DEFAULT_OF_KIND["picture"]} != set(DEFAULT_MODELS):
        return {}
    return next(model.header.risk for model in models if model.shipped_as == DEFAULT_MODELS[0])


def _page_risk(models: Sequence[ResolvedModel]) -> Mapping[str, float]:
    """Return the risk table of numbers beside others; a reader keeps it for its page finder too."""
    readers = [model for model in models if model.header.task == "line" and not reads_pictures(model)]
    return readers[0].header.page_risk if len(readers) == 1 else {}
