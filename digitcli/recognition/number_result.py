"""The answer about a place on a page: stage 3 of the reading pipeline gives it, and stage 4 decides by it."""

from __future__ import annotations

from dataclasses import dataclass

from digitcli.recognition.results import Number


@dataclass(frozen=True)
class NumberResult:
    """The answer about a place where a number may stand.

    number: the number; None if the networks read nothing.
    confidence: the probability that the answer is right.
    rival_confidence: the probability of the second likeliest text.
    is_cut_off: whether the region touches the edge of the page, where a part of it may be missing.
    runs_out: whether a further digit, or the last character, is cut off by the edge of the page.
    is_in_fraction: whether a fraction bar lies between this number and another one.
    is_faint: whether its ink hardly differs from the paper.
    is_changed: whether the constraints changed the text.
    breaks_constraints: whether the number likelier breaks the constraints than that it was misread.
    is_other: whether other writing stands there.
    """

    number: Number | None
    confidence: float
    rival_confidence: float = 0.0
    is_cut_off: bool = False
    runs_out: bool = False
    is_in_fraction: bool = False
    is_faint: bool = False
    is_changed: bool = False
    breaks_constraints: bool = False
    is_other: bool = False
