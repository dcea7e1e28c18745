"""The explanation of one digit of a line. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from digitcli.interpretation.explanation import DECIMALS, Attribution, Explanation, Layer
from digitcli.strip_format import STRIP_PAPER


@dataclass(frozen=True)
class LineExplanation:
    """Why a model reads a digit of a line.

    image: what the network sees, uint8: ink 255 on paper 0, (40, W), or a strip, (3, 40, W), see
        `imaging.network_inputs`.
    text: the digits that the model reads; marks are left out. If it is empty, no digit is explained.
    confidence: the probability of the text.
    position: the place of the explained digit in the text, counted from 1; 0 if the text is empty.
    span: the first pixel of the image, from the left, that belongs to the digit, and the one after its last.
    probabilities: of the ten digits at this place, and of a blank, which is no digit.
    attributions: those against no other digit compare the digit with a blank in its place.
    layers: the feature maps, layer by layer, or the filters of the first layer.
    notes: what could not be computed, a sentence each.
    """

    file: str
    model: str
    image: npt.NDArray[np.uint8]
    text: str
    confidence: float
    position: int = 0
    span: tuple[int, int] = (0, 0)
    probabilities: tuple[float, ...] = ()
    attributions: tuple[Attribution, ...] = ()
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def digit(self) -> int | None:
        """The digit that is explained; None if the text is empty."""
        return int(self.text[self.position - 1]) if self.text else None

    @property
    def other_digit(self) -> int | None:
        """The likeliest other digit at this place; None if the text is empty."""
        others = [index for index in np.argsort(self.probabilities[:-1]).tolist() if index != self.digit]
        return others[-1] if others else None

    @property
    def runner_up(self) -> int | None:
        """The likeliest other digit at this place; None if a blank is likelier, or the text is empty."""
        other = self.other_digit
        return None if other is None or self.probability(None) > self.probability(other) else other

    def probability(self, digit: int | None) -> float:
        """Return the probability of a digit at this place, or of a blank for None."""
        return self.probabilities[-1 if digit is None else digit]

    @property
    def picture(self) -> npt.NDArray[np.uint8]:
        """The image as a grey picture, uint8 (40, W)."""
        return self.image if self.image.ndim == 2 else self.image[0]

    @property
    def ink(self) -> npt.NDArray[np.uint8]:
        """The ink of the image, 255 on 0, uint8 (40, W): in a strip, what is darker or lighter than paper."""
        if self.image.ndim == 2:
            return self.image
        return np.asarray(np.minimum(2 * np.abs(self.picture.astype(int) - STRIP_PAPER), 255), np.uint8)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by names such as `occlusion/4-9` and `feature-maps/trunk.2`."""
        named: dict[str, npt.NDArray[Any]] = {"image": self.image}
        named |= {each.name: each.values for each in self.attributions}
        return named | {layer.array_name: layer.maps for layer in self.layers}

    def record(self) -> dict[str, Any]:
        """Return the explanation as a record for JSON; of layers only the shape, see `arrays`."""
        return {
            "file": self.file,
            "model": self.model,
            "text": self.text,
            "confidence": round(self.confidence, DECIMALS),
            "position": self.position or None,
            "span": list(self.span),
            "digit": self.digit,
            "runner_up": self.runner_up,
            "probabilities": [round(probability, DECIMALS) for probability in self.probabilities],
            "attributions": [each.record() for each in self.attributions],
            "layers": [layer.record() for layer in self.layers],
            "notes": list(self.notes),
        }


AnyExplanation = Explanation | LineExplanation
