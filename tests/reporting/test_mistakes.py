from __future__ import annotations

from digitcli.evaluation.evaluate import Mistake
from digitcli.reporting.mistakes import MAX_MISTAKES, show_mistakes
from tests.support.models import pointing_digits


def test_no_more_mistakes_are_shown_than_a_person_looks_at() -> None:
    digits = pointing_digits([3] * 40, [5] * 40)
    mistakes = [Mistake(index, 3, 5, 0.9, 0.1) for index in range(40)]
    shown = show_mistakes(mistakes, digits, None)
    assert len(shown) == MAX_MISTAKES and shown[1].figures[0].alt == "digit 1, a 3"
    assert [each.figures for each in show_mistakes(mistakes[:1], None, None)] == [()]
