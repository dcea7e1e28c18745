"""Find where a line is split into numbers that meet constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from digitcli.inference.ctc import Grammar


@dataclass(frozen=True)
class Split:
    """The likeliest split of a line into numbers that a grammar allows.

    is_split: whether each gap between two digits separates numbers.
    shares: the probability that each number stands there, given that the grammar allows all numbers.
    least: the smallest probability, over all gaps, that the gap is as this split has it.
    """

    is_split: list[bool]
    shares: list[float]
    least: float


def likeliest_split(
    digits: str, separators: Sequence[float], is_operator: Sequence[bool], grammar: Grammar
) -> Split | None:
    """Split n digits into numbers that a grammar allows; None if no such split is possible.

    separators: how likely each of the n - 1 gaps separates two numbers.
    is_operator: whether an operator stands there, which always does.

    The probabilities of the numbers come from the sums over the splits before and behind each (the
    forward-backward algorithm; Rabiner, "A tutorial on hidden Markov models", 1989).
    """
    count = len(digits)
    spans: dict[tuple[int, int], float] = {}  # of a number: its probability, given that one starts there
    before, behind = [1.0, *[0.0] * count], [*[0.0] * count, 1.0]
    best = [(1.0, 0), *[(0.0, 0)] * count]
    for start in range(count):
        joined = 1.0
        for end in range(start + 1, count + 1):
            if not before[start] or not grammar.may_begin(digits[start:end]):
                break
            if grammar.accepts(digits[start:end]):
                share = joined * (separators[end - 1] if end < count else 1.0)
                spans[start, end] = share
                before[end] += before[start] * share
                best[end] = max(best[end], (best[start][0] * share, start))
            if end < count and is_operator[end - 1]:
                break
            joined *= 1 - separators[end - 1] if end < count else 1.0
    if not digits or not best[count][0]:
        return None
    for (start, end), share in reversed(spans.items()):
        behind[start] += share * behind[end]
    bounds = [count]
    while bounds[0]:
        bounds.insert(0, best[bounds[0]][1])
    shares = [
        before[start] * spans[start, end] * behind[end] / before[count]
        for start, end in zip(bounds, bounds[1:], strict=False)
    ]
    is_split = [place in bounds for place in range(1, count)]
    demands = [share if splits else 1 - share for share, splits in zip(separators, is_split, strict=True)]
    return Split(is_split, shares, min(demands, default=1.0))
