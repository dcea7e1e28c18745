"""The explanation of one answer, and the methods by which it is made. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Method = Literal[
    "integrated-gradients",
    "saliency",
    "smoothgrad",
    "occlusion",
    "prototype",
    "feature-maps",
    "filters",
]
ChangeKind = Literal["counterfactual", "adversarial"]
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

    method: str
    digit: int
    against: int | None
    score: float
    baseline: float
    values: npt.NDArray[np.float32]

    @property
    def is_signed(self) -> bool:
        """Whether negative values speak against the digit."""
        return self.method not in UNSIGNED

    @property
    def name(self) -> str:
        """Its name among arrays, for example `occlusion/4-9`."""
        name = f"{self.method}/{self.digit}"
        return name if self.against is None else f"{name}-{self.against}"

    def record(self) -> dict[str, Any]:
        """Return it as a record for JSON."""
        return {
            "method": self.method,
            "digit": self.digit,
            "against": self.against,
            "score": round(self.score, DECIMALS),
            "baseline": round(self.baseline, DECIMALS),
            "values": np.round(self.values.astype(float), DECIMALS).tolist(),
        }


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
    """An image that is read as another digit, close to the one that is explained.

    kind: `counterfactual`, where ink is added and erased, or `adversarial`, where noise is added.
    image: the changed image, uint8 (28, 28).
    before, after: the probability of the other digit.
    added, erased: the ink, in pixels of full ink.
    largest: the largest change of a pixel, where 1 is full ink.
    """

    kind: ChangeKind
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

    def record(self) -> dict[str, Any]:
        """Return its name, its kind and its shape as a record for JSON."""
        return {"name": self.name, "kind": self.kind, "shape": list(self.maps.shape)}


@dataclass(frozen=True)
class Explanation:
    """Why a model answers a digit.

    image: what the network sees, uint8 (28, 28), ink 255 on paper 0.
    probabilities: of the ten digits, from the calibrated logits; for a class, those of its optimal input.
    layers: the feature maps, layer by layer, or the filters of the first layer.
    notes: what could not be computed, a sentence each.
    optimal: an image for which the network is as sure as can be, where a class is explained and not an image.
    """

    file: str
    model: str
    image: npt.NDArray[np.uint8]
    probabilities: tuple[float, ...]
    attributions: tuple[Attribution, ...]
    neighbours: tuple[Neighbour, ...] = ()
    changes: tuple[Change, ...] = ()
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()
    optimal: npt.NDArray[np.uint8] | None = None

    @property
    def digit(self) -> int:
        """The answer."""
        return int(np.argmax(self.probabilities))

    @property
    def runner_up(self) -> int:
        """The second likeliest digit."""
        return int(np.argsort(self.probabilities)[-2])

    @property
    def other_digit(self) -> int:
        """The likeliest other digit, which is the runner-up."""
        return self.runner_up

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by names such as `occlusion/4-9` and `feature-maps/1`."""
        named: dict[str, npt.NDArray[Any]] = {"image": self.image}
        named |= {each.name: each.values for each in self.attributions}
        named |= {f"{each.kind}/{each.digit}": each.image for each in self.changes}
        named |= {f"prototype/{each.index}": each.image for each in self.neighbours}
        named |= {layer.array_name: layer.maps for layer in self.layers}
        if self.optimal is not None:
            named["optimal"] = self.optimal
        return named

    def record(self) -> dict[str, Any]:
        """Return the explanation as a record for JSON; of layers only the shape, see `arrays`."""
        return {
            "file": self.file,
            "model": self.model,
            "digit": self.digit,
            "runner_up": self.runner_up,
            "probabilities": [round(probability, DECIMALS) for probability in self.probabilities],
            "attributions": [each.record() for each in self.attributions],
            "neighbours": [
                {"index": each.index, "label": each.label, "distance": round(each.distance, DECIMALS)}
                for each in self.neighbours
            ],
            "changes": [
                {
                    "kind": each.kind,
                    "digit": each.digit,
                    "before": round(each.before, DECIMALS),
                    "after": round(each.after, DECIMALS),
                    "added": round(each.added, DECIMALS),
                    "erased": round(each.erased, DECIMALS),
                    "largest": round(each.largest, DECIMALS),
                    "image": each.image.tolist(),
                }
                for each in self.changes
            ],
            "layers": [layer.record() for layer in self.layers],
            "notes": list(self.notes),
            "optimal": None if self.optimal is None else self.optimal.tolist(),
        }
