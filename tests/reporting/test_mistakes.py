from __future__ import annotations

from pathlib import Path

from digitcli.evaluation.evaluate import Mistake
from digitcli.inference.model_resolution import resolve_model
from digitcli.reporting.mistakes import MAX_MISTAKES, show_mistakes
from tests.support.models import pointing_digits, pointing_model


def test_no_more_mistakes_are_shown_than_a_person_looks_at() -> None:
    digits = pointing_digits([3] * 40, [5] * 40)
    mistakes = [Mistake(index, 3, 5, 0.9, 0.1) for index in range(40)]
    shown = show_mistakes(mistakes, digits, None)
    assert len(shown) == MAX_MISTAKES and shown[1].figures[0].alt == "digit 1, a 3"
    assert [each.figures for each in show_mistakes(mistakes[:1], None, None)] == [()]


def test_another_answer_than_the_one_that_was_saved_is_not_explained() -> None:
    model = resolve_model(pointing_model(Path("pointing.safetensors")))
    digits = pointing_digits([3], [5])
    as_saved, other = (Mistake(0, 3, predicted, 0.9, 0.1) for predicted in (5, 7))
    assert [len(each.figures) for each in show_mistakes([as_saved], digits, model)] == [3]
    ((figure,),) = (each.figures for each in show_mistakes([other], digits, model))
    assert figure.caption == "the digit, which the model now reads as a 5"
