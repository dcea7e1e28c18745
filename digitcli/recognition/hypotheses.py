"""Texts of digits with their probabilities, under constraints and as confidences."""

from __future__ import annotations

from digitcli.recognition.constraints import Constraints

# All values were chosen by hand, by looking at pictures and the answers to them.

# Probability that a number breaks the constraints, which stays even if the networks are certain.
CONSTRAINT_DOUBT = 0.05
# Probability that counts as none, so that it has a logarithm.
LEAST_PROBABILITY = 1e-12
# Least probability of all texts that meet the constraints; with less, the number on the page breaks them.
LEAST_LIKELY = 1e-6

# Texts of digits with their probabilities; the empty text means that nothing is written.
Hypotheses = dict[str, float]


def likeliest_text(hypotheses: Hypotheses, empty_threshold: float) -> str:
    """Return the likeliest text; the empty one only if its probability is above `empty_threshold`."""
    written = [text for text in hypotheses if text]
    if not written or hypotheses.get("", 0.0) > empty_threshold:
        return ""
    return max(written, key=lambda text: hypotheses[text])


def given_constraints(hypotheses: Hypotheses, constraints: Constraints) -> Hypotheses:
    """Return the hypotheses that meet the constraints, with their probabilities given that they are met.

    `CONSTRAINT_DOUBT` stays as the probability that the number breaks the constraints.
    """
    accepted = {text: share for text, share in hypotheses.items() if constraints.accepts(text)}
    total = sum(accepted.values())
    return {text: share / (total + CONSTRAINT_DOUBT * (1 - total)) for text, share in accepted.items()}


def recalibrated(hypotheses: Hypotheses, text: str, confidence: float) -> Hypotheses:
    """Return the hypotheses with another probability of a text, so that they still add up to 1 at most.

    Where the text becomes likelier, the others share what it leaves. Where it becomes less likely, they do so
    as well, since what speaks against it (whether a number stands there, whether it is whole) speaks against
    them too; the rest belongs to none of them.
    """
    before = hypotheses[text]
    if confidence < before:
        factor = confidence / before
    else:
        factor = min(1.0, (1 - confidence) / max(1 - before, LEAST_PROBABILITY))
    return {each: factor * share for each, share in hypotheses.items()} | {text: confidence}


def digit_shares(hypotheses: Hypotheses, text: str, place: int) -> dict[str, float]:
    """Return the probability of each digit at a place, over the hypotheses that are as long as `text`."""
    shares: dict[str, float] = {}
    for hypothesis, probability in hypotheses.items():
        if len(hypothesis) == len(text):
            shares[hypothesis[place]] = shares.get(hypothesis[place], 0.0) + probability
    return shares
