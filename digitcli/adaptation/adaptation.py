"""The settings of an adaptation, what it has found out, and its folder. Loads no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitcli.atomic_write import check_writable_folder, write_whole, writing_folder
from digitcli.data.dataset import Failure
from digitcli.errors import UsageError
from digitcli.evaluation.statistics import SIGNIFICANCE, mcnemar
from digitcli.inference.checkpoint import ADAPTATION_FILE, library_versions, write_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from digitcli.inference.checkpoint import Header

# The architecture that is adapted: it reads the ink of lines.
READER = "reader"
# The passes over the labelled lines, at most; cross-validation chooses their number.
EPOCHS = 12
# The epochs of which a cross-validation keeps the networks in memory, one of each fold: about 1.5 GB.
MOST_EPOCHS = 120

OF_ONE_GROUP = (
    "All pictures are of one group. The result may not hold for pictures of others, for example by other "
    "writers."
)

NETWORK_FILE = f"{READER}.safetensors"
FILES = (ADAPTATION_FILE, NETWORK_FILE)  # in the folder of an adaptation
# The figures of `Adaptation` that its record has under the same name.
FIGURES = (
    "folder", "model", "digest", "unlabelled", "unused", "lines", "groups", "divides_group", "folds",
    "right_before", "right_after", "wrong_before", "wrong_after", "gained", "lost", "p_value", "helps",
)  # fmt: skip


@dataclass(frozen=True)
class FineTuning:
    """The most epochs of fine-tuning, and the random seed.

    Raises:
        UsageError: the number of epochs is out of range.
    """

    epochs: int = EPOCHS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= MOST_EPOCHS:
            raise UsageError(f"--epochs is {self.epochs}.", f"It must be from 1 to {MOST_EPOCHS}.")


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

    fold: the number of its fold, from 0 on.
    lines: the number of its lines that were learned from.
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
    composed_before, composed_after: the share of synthetic lines that are read correctly before and after.
    score: how well the held-out lines are read by the networks of the folds, after as many epochs and at the
        same share.
    """

    epochs: int
    share: float
    composed_before: float
    composed_after: float
    score: EpochScore


@dataclass(frozen=True)
class Adaptation:
    """What labelled pictures show about an adaptation to them.

    model: the ids of the models of the reader before the adaptation.
    digest: the SHA-256 of the pictures and their labels.
    unlabelled: the number of pictures in the folder that have no label.
    failures: the labelled pictures that are copies of others, have no usable label or cannot be read.
    divides_group: whether all pictures are of one group, so that the folds are not independent.
    scores: the scores of the held-out lines by the number of epochs.
    choice: how the final network was chosen; None if no training makes the labels likelier, or all make the
        network forget too much.
    adapted: the header and the weights of the adapted network; None if the adaptation does not help.
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
    settings: FineTuning
    seconds: float
    adapted: tuple[Header, Mapping[str, Tensor]] | None = field(default=None, repr=False, compare=False)

    @property
    def right_before(self) -> int:
        """The number of pictures that are read correctly before the adaptation."""
        return sum(picture.right_before for picture in self.pictures)

    @property
    def right_after(self) -> int:
        """The number of pictures that are read correctly by a network that was not trained on them."""
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
        """The number of pictures that are read correctly only after the adaptation."""
        return sum(each.right_after and not each.right_before for each in self.pictures)

    @property
    def lost(self) -> int:
        """The number of pictures that are read correctly only before it."""
        return self.right_before + self.gained - self.right_after

    @property
    def p_value(self) -> float:
        """The probability of such a difference by chance, by the exact test of McNemar."""
        return mcnemar(self.lost, self.gained)

    @property
    def helps(self) -> bool:
        """Whether more pictures are read correctly after the adaptation."""
        return self.gained > self.lost

    @property
    def verdict(self) -> str:
        """A sentence that tells whether the adaptation helps."""
        if self.choice is None and min(self.scores, key=lambda score: score.nll).epochs:
            return "The adaptation would make the reader forget too much of what it reads in other pictures."
        if self.choice is None:
            return "No training makes the labels likelier, so the reader stays as it is."
        if not self.helps:
            return "No more pictures are read correctly than before."
        chance = "but this may be chance" if self.p_value > SIGNIFICANCE else "and this is hardly chance"
        return f"More pictures are read correctly than before, {chance}."

    @property
    def unused(self) -> int:
        """The number of pictures that gave no line to learn from."""
        return sum(not picture.lines for picture in self.pictures)

    def record(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        n, choice = len(self.pictures), self.choice
        return {name: getattr(self, name) for name in FIGURES} | {
            "pictures": n,
            "left_out": len(self.failures),
            "epochs": choice.epochs if choice else 0,
            "share": choice.share if choice else 0.0,
            "chosen_score": dataclasses.asdict(choice.score) if choice else None,
            "accuracy_before": self.right_before / n,
            "accuracy_after": self.right_after / n,
            "may_be_chance": self.p_value > SIGNIFICANCE,
            "composed_before": choice.composed_before if choice else None,
            "composed_after": choice.composed_after if choice else None,
            "seconds": round(self.seconds, 1),
            "settings": dataclasses.asdict(self.settings),
            "scores": list(map(dataclasses.asdict, self.scores)),
            "results": list(map(dataclasses.asdict, self.pictures)),
            "failures": list(map(dataclasses.asdict, self.failures)),
        }


def save_adaptation(adaptation: Adaptation, folder: Path) -> None:
    """Write the network of an adaptation and `adaptation.json` to a folder.

    They replace an earlier adaptation, and nothing else.

    Raises:
        ValueError: the adaptation has no network.
        OutputError: the folder holds other files or cannot be written, or the disk is full; what is in it
            stays.
    """
    if adaptation.adapted is None:
        raise ValueError("the adaptation has no network")
    record = {"models": [NETWORK_FILE], **adaptation.record(), "versions": library_versions()}
    with writing_folder(folder) as written:
        write_checkpoint(written / NETWORK_FILE, *adaptation.adapted)
        write_whole(written / ADAPTATION_FILE, (json.dumps(record, indent=1) + "\n").encode())
        check_writable_folder(folder, FILES, force=True)  # files may have been added during the training
