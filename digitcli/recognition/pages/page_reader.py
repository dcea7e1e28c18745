"""Read whole pages: the page finder finds the lines, and line readers read strips of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from digitcli.imaging.finder_input import Grey
from digitcli.inference.predictor import LineRecognizer, PageFinder
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import Decision
from digitcli.recognition.pages.crops import crop_lines
from digitcli.recognition.pages.decision import decide_page
from digitcli.recognition.pages.finding import find_lines, reading_order
from digitcli.recognition.pages.recognize import recognize_region, run_networks


@dataclass(frozen=True)
class PageReader:
    """A page finder and the networks that read the strips of its lines.

    min_confidence: the confidence below which a number is refused.
    """

    finder: PageFinder
    line_models: tuple[LineRecognizer, ...]
    min_confidence: float

    @property
    def acceptance(self) -> Mapping[str, float]:
        """The weights of the confidence, which the line reader holds; they do not fit several readers."""
        return self.line_models[0].header.acceptance if len(self.line_models) == 1 else {}

    def read(self, grey: Grey, constraints: Constraints | None, top_k: int) -> Decision:
        """Read a page, uint8 (H, W); digits and numbers have `top_k` candidates.

        Raises:
            ModelError: a network answers with values that are not finite.
        """
        found = find_lines(grey, self.finder.maps)
        regions = crop_lines(grey, reading_order(found.lines))
        evidence = run_networks(regions, self.line_models, self.acceptance)
        results = [result for each in evidence for result in recognize_region(each, constraints, top_k)]
        return decide_page(results, found.other, constraints, self.min_confidence)


def as_levels(grey: np.ndarray) -> Grey:
    """Convert a grey picture, float32 in [0, 1], into levels, uint8."""
    return np.clip(255 * grey + 0.5, 0, 255).astype(np.uint8)
