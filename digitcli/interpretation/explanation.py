"""The explanation of one answer: of a single digit, or of one digit of a line. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from digitcli.strip_format import STRIP_PAPER

Method = Literal[
    "integrated-gradients",
    "saliency",
    "smoothgrad",
    "occlusion",
    "prototype",
    "feature-maps",
    "filters",
]
# Methods whose attributions have no sign: they tell how much a pixel matters, not for which digit it speaks.
UNSIGNED = frozenset({"saliency", "smoothgrad"})
# Methods of the panel that is shown without a choice: of a digit, and of a line.
PANEL: tuple[Method, ...] = ("occlusion", "prototype")
LINE_PANEL: tuple[Method, ...] = ("occlusion",)
# Decimals of numbers in records.
DECIMALS = 6


@dataclass(frozen=True)
class Attribution:
    """How much each pixel speaks for a digit, float32 (H, W), or for it and against another one.

    score: what the values explain: the logit of `digit`, or its lead over that of `against`.
    baseline: the same for empty paper; integrated gradients add up to `score` - `baseline`.
    """

    method: Method
    digit: int
    against: int | None
    score: float
    baseline: float
    values: npt.NDArray[np.float32]

    @property
    def name(self) -> str:
        """Its name among arrays, for example `occlusion/4-9`."""
        name = f"{self.method}/{self.digit}"
        return name if self.against is None else f"{name}-{self.against}"

    @property
    def meaning(self) -> str:
        """What red shows in its picture, for example `speaks for 4, not 9`."""
        verb = "matters" if self.method in UNSIGNED else "speaks"
        return f"{verb} for {self.digit}{'' if self.against is None else f', not {self.against}'}"


@dataclass(frozen=True)
class Neighbour:
    """A training digit that the network sees as similar.

    index: its number among the 60,000 published training digits.
    distance: the Euclidean distance of the inputs of the last layer, where 1 is the mean distance of two
        training digits.
    """

    index: int
    label: int
    distance: float
    image: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Change:
    """An image that is read as another digit, close to the one that is explained: a counterfactual.

    image: the changed image, uint8 (28, 28).
    before, after: the probability of the other digit.
    added, erased: the ink, in pixels of full ink.
    largest: the largest change of a pixel, where 1 is full ink.
    """

    digit: int
    image: npt.NDArray[np.uint8]
    before: float
    after: float
    added: float
    erased: float
    largest: float


@dataclass(frozen=True)
class Layer:
    """What a layer answers to an image, or its weights: float32 (N, H, W), one map or filter each."""

    name: str
    kind: str
    maps: npt.NDArray[np.float32]

    @property
    def array_name(self) -> str:
        """Its name among arrays, for example `feature-maps/4`."""
        return f"{'filters' if self.kind == 'filters' else 'feature-maps'}/{self.name}"


@dataclass(frozen=True)
class Explanation:
    """Why a model answers a digit: that of a picture of one digit, or one digit of a line.

    image: what the network sees, uint8: ink 255 on paper 0, (28, 28) or for a line (40, W), or a strip,
        (3, 40, W), see `imaging.network_inputs`.
    probabilities: of the ten digits, from the calibrated logits; in a line, of those at its place, and of a
        blank, which is no digit.
    attributions: in a line, those against no other digit compare the digit with a blank in its place.
    layers: the feature maps, layer by layer, or the filters of the first layer.
    notes: what could not be computed, a sentence each.
    text, confidence: the digits that a model of lines reads, without marks, and the probability of this text;
        None for a single digit. If the text is empty, no digit is explained.
    position: the place of the explained digit in the text, counted from 1; 0 if there is none.
    span: the first pixel of the line, from the left, that belongs to the digit, and the one after its last.
    """

    file: str
    model: str
    image: npt.NDArray[np.uint8]
    probabilities: tuple[float, ...] = ()
    attributions: tuple[Attribution, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    changes: tuple[Change, ...] = ()
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()
    text: str | None = None
    confidence: float = 0.0
    position: int = 0
    span: tuple[int, int] = (0, 0)

    @property
    def digit(self) -> int | None:
        """The answer, or the digit of the line that is explained; None if no digit is read."""
        if self.text is None:
            return int(np.argmax(self.probabilities))
        return int(self.text[self.position - 1]) if self.text else None

    @property
    def other_digit(self) -> int | None:
        """The likeliest other digit; None if no digit is read."""
        others = [index for index in np.argsort(self.probabilities[:10]).tolist() if index != self.digit]
        return others[-1] if others else None

    @property
    def runner_up(self) -> int | None:
        """The likeliest other digit; None if a blank in its place is likelier, or no digit is read."""
        other = self.other_digit
        is_blank = other is not None and self.probability(None) > self.probability(other)
        return None if is_blank else other

    def probability(self, digit: int | None) -> float:
        """Return the probability of a digit, or of a blank in its place for None."""
        return self.probabilities[digit] if digit is not None else sum(self.probabilities[10:])

    @property
    def picture(self) -> npt.NDArray[np.uint8]:
        """The image as a grey picture, uint8 (H, W)."""
        return self.image if self.image.ndim == 2 else self.image[0]

    @property
    def ink(self) -> npt.NDArray[np.uint8]:
        """The ink of the image, 255 on 0, uint8 (H, W): in a strip, what is darker or lighter than paper."""
        if self.image.ndim == 2:
            return self.image
        return np.asarray(np.minimum(2 * np.abs(self.picture.astype(int) - STRIP_PAPER), 255), np.uint8)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by names such as `occlusion/4-9` and `feature-maps/1`."""
        named: dict[str, npt.NDArray[Any]] = {"image": self.image}
        named |= {each.name: each.values for each in self.attributions}
        named |= {f"counterfactual/{each.digit}": each.image for each in self.changes}
        named |= {f"prototype/{each.index}": each.image for each in self.neighbours}
        return named | {layer.array_name: layer.maps for layer in self.layers}

    def record(self) -> dict[str, Any]:
        """Return the explanation as a record for JSON; of layers only the shape, see `arrays`."""
        of_line = {
            "text": self.text,
            "confidence": _as_json(self.confidence),
            "position": self.position or None,
            "span": list(self.span),
        }
        of_digit = {
            "neighbours": [_record(each, without="image") for each in self.neighbours],
            "changes": [{"kind": "counterfactual", **_record(each)} for each in self.changes],
        }
        return {
            "file": self.file,
            "model": self.model,
            **({} if self.text is None else of_line),
            "digit": self.digit,
            "runner_up": self.runner_up,
            "probabilities": list(map(_as_json, self.probabilities)),
            "attributions": [_record(each) for each in self.attributions],
            **(of_digit if self.text is None else {}),
            "layers": [
                {"name": each.name, "kind": each.kind, "shape": list(each.maps.shape)} for each in self.layers
            ],
            "notes": list(self.notes),
        }


def _record(part: Attribution | Neighbour | Change, without: str = "") -> dict[str, Any]:
    return {name: _as_json(value) for name, value in vars(part).items() if name != without}


def _as_json(value: Any) -> Any:
    """Return a value for JSON, in which floats are rounded."""
    if isinstance(value, np.ndarray):
        return (np.round(value.astype(float), DECIMALS) if value.dtype.kind == "f" else value).tolist()
    return round(value, DECIMALS) if isinstance(value, float) else value
