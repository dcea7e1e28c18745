"""The settings of an adaptation, what it has found out, and its folder. Loads no torch."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitcli.atomic_write import faults_of, write_whole, writing_folder
from digitcli.data.dataset import Failure
from digitcli.errors import OutputError
from digitcli.evaluation.statistics import SIGNIFICANCE, mcnemar
from digitcli.inference.checkpoint import ADAPTATION_FILE, library_versions, write_checkpoint
from digitcli.recognition.readings import DEFAULT_MODELS

if TYPE_CHECKING:
    from torch import Tensor

    from digitcli.inference.checkpoint import Header

# The architecture that is adapted: it reads the ink of lines.
INK_READER = "reader"
# The parts into which the pictures are divided: a network of each learns from four fifths of them.
FOLDS = 5
# The fewest pictures that can be read. With fewer, no test can tell an improvement from chance, and each fold
# has only one or two pictures. Chosen by hand.
LEAST_PICTURES = 10
# The passes over the labelled lines, at most; cross-validation chooses their number.
EPOCHS = 12
# The epochs of which a cross-validation keeps the networks in memory, one of each fold: about 1.5 GB.
MOST_EPOCHS = 120

OF_ONE_GROUP = (
    "All pictures are of one group. The result may not hold for pictures of others, for example by other "
    "writers."
)

# The files that an adaptation writes, each network under the name of the default model that it replaces.
REPLACEABLE = {ADAPTATION_FILE, *(f"{name}.safetensors" for name in DEFAULT_MODELS)}


@dataclass(frozen=True)
class FineTuning:
    """The most epochs of fine-tuning, and the random seed."""

    epochs: int = EPOCHS
    seed: int = 0


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
class AdaptedModel:
    """The contents of the checkpoint of a network that was adapted."""

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
    adapted: the adapted network; None if the adaptation does not help.
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
    adapted: AdaptedModel | None = field(default=None, repr=False, compare=False)

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
            "epochs": choice.epochs if choice else 0,
            "share": choice.share if choice else 0.0,
            "chosen_score": dataclasses.asdict(choice.score) if choice else None,
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
            "may_be_chance": self.p_value > SIGNIFICANCE,
            "composed_before": choice.composed_before if choice else None,
            "composed_after": choice.composed_after if choice else None,
            "seconds": round(self.seconds, 1),
            "settings": dataclasses.asdict(self.settings),
            "scores": [dataclasses.asdict(score) for score in self.scores],
            "results": [dataclasses.asdict(picture) for picture in self.pictures],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
        }


def check_output(folder: Path, force: bool) -> None:
    """Check, before the work begins, that an adaptation can be written to a folder.

    `force` replaces an earlier adaptation, and nothing else: a folder with other files is kept.

    Raises:
        OutputError: the path exists and may not be replaced, or the folder around it cannot be written.
    """
    try:
        _check_replaceable(folder)
        if folder.is_dir() and any(folder.iterdir()) and not force:
            remedy = "Name another folder, or replace it with --force."
            raise OutputError(f"{folder} exists already.", remedy)
        with tempfile.TemporaryDirectory(dir=_real(folder).parent):
            pass
    except (OSError, ValueError) as error:
        cause = f"{folder} cannot be written: {getattr(error, 'strerror', None) or error}."
        raise OutputError(cause, "Name a folder in one that exists and can be written.") from error


def save_adaptation(adaptation: Adaptation, folder: Path) -> None:
    """Write the network of an adaptation and `adaptation.json` to a folder.

    They replace an earlier adaptation, and nothing else.

    Raises:
        ValueError: the adaptation has no network.
        OutputError: the folder holds other files or cannot be written, or the disk is full; what is in it
            stays.
    """
    adapted, name = adaptation.adapted, f"{INK_READER}.safetensors"
    if adapted is None:
        raise ValueError("the adaptation has no network")
    record = {"models": [name], **adaptation.record(), "versions": library_versions()}
    with faults_of(folder), writing_folder(_real(folder)) as written:
        write_checkpoint(written / name, adapted.header, adapted.tensors)
        write_whole(written / ADAPTATION_FILE, (json.dumps(record, indent=1) + "\n").encode())
        _check_replaceable(folder)  # files may have been added while the network was trained


def _check_replaceable(folder: Path) -> None:
    """Check that a path is free, or a folder with nothing in it but an earlier adaptation.

    Raises:
        OutputError: it is not.
        OSError: the folder cannot be read.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder.", "Name a folder.")
    present = {path.name for path in folder.iterdir()}
    others = sorted(present - REPLACEABLE)
    if others or (present and ADAPTATION_FILE not in present):
        example = min(others or present)
        cause = f"{folder} holds other files than those of an adaptation, for example {example}."
        raise OutputError(cause, "Name another folder.")


def _real(folder: Path) -> Path:
    """Return the folder behind links, which is replaced in place of the link."""
    return Path(os.path.realpath(folder))
