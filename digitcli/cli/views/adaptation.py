"""Draw the progress of an adaptation, and describe its result in words and figures."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from digitcli import console
from digitcli.adaptation.results import Adaptation, ClassifierResult
from digitcli.adaptation.self_training_results import SelfTraining
from digitcli.cli.views.progress import CountingBar
from digitcli.evaluation.statistics import SIGNIFICANCE, describe_p
from digitcli.events import AdaptationStage, Event, StageProgress

STEPS_PER_NOTICE = 200  # between two progress lines where no progress bar can be drawn
NO_EPOCHS = "No number of epochs makes the labels of pictures that are not learned from likelier than before."
FORGETS_TOO_MUCH = "The adaptation would make the reader forget too much of what it reads in other pictures."


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
    if result.choice is not None or result.classifier is not None:
        rows |= {
            "after": f"{_answers(result.right_after, result.wrong_after, n)}, each by networks that were not "
            "trained on it",
            "difference": _difference(result.gained, result.lost, result.p_value),
        }
    rows |= _describe_reader(result)
    if result.classifier is not None:
        rows |= _describe_classifier(result.classifier)
    rows["result"] = _verdict(result)
    if result.divides_group:
        rows["groups"] = (
            "All pictures are of one group. The result may not hold for pictures of others, for example by "
            "other writers."
        )
    if output is not None:
        rows["use"] = f"digitcli predict PICTURES -m {output}"
        rows["guarantee"] = (
            f"digitcli calibrate OTHER-PICTURES -m {output} --max-error 0.01, with labelled pictures that "
            "were not used here"
        )
    return rows


def _pictures(result: Adaptation) -> str:
    text = f"{len(result.pictures):,} in {console.counted(result.groups, 'group')}"
    if result.unused:
        text += f"; in {result.unused:,} it cannot be told where the text stands, and nothing was learned"
    return text


def _answers(right: int, wrong: int, n: int) -> str:
    return f"{right:,} of {n:,} read rightly ({console.percent(right / n)}), {wrong:,} answered wrongly"


def _difference(gained: int, lost: int, p_value: float) -> str:
    return (
        f"{console.counted(gained, 'picture')} gained, {lost:,} lost; the probability of that by chance is "
        f"{describe_p(p_value)}"
    )


def _describe_reader(result: Adaptation) -> dict[str, str]:
    """Return the rows about the network that reads lines."""
    choice, before = result.choice, result.scores[0]
    if choice is None:
        why = f"{_why_no_choice(result)} The network that reads lines stays as it was."
        return {"lines": why} if result.classifier else {}
    rows = {
        "lines": f"of {result.lines:,} held-out lines, {console.percent(before.exact_match)} read rightly "
        f"before, {console.percent(choice.score.exact_match)} after",
        "epochs": f"{choice.epochs}, chosen from 0 to {len(result.scores) - 1} by {result.folds} folds",
        "forgetting": f"of 1,000 composed lines, {console.percent(choice.composed_before)} read rightly "
        f"before, {console.percent(choice.composed_after)} after",
    }
    if choice.share < 1:
        rows["weights"] = _moved_back(choice.share)
    if result.helps and not result.keeps_reader:
        rows["lines"] += "; not kept, because no more pictures are read rightly with it"
    return rows


def _describe_classifier(classifier: ClassifierResult) -> dict[str, str]:
    """Return the rows about the classifier of single digits."""
    rows = {
        "digits": f"of {classifier.digits:,} held-out digits, "
        f"{console.percent(classifier.accuracy_before)} read rightly before, "
        f"{console.percent(classifier.accuracy_after)} after by the classifier of single digits",
        "classifier": f"{_difference(classifier.gained, classifier.lost, classifier.p_value)}; "
        f"{_why_kept(classifier)}",
    }
    if classifier.mnist_before is not None and classifier.mnist_after is not None:
        rows["MNIST"] = (
            f"of 10,000 test digits, {console.percent(classifier.mnist_before)} read rightly before, "
            f"{console.percent(classifier.mnist_after)} after"
        )
    return rows


def _why_kept(classifier: ClassifierResult) -> str:
    if classifier.is_kept:
        return "kept"
    if classifier.forgets_too_much:
        return "not kept, because it forgets too many digits of MNIST"
    return "not kept, because no more pictures are read rightly with it"


def _why_no_choice(result: Adaptation) -> str:
    if min(result.scores, key=lambda score: score.nll).epochs:
        return FORGETS_TOO_MUCH
    return NO_EPOCHS


def _verdict(result: Adaptation) -> str:
    if result.choice is None and result.classifier is None:
        return _why_no_choice(result)
    if not result.helps:
        return "No more pictures are read rightly than before."
    if result.may_be_chance:
        return "More pictures are read rightly than before, but this may be chance."
    return "More pictures are read rightly than before, and this is hardly chance."


def describe_self_training(result: SelfTraining, output: Path | None) -> dict[str, str]:
    """Return the rows of a table."""
    rows = {
        "model": result.model,
        "pictures": f"{len(result.unlabelled):,} without a label, {len(result.labelled):,} with one",
        "confident": f"{result.answered_before:,} of those without a label are read with a confidence of "
        f"{result.threshold:.3f} or more ({result.page_threshold:.3f} where the page was searched): "
        f"{result.evidence}",
        "learned": f"{result.lines:,} lines of {result.learned:,} of these, read alike in every crop",
    }
    if result.composed_after is not None:
        rows |= _changes(result)
    rows["result"] = _verdict_of_self_training(result)
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
        "changed": f"{result.changed:,} pictures without a label are read differently now; "
        f"{result.newly_answered:,} are newly above the threshold, {result.no_longer_answered:,} no longer",
        "forgetting": f"of 1,000 composed lines, {console.percent(result.composed_before)} read rightly "
        f"before, {console.percent(result.composed_after)} after",
    }
    if result.share < 1:
        rows["weights"] = _moved_back(result.share)
    if result.p_value is not None:
        rows["labelled"] = (
            f"of {console.counted(len(result.labelled), 'picture')}, which were not learned from, "
            f"{result.right_before:,} read rightly before, {result.right_after:,} after: {result.gained:,} "
            f"gained, {result.lost:,} lost; the probability of that by chance is {describe_p(result.p_value)}"
        )
        rows["wrong"] = (
            f"of the labelled pictures, {result.wrong_before:,} answered wrongly above the threshold before, "
            f"{result.wrong_after:,} after"
        )
    return rows


def _verdict_of_self_training(result: SelfTraining) -> str:
    if result.forgets:
        return FORGETS_TOO_MUCH
    if not result.epochs:
        return NO_EPOCHS
    if result.helps is None or result.p_value is None:
        return (
            "Nothing tells whether this helps, because no picture has a label. Label some pictures, and run "
            "it again: they are not learned from."
        )
    if result.is_worse:
        return "Fewer labelled pictures are read rightly than before."
    if not result.helps:
        return "As many labelled pictures are read rightly as before; it is not shown that this helps."
    chance = "but this may be chance" if result.p_value > SIGNIFICANCE else "and this is hardly chance"
    return f"More labelled pictures are read rightly than before, {chance}."


def _moved_back(share: float) -> str:
    return (
        f"{share:g} of the way from the weights before the training to those after it, which forget too much"
    )
