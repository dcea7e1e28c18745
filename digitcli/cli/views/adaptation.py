"""Draw the progress of an adaptation, and describe its result in words and figures."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from digitcli import console
from digitcli.adaptation.results import (
    FORGETS_TOO_MUCH,
    OF_ONE_GROUP,
    Adaptation,
    describe_help,
)
from digitcli.adaptation.self_training_results import (
    NO_EPOCHS,
    SelfTraining,
    describe_help_of_self_training,
)
from digitcli.cli.views.progress import CountingBar
from digitcli.errors import counted
from digitcli.evaluation.statistics import describe_p
from digitcli.events import AdaptationStage, Event, StageProgress

STEPS_PER_NOTICE = 200  # between two progress lines where no progress bar can be drawn


class StagesView:
    """A bar for each stage of an adaptation, one after the other; used as a callback for events."""

    def __init__(self) -> None:
        self.stage: AdaptationStage | None = None
        self.bar: CountingBar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        if not isinstance(event, StageProgress):
            return
        if event.stage is not self.stage:
            self.__exit__(None, None, None)
            self.stage, self.bar = event.stage, CountingBar(event.stage.value, STEPS_PER_NOTICE).__enter__()
        assert self.bar is not None
        self.bar.show(event.done, event.n)


def describe(result: Adaptation, output: Path | None) -> dict[str, str]:
    """Return the rows of a table."""
    n = len(result.pictures)
    rows = {
        "model": result.model,
        "pictures": _pictures(result),
        "before": _answers(result.right_before, result.wrong_before, n),
    }
    if result.choice is not None:
        rows |= {
            "after": f"{_answers(result.right_after, result.wrong_after, n)}, each by networks that were not "
            "trained on it",
            "difference": _difference(result.gained, result.lost, result.p_value),
        }
    rows |= _describe_reader(result)
    rows["result"] = _verdict(result)
    if result.divides_group:
        rows["groups"] = OF_ONE_GROUP
    if output is not None:
        rows["use"] = f"digitcli predict PICTURES -m {output}"
        rows["guarantee"] = (
            f"digitcli calibrate OTHER-PICTURES -m {output} --max-error 0.01, with labelled pictures that "
            "were not used here"
        )
    return rows


def _pictures(result: Adaptation) -> str:
    text = f"{len(result.pictures):,} in {counted(result.groups, 'group')}"
    if result.unused:
        text += f"; in {result.unused:,} it cannot be told where the text stands, and nothing was learned"
    return text


def _answers(right: int, wrong: int, n: int) -> str:
    return f"{right:,} of {n:,} read rightly ({console.percent(right / n)}), {wrong:,} answered wrongly"


def _difference(gained: int, lost: int, p_value: float) -> str:
    return (
        f"{counted(gained, 'picture')} gained, {lost:,} lost; the probability of that by chance is "
        f"{describe_p(p_value)}"
    )


def _describe_reader(result: Adaptation) -> dict[str, str]:
    """Return the rows about the network that reads lines."""
    choice, before = result.choice, result.scores[0]
    if choice is None:
        return {}
    rows = {
        "lines": f"of {result.lines:,} held-out lines, {console.percent(before.exact_match)} read rightly "
        f"before, {console.percent(choice.score.exact_match)} after",
        "epochs": f"{choice.epochs}, chosen from 0 to {len(result.scores) - 1} by {result.folds} folds",
        "forgetting": f"of 1,000 composed lines, {console.percent(choice.composed_before)} read rightly "
        f"before, {console.percent(choice.composed_after)} after",
    }
    if choice.share < 1:
        rows["weights"] = _moved_back(choice.share)
    return rows


def _why_no_choice(result: Adaptation) -> str:
    if min(result.scores, key=lambda score: score.nll).epochs:
        return FORGETS_TOO_MUCH
    return NO_EPOCHS


def _verdict(result: Adaptation) -> str:
    if result.choice is None:
        return _why_no_choice(result)
    return describe_help(result.helps, result.may_be_chance)


def describe_self_training(result: SelfTraining, output: Path | None) -> dict[str, str]:
    """Return the rows of a table."""
    rows = {
        "model": result.model,
        "pictures": f"{len(result.unlabelled):,} without a label, {len(result.labelled):,} with one",
        "confident": f"{result.answered_before:,} of those without a label are read with a confidence of "
        f"{result.threshold:.3f} or more ({result.page_threshold:.3f} beside other numbers): "
        f"{result.evidence}",
        "learned": f"{counted(result.lines, 'line')} of {result.learned:,} of these, read alike in every "
        "crop",
    }
    if result.composed_after is not None:
        rows |= _changes(result)
    rows["result"] = describe_help_of_self_training(
        result.epochs, result.forgets, result.gained, result.lost, result.p_value
    )
    if (result.wrong_after or 0) > (result.wrong_before or 0):
        rows["caution"] = "The reader is sure of more wrong answers than before: trust its confidence less."
    if output is not None:
        rows["use"] = f"digitcli predict PICTURES -m {output}"
    return rows


def _changes(result: SelfTraining) -> dict[str, str]:
    rows = {
        "epochs": f"{result.epochs}, a fixed number"
        if result.most_epochs is None
        else f"{result.epochs}, chosen from 0 to {result.most_epochs} by the labelled pictures",
        "changed": f"of those without a label, {result.changed:,} read differently now; "
        f"{result.newly_answered:,} newly above the threshold, {result.no_longer_answered:,} no longer",
        "forgetting": f"of 1,000 composed lines, {console.percent(result.composed_before)} read rightly "
        f"before, {console.percent(result.composed_after)} after",
    }
    if result.share < 1:
        rows["weights"] = _moved_back(result.share)
    if result.p_value is not None:
        rows["labelled"] = (
            f"of {counted(len(result.labelled), 'picture')}, which were not learned from, "
            f"{result.right_before:,} read rightly before, {result.right_after:,} after: {result.gained:,} "
            f"gained, {result.lost:,} lost; the probability of that by chance is {describe_p(result.p_value)}"
        )
        rows["wrong"] = (
            f"of the labelled pictures, {result.wrong_before:,} answered wrongly above the threshold before, "
            f"{result.wrong_after:,} after"
        )
    return rows


def _moved_back(share: float) -> str:
    return (
        f"{share:g} of the way from the weights before the training to those after it, which forget too much"
    )
