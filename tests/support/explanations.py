"""Explanations of lines without a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from digitcli.interpretation.explanation import Explanation


def line_explanation(digits: Mapping[int, float], blank: float, **fields: Any) -> Explanation:
    """Return an explanation of the last digit of 407, of which some digits and a blank are likely."""
    shares = (*(digits.get(digit, 0.0) for digit in range(10)), blank)
    image = np.zeros((40, 80), np.uint8)
    explanation = Explanation(
        "a.png", "reader@0", image, shares, text="407", confidence=0.75, position=3, span=(40, 60)
    )
    return replace(explanation, **fields)
