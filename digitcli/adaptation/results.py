"""What an adaptation has found out, and the models that came out of it. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from digitcli.data.dataset import Failure
from digitcli.evaluation.statistics import SIGNIFICANCE, mcnemar

if TYPE_CHECKING:
    from torch import Tensor

    from digitcli.inference.checkpoint import Header


FORGETS_TOO_MUCH = "The adaptation would make the reader forget too much of what it reads in other pictures."
OF_ONE_GROUP = (
    "All pictures are of one group. The result may not hold for pictures of others, for example by other "
    "writers."
)


@dataclass(frozen=True)
class EpochScore:
    """How well the held-out lines are read after some epochs, over all folds.

    epochs: the number of epochs; 0 is the network before the adaptation.
    nll: the mean negative log-likelihood of the digits of a line at this temperature, in nats.
    exact_match: the share of lines whose digits are all right, from 0 to 1.
    temperature: the divisor of the logits that makes the negative log-likelihood lowest.
    """

    epochs: int
    nll: float
    exact_match: float
    temperature: float


@dataclass(frozen=True)
class PictureResult:
    """What is read in a labelled picture before and after the adaptation.

    After it, the picture is read by the network of its fold, which was not trained on it.

    file: the name of the picture in the table.
    fold: the number of its fold, from 0 on.
    lines: the number of its lines that were learned from.
    right_before, right_after: whether all digits are right.
    confidence_before, confidence_after: the confidence of the answer; None without an answer.
    """

    file: str
    fold: int
    lines: int
    right_before: bool
    right_after: bool
    confidence_before: float | None
    confidence_after: float | None


@dataclass(frozen=True)
class Choice:
    """How the final network was chosen.

    epochs: the number of epochs.
    share: how far its weights are from those before the training towards those after it, from 0 to 1.
    composed_before, composed_after: the share of composed lines that are read rightly before and after.
    score: how well the held-out lines are read by the networks of the folds, after as many epochs and at the
        same share.
    """

    epochs: int
    share: float
    composed_before: float
    composed_after: float
    score: EpochScore


@dataclass(frozen=True)
class AdaptedModel:
    """A network that was adapted.

    name: the name of its file without the suffix.
    header, tensors: the contents of its checkpoint.
    """

    name: str
    header: Header
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Adaptation:
    """What labelled pictures show about an adaptation to them.

    folder: the folder of the pictures.
    model: the ids of the models of the reader before the adaptation.
    digest: the SHA-256 of the pictures and their labels.
    pictures: the results of all labelled pictures that can be read.
    unlabelled: the number of pictures in the folder that have no label.
    failures: the labelled pictures that are copies of others, have no usable label or cannot be read.
    lines: the number of lines to learn from.
    groups: the number of groups of pictures.
    divides_group: whether all pictures are of one group, so that the folds are not independent.
    folds: the number of folds.
    scores: the scores of the held-out lines by the number of epochs.
    choice: how the final network was chosen; None if no training makes the labels likelier, or all make the
        network forget too much.
    settings: the settings of the training.
    seconds: how long the adaptation took.
    models: the adapted network; empty if the adaptation does not help.
    """

    folder: str
    model: str
    digest: str
    pictures: tuple[PictureResult, ...]
    unlabelled: int
    failures: tuple[Failure, ...]
    lines: int
    groups: int
    divides_group: bool
    folds: int
    scores: tuple[EpochScore, ...]
    choice: Choice | None
    settings: Mapping[str, Any]
    seconds: float
    models: tuple[AdaptedModel, ...] = field(default=(), repr=False, compare=False)

    @property
    def right_before(self) -> int:
        """The number of pictures that are read rightly before the adaptation."""
        return sum(picture.right_before for picture in self.pictures)

    @property
    def right_after(self) -> int:
        """The number of pictures that are read rightly by a network that was not trained on them."""
        return sum(picture.right_after for picture in self.pictures)

    @property
    def wrong_before(self) -> int:
        """The number of wrong answers before the adaptation."""
        return sum(not each.right_before and each.confidence_before is not None for each in self.pictures)

    @property
    def wrong_after(self) -> int:
        """The number of wrong answers after it."""
        return sum(not each.right_after and each.confidence_after is not None for each in self.pictures)

    @property
    def gained(self) -> int:
        """The number of pictures that are read rightly only after the adaptation."""
        return sum(each.right_after and not each.right_before for each in self.pictures)

    @property
    def lost(self) -> int:
        """The number of pictures that are read rightly only before it."""
        return sum(each.right_before and not each.right_after for each in self.pictures)

    @property
    def p_value(self) -> float:
        """The probability of such a difference by chance, by the exact test of McNemar."""
        return mcnemar(self.lost, self.gained)

    @property
    def helps(self) -> bool:
        """Whether more pictures are read rightly after the adaptation."""
        return self.right_after > self.right_before

    @property
    def may_be_chance(self) -> bool:
        """Whether the difference may be chance."""
        return self.p_value > SIGNIFICANCE

    @property
    def unused(self) -> int:
        """The number of pictures that gave no line to learn from."""
        return sum(not picture.lines for picture in self.pictures)

    def record(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        n = len(self.pictures)
        return {
            "folder": self.folder,
            "model": self.model,
            "digest": self.digest,
            "pictures": n,
            "unlabelled": self.unlabelled,
            "left_out": len(self.failures),
            "unused": self.unused,
            "lines": self.lines,
            "groups": self.groups,
            "divides_group": self.divides_group,
            "folds": self.folds,
            "epochs": self.choice.epochs if self.choice else 0,
            "share": self.choice.share if self.choice else 0.0,
            "chosen_score": dataclasses.asdict(self.choice.score) if self.choice else None,
            "right_before": self.right_before,
            "right_after": self.right_after,
            "accuracy_before": self.right_before / n,
            "accuracy_after": self.right_after / n,
            "wrong_before": self.wrong_before,
            "wrong_after": self.wrong_after,
            "gained": self.gained,
            "lost": self.lost,
            "p_value": self.p_value,
            "helps": self.helps,
            "may_be_chance": self.may_be_chance,
            "composed_before": self.choice.composed_before if self.choice else None,
            "composed_after": self.choice.composed_after if self.choice else None,
            "seconds": round(self.seconds, 1),
            "settings": dict(self.settings),
            "scores": [dataclasses.asdict(score) for score in self.scores],
            "results": [dataclasses.asdict(picture) for picture in self.pictures],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
        }


def describe_help(helps: bool, may_be_chance: bool) -> str:
    """Return a sentence that tells whether an adaptation to labelled pictures helps."""
    if not helps:
        return "No more pictures are read rightly than before."
    if may_be_chance:
        return "More pictures are read rightly than before, but this may be chance."
    return "More pictures are read rightly than before, and this is hardly chance."
