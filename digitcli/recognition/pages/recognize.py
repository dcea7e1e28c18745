"""Read the strips of the lines of a page, and turn the answers into numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from digitcli.imaging.components import Box
from digitcli.imaging.normalization import BOX_SCALE_PX
from digitcli.imaging.strips import END_SPACE, strip_ink
from digitcli.inference.ctc import ANY_DIGITS, Grammar, align, beam_search
from digitcli.inference.predictor import LineRecognizer
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import LIKELY
from digitcli.recognition.hypotheses import (
    CONSTRAINT_DOUBT,
    LEAST_PROBABILITY,
    SEPARATORS,
    Hypotheses,
    LineEvidence,
    breaks_constraints,
    digit_shares,
    given_constraints,
    likeliest_text,
    recalibrated,
    with_unlikely_digits,
)
from digitcli.recognition.number_result import NumberResult
from digitcli.recognition.pages.acceptance import features, from_log_odds, log_odds, logistic, weights_for
from digitcli.recognition.pages.crops import MAX_LENGTH, LineCrop, RegionCrops
from digitcli.recognition.results import Digit, Number
from digitcli.strip_format import COLUMN_PX, OTHER

# The architecture that reads strips as they are; the others read the ink of strips.
STRIP_READER = "strip_reader"
# Probability that no digit is written, above which a region has no number: a blank is likelier.
EMPTY = 0.5
# The same where the weights of the confidence are known: they count it, and what the page finder says.
EMPTY_BEFORE_WEIGHTS = 0.98
# Least length of a part of a line, in heights of the line.
LEAST_LENGTH = 0.1
# Probability that a number stands at a place, below which what is read there is passed over. Of 1,726 places
# on pages that training never sees (`finder` after 55 of its 63 epochs), this keeps 31 % of those without
# a number, and loses 0.2 % of the numbers that are read rightly and 14 % of the others, which then cannot be
# refused; 0.5 keeps 14 % and loses 25 %. The open real pictures counted too: at 0.3 doubtful numbers of sums
# and combs vanished (docs/results.md).
LEAST_PRESENCE = 0.2
# Share of a line outside of the page, above which a part of it may be missing: the finder's boxes are not
# exact. Chosen by hand.
LARGEST_CUT = 0.1
# Probability of a text, and of its split into numbers, from which no further network or strip is asked. When
# lines were read in one strip, 0.98 saved a twelfth of the runs of networks, but 50 in place of 57 % of the
# numbers on pages by held-out generators could be answered with 1 % wrong: nothing caught the confident
# mistakes of one network.
CERTAIN_TEXT = 0.995
# Heights of a line from its end, within which the edge of the page may cut it off.
EDGE_REACH = 0.3


@dataclass(frozen=True)
class RegionEvidence:
    """The answers of the networks about a region.

    crops: the region and its crops.
    lines: the answers, that of the first network to the first strip first.
    acceptance, presence: the weights of the confidence, and those of the probability that a number stands
        there, see `recognition.pages.acceptance`; without any, the probability of the text counts.
    is_first, is_last: whether it is the first, or the last, of the numbers of a line.
    is_alone: whether it is the only line of the page, or its only number.
    shares: for each answer, the probability that it shows one number; none before the line is split.
    dissent: the number of answers that are left out, because they show more numbers or fewer.
    """

    crops: RegionCrops
    lines: tuple[LineEvidence, ...]
    acceptance: Mapping[str, float] = field(default_factory=dict)
    presence: Mapping[str, float] = field(default_factory=dict)
    is_first: bool = True
    is_last: bool = True
    is_alone: bool = False
    shares: tuple[float, ...] = ()
    dissent: int = 0

    def parts(self) -> list[RegionEvidence]:
        """Split a line into its numbers.

        The answers to a strip are split at the same columns, those of the first network that read it. Of the
        strips with as many digits as most, the mean says where the line is split. Where another strip shows
        more numbers or fewer, the answers to it speak against every text.
        """
        strips = self._strips
        voters = self._voters(strips)
        separators = {id(line): line.separators(is_alone=self.is_alone) for line in strips}
        digits = statistics.mode(len(line.gaps) for line in voters.values())  # the first one of the commonest
        alike = [separators[key] for key, line in voters.items() if len(line.gaps) == digits]
        mean = [sum(shares) / len(alike) for shares in zip(*alike, strict=True)]
        is_split = [share >= LIKELY for share in mean]
        count = 1 + sum(is_split)
        parts, dissent = [], 0
        for line, strip in zip(self.lines, strips, strict=True):
            seen = separators[id(strip)]
            if len(strip.gaps) == digits:
                bounds, shares = strip.segmentation(seen if id(strip) in voters else mean, is_split)
            else:
                bounds, shares = strip.segmentation(seen)
            if len(shares) == count:
                parts.append(list(zip(line.split(bounds), shares, strict=True)))
            elif id(strip) in voters:
                dissent += 1
        return [
            dataclasses.replace(
                self,
                lines=tuple(part[index][0] for part in parts),
                shares=tuple(part[index][1] for part in parts),
                dissent=dissent,
                is_first=index == 0,
                is_last=index == count - 1,
                is_alone=self.is_alone and count == 1,
            )
            for index in range(count)
        ]

    def _voters(self, strips: Sequence[LineEvidence]) -> dict[int, LineEvidence]:
        """Return the answers to the strips of the line by networks that know spaces; the first, if none does.

        `picture_reader` knows none: it learned that several numbers are something else.
        """
        own = [line for line in strips if any(line.crop is crop for crop in self.crops.strips)]
        return {id(line): line for line in own if " " in line.alphabet} or {id(strips[0]): strips[0]}

    def joined(self) -> RegionEvidence:
        """Return the line as one number, as likely as Bayes' rule says if only that meets the constraints."""
        shares = []
        for strip in self._strips:
            one = math.prod(1 - share for share in strip.separators(is_alone=self.is_alone))
            one, several = one * (1 - CONSTRAINT_DOUBT), (1 - one) * CONSTRAINT_DOUBT
            shares.append(one / max(one + several, LEAST_PROBABILITY))
        return dataclasses.replace(self, shares=tuple(shares))

    @property
    def _strips(self) -> list[LineEvidence]:
        """For each answer, that of the first network that read the same strip."""
        firsts = {id(line.crop): line for line in reversed(self.lines)}
        return [firsts[id(line.crop)] for line in self.lines]

    def as_only(self, whole: LineEvidence | None) -> RegionEvidence:
        """Return what the networks say if this is the only line of the page.

        `whole` is what a network for whole pictures reads, which counts if the line is one number.
        """
        only = dataclasses.replace(self, is_alone=True)
        if whole is None or len(only.parts()) > 1:
            return only
        return dataclasses.replace(only, lines=(*self.lines, whole))

    def hypotheses(self, grammar: Grammar) -> Hypotheses:
        """Return the likeliest texts that a grammar allows with their probabilities."""
        return _line_hypotheses(self.lines, grammar, self._shares, len(self.lines) + self.dissent)

    @property
    def share(self) -> float:
        """The probability that it is one number, whatever its text: the mean over all answers."""
        return sum(self._shares) / (len(self.lines) + self.dissent)

    @property
    def _shares(self) -> Sequence[float]:
        return self.shares or [1.0] * len(self.lines)

    def confidence(self, text: str, probability: float, nothing: float) -> float:
        """Return the probability that a number is right, given that of its text and that of no digit."""
        if not self.acceptance:
            return probability
        return self._logistic(self.acceptance, text, probability, nothing)

    def probability_of_number(self, text: str, probability: float, nothing: float) -> float:
        """Return the probability that a number stands there, given that of its text and that of no digit."""
        if not self.presence:
            return 1.0
        return self._logistic(self.presence, text, probability, nothing)

    def features(self, text: str, probability: float, nothing: float) -> dict[str, float]:
        """Return what the weights multiply, see `recognition.pages.acceptance`.

        Constraints change the odds of the text by the surest answer as they change those by the mean of all.
        """
        surest = max(
            share * math.exp(dict(line.likely_texts).get(text, -math.inf))
            for line, share in zip(self.lines, self._shares, strict=True)
        )
        free = self.hypotheses(ANY_DIGITS).get(text, 0.0)
        gain = log_odds(probability) - log_odds(free)
        surest = from_log_odds(log_odds(surest) + gain) if free else probability
        return features(probability, surest, nothing, len(text), self.crops, self._length)

    def _logistic(self, weights: Mapping[str, float], text: str, probability: float, nothing: float) -> float:
        values = self.features(text, probability, nothing)
        return logistic(values, weights_for(weights, is_alone=self.is_alone))

    @property
    def _length(self) -> float:
        """The length of the number, in heights of the line."""
        box = self.crops.line.box
        if self.is_first and self.is_last:
            return box.length / box.height
        end_spaces = END_SPACE * (self.is_first + self.is_last)
        line = self.lines[0]
        length = len(line.columns) * COLUMN_PX * math.hypot(*line.crop.to_page[:, 0])
        return max(length / box.height - end_spaces, LEAST_LENGTH)

    @property
    def raw(self) -> str:
        """The characters that the first strip shows, marks and others included."""
        return self.lines[0].raw


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


def _line_hypotheses(
    lines: Sequence[LineEvidence], grammar: Grammar, shares: Sequence[float], count: int
) -> Hypotheses:
    """Return the likeliest texts that a grammar allows: the mean over `count` answers, these among them."""
    hypotheses: Hypotheses = {}
    is_free = grammar is ANY_DIGITS
    for evidence, share in zip(lines, shares, strict=True):
        texts = evidence.likely_texts if is_free else beam_search(evidence.columns, grammar)
        for text, log_probability in texts:
            hypotheses[text] = hypotheses.get(text, 0.0) + share * math.exp(log_probability) / count
    return hypotheses


def _is_certain(lines: Sequence[LineEvidence]) -> bool:
    """Tell whether a text and its numbers are so likely that no further network or strip is asked."""
    if not lines:
        return False
    hypotheses = _line_hypotheses(lines, ANY_DIGITS, [1.0] * len(lines), len(lines))
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


def recognize_region(
    evidence: RegionEvidence, constraints: Constraints | None, top_k: int
) -> list[NumberResult]:
    """Find the numbers in a region, each of which must meet the constraints.

    Numbers that only a space separates are one number if that meets the constraints, and they do not; where
    only they do, the space separates them.
    """
    parts = evidence.parts()
    if constraints is not None and _is_one_number(evidence, parts, constraints, top_k):
        return [dataclasses.replace(_recognize(evidence.joined(), constraints, top_k), is_changed=True)]
    if constraints is not None and not _accept(parts, constraints, top_k):
        at_spaces = dataclasses.replace(evidence, is_alone=False).parts()
        parts = at_spaces if _accept(at_spaces, constraints, top_k) else parts
    return [_recognize(part, constraints, top_k) for part in parts]


def _is_one_number(
    evidence: RegionEvidence, parts: Sequence[RegionEvidence], constraints: Constraints, top_k: int
) -> bool:
    """Tell whether only the whole region meets the constraints, and no operator separates its parts."""
    if len(parts) == 1 or constraints.is_single or any(map(_ends_with_operator, parts)):
        return False
    if _accept(parts, constraints, top_k):
        return False
    whole = _recognize(evidence, None, top_k)
    return whole.number is not None and _accepts(constraints, whole)


def _accept(parts: Sequence[RegionEvidence], constraints: Constraints, top_k: int) -> bool:
    return all(_accepts(constraints, _recognize(part, None, top_k)) for part in parts)


def _accepts(constraints: Constraints, result: NumberResult) -> bool:
    return result.number is None or constraints.accepts(result.number.text)


def _ends_with_operator(part: RegionEvidence) -> bool:
    return not part.is_last and part.raw.rstrip()[-1:] in SEPARATORS


def _recognize(evidence: RegionEvidence, constraints: Constraints | None, top_k: int) -> NumberResult:
    """Read one number; none if it is likelier that nothing is written."""
    hypotheses = evidence.hypotheses(ANY_DIGITS)
    nothing = hypotheses.get("", 0.0)
    text = likeliest_text(hypotheses, EMPTY_BEFORE_WEIGHTS if evidence.acceptance else EMPTY)
    if not text:
        return NumberResult(None, nothing, is_other=OTHER in evidence.raw)
    is_there = evidence.probability_of_number(text, min(1.0, hypotheses[text]), nothing)
    if is_there < LEAST_PRESENCE:
        return NumberResult(None, 1 - is_there, is_other=OTHER in evidence.raw)
    result = _result(evidence, hypotheses, text, nothing, top_k)
    return result if constraints is None else _constrained(evidence, constraints, hypotheses, result, top_k)


def _constrained(
    evidence: RegionEvidence,
    constraints: Constraints,
    hypotheses: Hypotheses,
    result: NumberResult,
    top_k: int,
) -> NumberResult:
    """Return the likeliest text that meets the constraints, given the result without them."""
    assert result.number is not None
    nothing, text = hypotheses.get("", 0.0), result.number.text
    is_changed = not constraints.accepts(text)
    if is_changed:
        accepted = evidence.hypotheses(constraints)
        if breaks_constraints(hypotheses, accepted, constraints):
            return dataclasses.replace(result, breaks_constraints=True)
        hypotheses = accepted
    share = max(evidence.share, LEAST_PROBABILITY)  # which constraints do not change
    given = given_constraints({each: p / share for each, p in hypotheses.items()}, constraints)
    hypotheses = {each: p * share for each, p in given.items()}
    text = max(hypotheses, key=lambda hypothesis: hypotheses[hypothesis])
    result = _result(evidence, hypotheses, text, nothing, top_k)
    return dataclasses.replace(result, is_changed=is_changed)


def _result(
    evidence: RegionEvidence, hypotheses: Hypotheses, text: str, nothing: float, top_k: int
) -> NumberResult:
    """Return a text as the answer about a region; `nothing` is the probability that no digit stands there."""
    confidence = evidence.confidence(text, min(1.0, hypotheses[text]), nothing)
    hypotheses = recalibrated(hypotheses, text, confidence)
    rivals = sorted(
        (pair for pair in hypotheses.items() if pair[0] not in ("", text)), key=lambda pair: -pair[1]
    )
    return NumberResult(
        _number(evidence, hypotheses, text, confidence, rivals[: top_k - 1], top_k),
        confidence,
        max((share for _, share in rivals), default=0.0),
        is_cut_off=_is_cut_off(evidence.crops),
        runs_out=_runs_out(evidence),
        is_faint=any(line.crop.is_faint for line in evidence.lines),
    )


def _is_cut_off(crops: RegionCrops) -> bool:
    """Tell whether a line reaches beyond the edge of the page."""
    return crops.line.box.share_outside(crops.strips[0].page_size) > LARGEST_CUT


def _runs_out(evidence: RegionEvidence) -> bool:
    """Tell whether a line is too long, or cut off by the edge of the page within a character.

    Every strip must show so, by each network that knows other characters.
    """
    crops = evidence.crops
    if crops.line.box.length > MAX_LENGTH * crops.line.box.height:
        return True
    raws = [line.raw for line in evidence.lines if OTHER in line.alphabet and line.raw]
    starts_with_other, ends_with_other = (
        bool(raws) and all(raw[place] == OTHER for raw in raws) for place in (0, -1)
    )
    if not starts_with_other and not ends_with_other:
        return False
    box, size = crops.line.box, np.array(crops.strips[0].page_size)
    reach = np.array([np.cos(box.angle), np.sin(box.angle)]) * (box.length / 2 + EDGE_REACH * box.height)
    is_outside = [
        (point <= 0) | (point >= size) for point in ((box.x, box.y) - reach, (box.x, box.y) + reach)
    ]
    starts, ends = (bool(each.any()) for each in is_outside)
    at_start = evidence.is_first and starts and starts_with_other
    return at_start or (evidence.is_last and ends and ends_with_other)


def _number(
    evidence: RegionEvidence,
    hypotheses: Hypotheses,
    text: str,
    confidence: float,
    alternatives: Sequence[tuple[str, float]],
    top_k: int,
) -> Number:
    """Return a text as a number."""
    crops = evidence.crops
    line, columns = _aligned(evidence.lines, text)
    digits = []
    for place, (digit, box) in enumerate(zip(text, _boxes(crops, line, columns, text), strict=True)):
        shares = digit_shares(hypotheses, text, place)
        if columns:
            shares = with_unlikely_digits(shares, line.columns[columns[place]])
        others = sorted((pair for pair in shares.items() if pair[0] != digit), key=lambda pair: -pair[1])
        digits.append(Digit(digit, min(1.0, shares[digit]), box, tuple(others[: top_k - 1])))
    return Number(
        tuple(digits),
        confidence=confidence,
        raw=text_with_marks(evidence.lines, text),
        row=crops.row,
        alternatives=tuple(alternatives),
        line=_picture_of(evidence),
    )


def _picture_of(evidence: RegionEvidence) -> npt.NDArray[np.uint8]:
    """Return the part of the first strip that shows the number."""
    line = evidence.lines[0]
    start, end = (COLUMN_PX * column for column in (line.first_column, line.first_column + len(line.columns)))
    return line.crop.image[0, :, start:end]


def _aligned(lines: Sequence[LineEvidence], text: str) -> tuple[LineEvidence, list[int]]:
    """Return the answer that is surest of a text, of those with boxes, and the column of each digit.

    There are no columns where none has as many columns as the text needs.
    """

    def rank(line: LineEvidence) -> tuple[bool, float]:
        return line.distances is not None, dict(line.likely_texts).get(text, -math.inf)

    for line in sorted(lines, key=rank, reverse=True):  # stable
        columns = align(line.columns, text)
        if len(columns) == len(text):
            return line, columns
    return lines[0], []


def _boxes(crops: RegionCrops, line: LineEvidence, columns: Sequence[int], text: str) -> list[Box]:
    """Return the box of each digit, which a line network predicts; else the box of the whole strip."""
    if columns and line.distances is not None:
        return [box_at(line.crop, line.distances[column], line.first_column + column) for column in columns]
    strip = crops.strips[0]
    return [strip.box_on_page(0, 0, strip.image.shape[2], strip.image.shape[1])] * len(text)


def box_at(crop: LineCrop, distances: np.ndarray, column: int) -> Box:
    """Return the box on the page of the character at a column, from its distances to the four sides."""
    to_left, to_right, top, bottom = (distances * BOX_SCALE_PX).tolist()
    x = (column + 0.5) * COLUMN_PX
    return crop.box_on_page(x - max(to_left, 1), top, x + max(to_right, 1), max(bottom, top + 1))


def text_with_marks(lines: Sequence[LineEvidence], text: str) -> str:
    """Return the text with its marks, from the first strip that shows its digits; else the digits alone."""
    for evidence in lines:
        if "".join(character for character in evidence.raw if character.isdecimal()) == text:
            return evidence.raw.replace(OTHER, "").replace(" ", "")
    return text
