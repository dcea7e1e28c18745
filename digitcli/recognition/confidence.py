"""How sure it is that a number is right, and that one stands there.

The probabilities are logistic functions of what the networks say: Platt, "Probabilistic outputs for support
vector machines and comparisons to regularized likelihood methods", 1999. `scripts/calibrate.py` fits the
weights on synthetic pages, and the checkpoints of `reader` and `glance` hold them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from digitcli.recognition.line_reading import Line

# The logarithm of the odds is limited to this, so that no probability is 0 or 1.
LARGEST_LOG_ODDS = 12.0
# Heights of a line for each of its digits: the median of synthetic numbers that were read correctly.
TYPICAL_PITCH = 0.89
# Begins the names of the weights for the only number of a page. It is often one that somebody cut out.
ALONE = "alone_"


@dataclass(frozen=True)
class Weights:
    """The weights of the confidence, by the names of the features; without any, that of the text counts.

    acceptance: of the probability that the text is right.
    presence: of the probability that a number stands there.
    """

    acceptance: Mapping[str, float] = field(default_factory=dict)
    presence: Mapping[str, float] = field(default_factory=dict)


def features(line: Line, text: str, probability: float, nothing: float) -> dict[str, float]:
    """Return the values that the weights multiply, for a text of a line with a probability.

    reading: the log-odds of the text, by the mean over all networks and strips.
    surest: the same by the network and the strip that are surest of it.
    nothing: the log-odds that no digit stands there, by the readers.
    finder: the log-odds that a number stands there, by the page finder.
    other: the log-odds that other writing stands there, by the page finder.
    beside: the mean of `finder` over the other numbers of the page: among sure ones, a number is surer.
    digits: the logarithm of the number of digits.
    pitch: how far the length for each digit is from the typical one, as a logarithm: a digit may be missing,
        or other writing may belong to the line.
    bias: 1.

    The probability that the digits form one number is a factor of both, and of that of no digit. As a feature
    of its own it ranks numbers worse, see docs/lab/2026-12-grouping.md. Constraints change the odds of the
    text by the surest answer as they change those by the mean of all.
    """
    surest = line.probability * max(answer.likely_texts.get(text, 0.0) for answer in line.answers)
    if free := line.probability * line.hypotheses.get(text, 0.0):
        surest = from_log_odds(log_odds(surest) + log_odds(probability) - log_odds(free))
    else:
        surest = probability
    return {
        "reading": log_odds(probability),
        "surest": log_odds(surest),
        "nothing": log_odds(nothing),
        "finder": log_odds(line.found.score),
        "other": log_odds(line.found.other_score),
        "beside": line.beside,
        "digits": math.log(len(text)),
        "pitch": abs(math.log(line.length / len(text) / TYPICAL_PITCH)),
        "bias": 1.0,
    }


def features_of_nothing(nothing: float) -> dict[str, float]:
    """Return the values for whether a number stands on a page where no network found one.

    nothing: the probability of no digit, by the network for whole pictures.
    """
    return {"nothing": log_odds(nothing), "bias": 1.0}


def weights_for(weights: Mapping[str, float], *, is_alone: bool) -> dict[str, float]:
    """Return the weights for the only number of a page, if there are any, or those for others."""
    alone = {name.removeprefix(ALONE): weight for name, weight in weights.items() if name.startswith(ALONE)}
    if is_alone and alone:
        return alone
    return {name: weight for name, weight in weights.items() if not name.startswith(ALONE)}


def logistic(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the probability that weights give to features."""
    return from_log_odds(sum(weight * values[name] for name, weight in weights.items()))


def from_log_odds(value: float) -> float:
    """Return the probability that has a logarithm of the odds, at most `LARGEST_LOG_ODDS` in size."""
    return 1 / (1 + math.exp(-max(-LARGEST_LOG_ODDS, min(LARGEST_LOG_ODDS, value))))


def log_odds(probability: float) -> float:
    """Return the logarithm of the odds, at most `LARGEST_LOG_ODDS` in size."""
    if probability <= 0 or probability >= 1:
        return math.copysign(LARGEST_LOG_ODDS, probability - 0.5)
    return max(-LARGEST_LOG_ODDS, min(LARGEST_LOG_ODDS, math.log(probability / (1 - probability))))
