"""What the line networks say about a line of a page, split into its numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from digitcli.imaging.network_inputs import END_SPACE, strip_ink
from digitcli.inference.ctc import ANY_DIGITS, Grammar, beam_search
from digitcli.inference.predictor import LineRecognizer
from digitcli.recognition.decision import LIKELY
from digitcli.recognition.line_crops import STRIP_READER, LineCrop, RegionCrops
from digitcli.recognition.line_evidence import CONSTRAINT_DOUBT, LEAST_PROBABILITY, Hypotheses, LineEvidence
from digitcli.recognition.page_decision import (
    features,
    from_log_odds,
    likeliest_split,
    log_odds,
    logistic,
    weights_for,
)
from digitcli.strip_format import COLUMN_PX, OTHER

# Probability of a text, and of its split into numbers, from which no further network or strip is asked. When
# lines were read in one strip, 0.98 saved a twelfth of the runs of networks, but 50 in place of 57 % of the
# numbers on pages by held-out generators could be answered with 1 % wrong: nothing caught the confident
# mistakes of one network.
CERTAIN_TEXT = 0.995

# Least length of a part of a line, in heights of the line.
LEAST_LENGTH = 0.1


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


@dataclass(frozen=True)
class RegionEvidence:
    """The answers of the networks about a region.

    crops: the region and its crops.
    lines: the answers, that of the first network to the first strip first.
    acceptance, presence: the weights of the confidence, and those of the probability that a number stands
        there, see `recognition.page_decision`; without any, the probability of the text counts.
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

    def parts(self, is_split: Sequence[bool] | None = None) -> list[RegionEvidence]:
        """Split a line into its numbers.

        is_split: for each gap between two digits, whether it separates numbers; by default, where the mean of
            the strips with as many digits as most says so.

        The answers to a strip are split at the same columns, those of the first network that read it. Where
        another strip shows more numbers or fewer, the answers to it speak against every text.
        """
        strips, voters = self._strips, self._voters
        is_alone = self.is_alone and is_split is None
        separators = {id(line): line.separators(is_alone=is_alone) for line in strips}
        mean = _mean([separators[id(line)] for line in self._agreeing])
        is_split = [share >= LIKELY for share in mean] if is_split is None else is_split
        count = 1 + sum(is_split)
        parts, dissent = [], 0
        for line, strip in zip(self.lines, strips, strict=True):
            seen = separators[id(strip)]
            if len(strip.gaps) == len(mean):
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

    def parts_that_meet(self, grammar: Grammar) -> list[RegionEvidence]:
        """Split the line into numbers that a grammar allows; none if it is likelier that the line breaks it.

        The gaps of a line are much alike, so that the least likely one tells whether all are as the split has
        them, and not their product. Numbers that the default split has, too, stay as they are.
        """
        lines = self._agreeing
        digits = "".join(map(statistics.mode, zip(*(line.digits for line in lines), strict=True)))
        separators = _mean([line.separators() for line in lines])
        operators = _mean([[gap.operator for gap in line.gaps] for line in lines])
        split = likeliest_split(digits, separators, [share >= LIKELY for share in operators], grammar)
        if split is None:
            return []
        meets = _given_constraints(split.least)
        if meets < LIKELY:
            return []
        known = {part.place: part for part in self.parts()}
        return [
            known.get(part.place) or dataclasses.replace(part, shares=(meets * share,) * len(part.lines))
            for part, share in zip(self.parts(split.is_split), split.shares, strict=True)
        ]

    def joined(self, *, are_groups: bool) -> RegionEvidence | None:
        """Return the line as one number; None if it is likelier that it breaks the constraints (Bayes' rule).

        are_groups: whether no part of it meets them. People write long numbers in groups, so that spaces tell
            nothing then, and one number is as likely as the constraints.
        """
        voters = self._voters
        mean = _mean([line.separators(is_alone=self.is_alone) for line in self._agreeing])
        separators = [
            strip.separators(is_alone=self.is_alone) if id(strip) in voters else mean
            for strip in self._strips
        ]
        least = 1 - CONSTRAINT_DOUBT if are_groups else 0.0
        shares = [max(least, _given_constraints(math.prod(1 - each for each in row))) for row in separators]
        if sum(shares) < LIKELY * len(shares):
            return None
        return dataclasses.replace(self, shares=tuple(shares))

    @property
    def place(self) -> tuple[int, int]:
        """The first column of the first strip, and how many columns it has."""
        return self.lines[0].first_column, len(self.lines[0].columns)

    @property
    def _voters(self) -> dict[int, LineEvidence]:
        """The answers to the strips of the line by networks that know spaces; the first, if none does.

        `picture_reader` knows none: it learned that several numbers are something else.
        """
        strips = self._strips
        own = [line for line in strips if any(line.crop is crop for crop in self.crops.strips)]
        return {id(line): line for line in own if " " in line.alphabet} or {id(strips[0]): strips[0]}

    @property
    def _agreeing(self) -> list[LineEvidence]:
        """The voters with as many digits as most; of two numbers that are as common, that of the first."""
        voters = list(self._voters.values())
        digits = statistics.mode(len(line.digits) for line in voters)
        return [line for line in voters if len(line.digits) == digits]

    @property
    def reference(self) -> LineEvidence:
        """The answer whose digits and gaps are those of the line."""
        return self._agreeing[0]

    def gap_log_odds(self, index: int) -> tuple[float, float]:
        """Return the log-odds that a gap separates numbers, and that an operator does; the mean of strips."""
        gaps = [line.gaps[index] for line in self._agreeing]
        separator, operator = (
            sum(getattr(gap, name) for gap in gaps) / len(gaps) for name in ("separator", "operator")
        )
        return log_odds(separator), log_odds(operator)

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
        return line_hypotheses(self.lines, grammar, self._shares, len(self.lines) + self.dissent)

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
        """Return what the weights multiply, see `recognition.page_decision`.

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


def _given_constraints(share: float) -> float:
    """Return the probability of a split, `share`, given that only it meets the constraints (Bayes' rule)."""
    meets, breaks = share * (1 - CONSTRAINT_DOUBT), (1 - share) * CONSTRAINT_DOUBT
    return meets / max(meets + breaks, LEAST_PROBABILITY)


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def line_hypotheses(
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
