"""What self-training has changed, and the models that came out of it. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from digitcli.adaptation.results import FORGETS_TOO_MUCH, AdaptedModel
from digitcli.data.dataset import Failure
from digitcli.evaluation.statistics import SIGNIFICANCE, mcnemar

NO_EPOCHS = "No number of epochs makes the labels of pictures that are not learned from likelier than before."


@dataclass(frozen=True)
class PictureReadTwice:
    """What is read in a picture before and after the self-training.

    file: the name of the picture, which is a path from the folder.
    label: the digits that the table gives; None for a picture without a label.
    lines: the number of its lines that were learned from.
    text_before, text_after: the digits that are read, with the best guess where the reader is not sure.
    confidence_before, confidence_after: the confidence that all of the text is right.
    answered_before, answered_after: whether every number is read with a confidence above the threshold.
    """

    file: str
    label: str | None
    lines: int
    text_before: str | None
    text_after: str | None
    confidence_before: float | None
    confidence_after: float | None
    answered_before: bool
    answered_after: bool

    @property
    def right_before(self) -> bool:
        """Whether all digits of a labelled picture were right."""
        return self.text_before == self.label

    @property
    def right_after(self) -> bool:
        """Whether all digits of a labelled picture are right."""
        return self.text_after == self.label


@dataclass(frozen=True)
class SelfTraining:
    """What the self-training of a reader has changed.

    folder: the folder of the pictures.
    model: the ids of the models of the reader before the self-training.
    digest: the SHA-256 of the pictures and the labels.
    pictures: what is read in all pictures that can be read; those with a label are never learned from.
    failures: the pictures that cannot be read.
    threshold, page_threshold: the confidence from which on the only number of a page, and one beside
        others, became a target.
    evidence: what is known about readings above the thresholds, as the end of a sentence.
    epochs: the number of passes over the lines; 0 if none of them makes the labels likelier, or if the
        training would make the network forget too much.
    most_epochs: the most passes, of which the labelled pictures chose; None if the number was given.
    forgets: whether the training would make the network forget too much.
    share: how far the weights are from those before the training towards those after it, from 0 to 1.
    composed_before, composed_after: the share of composed lines that are read rightly before and after; None
        if there is no network.
    settings: the settings of the training.
    seconds: how long it took.
    models: the adapted networks; empty if no epoch makes the labels likelier, if fewer labelled pictures are
        read rightly than before, or if the network forgets too much.
    """

    folder: str
    model: str
    digest: str
    pictures: tuple[PictureReadTwice, ...]
    failures: tuple[Failure, ...]
    threshold: float
    page_threshold: float
    evidence: str
    epochs: int
    most_epochs: int | None
    forgets: bool
    share: float
    composed_before: float | None
    composed_after: float | None
    settings: Mapping[str, Any]
    seconds: float
    models: tuple[AdaptedModel, ...] = field(default=(), repr=False, compare=False)

    @property
    def unlabelled(self) -> list[PictureReadTwice]:
        """The pictures without a label."""
        return [picture for picture in self.pictures if picture.label is None]

    @property
    def labelled(self) -> list[PictureReadTwice]:
        """The pictures with a label."""
        return [picture for picture in self.pictures if picture.label is not None]

    @property
    def learned(self) -> int:
        """The number of pictures that were learned from."""
        return sum(picture.lines > 0 for picture in self.pictures)

    @property
    def lines(self) -> int:
        """The number of lines that were learned from."""
        return sum(picture.lines for picture in self.pictures)

    @property
    def changed(self) -> int:
        """The number of pictures without a label that are read differently afterwards."""
        return sum(picture.text_before != picture.text_after for picture in self.unlabelled)

    @property
    def answered_before(self) -> int:
        """The number of pictures without a label that were read confidently before."""
        return sum(picture.answered_before for picture in self.unlabelled)

    @property
    def newly_answered(self) -> int:
        """The number of pictures without a label that are read confidently only afterwards."""
        return sum(each.answered_after and not each.answered_before for each in self.unlabelled)

    @property
    def no_longer_answered(self) -> int:
        """The number of pictures without a label that were read confidently only before."""
        return sum(each.answered_before and not each.answered_after for each in self.unlabelled)

    @property
    def right_before(self) -> int | None:
        """The number of labelled pictures that are read rightly before; None if there are none."""
        return sum(picture.right_before for picture in self.labelled) if self.labelled else None

    @property
    def right_after(self) -> int | None:
        """The number of labelled pictures that are read rightly afterwards; None if there are none."""
        return sum(picture.right_after for picture in self.labelled) if self.labelled else None

    @property
    def gained(self) -> int:
        """The number of labelled pictures that are read rightly only afterwards."""
        return sum(each.right_after and not each.right_before for each in self.labelled)

    @property
    def lost(self) -> int:
        """The number of labelled pictures that are read rightly only before."""
        return sum(each.right_before and not each.right_after for each in self.labelled)

    @property
    def wrong_before(self) -> int | None:
        """The number of wrong answers above the threshold to labelled pictures before; None without any."""
        wrong = sum(each.answered_before and not each.right_before for each in self.labelled)
        return wrong if self.labelled else None

    @property
    def wrong_after(self) -> int | None:
        """The number of wrong answers above the threshold to labelled pictures after; None without any."""
        wrong = sum(each.answered_after and not each.right_after for each in self.labelled)
        return wrong if self.labelled else None

    @property
    def p_value(self) -> float | None:
        """The probability of such a difference by chance, by the exact test of McNemar."""
        return mcnemar(self.lost, self.gained) if self.labelled else None

    @property
    def helps(self) -> bool | None:
        """Whether more labelled pictures are read rightly afterwards; None without labelled pictures."""
        return self.gained > self.lost if self.labelled else None

    @property
    def is_worse(self) -> bool:
        """Whether fewer labelled pictures are read rightly afterwards."""
        return self.lost > self.gained

    def record(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        return {
            "folder": self.folder,
            "model": self.model,
            "digest": self.digest,
            "pictures": len(self.unlabelled),
            "labelled": len(self.labelled),
            "unreadable": len(self.failures),
            "threshold": self.threshold,
            "page_threshold": self.page_threshold,
            "evidence": self.evidence,
            "answered_before": self.answered_before,
            "learned": self.learned,
            "lines": self.lines,
            "epochs": self.epochs,
            "most_epochs": self.most_epochs,
            "forgets": self.forgets,
            "share": self.share,
            "changed": self.changed,
            "newly_answered": self.newly_answered,
            "no_longer_answered": self.no_longer_answered,
            "right_before": self.right_before,
            "right_after": self.right_after,
            "wrong_before": self.wrong_before,
            "wrong_after": self.wrong_after,
            "gained": self.gained if self.labelled else None,
            "lost": self.lost if self.labelled else None,
            "p_value": self.p_value,
            "helps": self.helps,
            "composed_before": self.composed_before,
            "composed_after": self.composed_after,
            "seconds": round(self.seconds, 1),
            "settings": dict(self.settings),
            "results": [dataclasses.asdict(picture) for picture in self.pictures],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
        }


def describe_help_of_self_training(
    epochs: int, forgets: bool, gained: int, lost: int, p_value: float | None
) -> str:
    """Return a sentence that tells whether a self-training helps.

    epochs, forgets: those of a `SelfTraining`.
    gained, lost: the labelled pictures that are read rightly only afterwards, and only before.
    p_value: the probability of that by chance; None without labelled pictures.
    """
    if forgets:
        return FORGETS_TOO_MUCH
    if not epochs:
        return NO_EPOCHS
    if p_value is None:
        return (
            "Nothing tells whether this helps, because no picture has a label. Label some pictures, and run "
            "it again: they are not learned from."
        )
    if lost > gained:
        return "Fewer labelled pictures are read rightly than before."
    if lost == gained:
        return "As many labelled pictures are read rightly as before; it is not shown that this helps."
    chance = "but this may be chance" if p_value > SIGNIFICANCE else "and this is hardly chance"
    return f"More labelled pictures are read rightly than before, {chance}."
