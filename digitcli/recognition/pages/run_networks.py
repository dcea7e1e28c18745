"""Read the strips of the lines of a page by the line networks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from digitcli.imaging.network_inputs import strip_ink
from digitcli.inference.ctc import ANY_DIGITS
from digitcli.inference.predictor import LineRecognizer
from digitcli.recognition.hypotheses import LineEvidence
from digitcli.recognition.pages.crops import LineCrop, RegionCrops
from digitcli.recognition.pages.evidence import RegionEvidence, line_hypotheses
from digitcli.strip_format import OTHER

# The architecture that reads strips as they are; the others read the ink of strips.
STRIP_READER = "strip_reader"
# Probability of a text, and of its split into numbers, from which no further network or strip is asked. When
# lines were read in one strip, 0.98 saved a twelfth of the runs of networks, but 50 in place of 57 % of the
# numbers on pages by held-out generators could be answered with 1 % wrong: nothing caught the confident
# mistakes of one network.
CERTAIN_TEXT = 0.995


def run_networks(
    regions: Sequence[RegionCrops],
    models: Sequence[LineRecognizer],
    acceptance: Mapping[str, float],
    presence: Mapping[str, float],
) -> list[RegionEvidence]:
    """Read the strips of each line by one network after the other, until a text is certain.

    Networks for raw pixels do not read the whole page: `page_reader` reads found lines better, and its answer
    to the page does not make the mean better. If the first strip shows another character at an end, they read
    the second one in any case: it may be a piece, which is cut off if both show it.
    """
    evidence: list[list[LineEvidence]] = [[] for _ in regions]

    def is_asked(index: int, strip: int, model: LineRecognizer) -> bool:
        crops, lines, reads_raw = regions[index], evidence[index], _reads_raw_pixels(model)
        is_page = crops.fills_page and strip == len(crops.strips) - 1
        if strip >= len(crops.strips) or (is_page and reads_raw):
            return False
        may_be_cut_off = strip == 1 and OTHER in (lines[0].raw[:1], lines[0].raw[-1:])
        return not _is_certain(lines) or (may_be_cut_off and reads_raw)

    most_strips = max((len(crops.strips) for crops in regions), default=0)
    for strip, model in itertools.product(range(most_strips), models):
        asked = [index for index in range(len(regions)) if is_asked(index, strip, model)]
        answers = _read_strips([regions[index].strips[strip] for index in asked], model)
        for index, answer in zip(asked, answers, strict=True):
            evidence[index].append(answer)
    return [
        RegionEvidence(crops, tuple(lines), acceptance, presence)
        for crops, lines in zip(regions, evidence, strict=True)
    ]


def _is_certain(lines: Sequence[LineEvidence]) -> bool:
    """Tell whether a text and its numbers are so likely that no further network or strip is asked."""
    if not lines:
        return False
    hypotheses = line_hypotheses(lines, ANY_DIGITS, [1.0] * len(lines), len(lines))
    _, shares = lines[0].segmentation(lines[0].separators())
    return min(shares) * max(hypotheses.values(), default=0.0) >= CERTAIN_TEXT


def _read_strips(crops: Sequence[LineCrop], model: LineRecognizer) -> list[LineEvidence]:
    """Run a line network on strips."""
    alphabet, temperature = model.header.alphabet, model.header.temperature
    if not crops:
        return []
    images = [crop.image if _reads_raw_pixels(model) else strip_ink(crop.image) for crop in crops]
    answers = model.outputs(images)
    return [
        LineEvidence.of(crop, answer, alphabet, temperature)
        for crop, answer in zip(crops, answers, strict=True)
    ]


def _reads_raw_pixels(model: LineRecognizer) -> bool:
    """Tell whether a network reads raw pixels of strips, as `page_reader` does, and not their ink."""
    return model.header.architecture == STRIP_READER
