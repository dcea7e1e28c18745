"""The steps of a compression as text."""

from __future__ import annotations

import pytest

from digitcli.compression.steps import Step, join_steps, parse_steps
from digitcli.errors import UsageError


def test_steps_have_a_form_as_text_and_come_back_from_it() -> None:
    steps = parse_steps(" distill=tiny, prune=0.50 ,low_rank=.25,fold,int4")
    assert steps == (
        Step("distill", arch="tiny"), Step("prune", 0.5), Step("low_rank", 0.25), Step("fold"), Step("int4"),
    )  # fmt: skip
    assert join_steps(steps) == "distill=tiny,prune=0.5,low_rank=0.25,fold,int4"
    assert parse_steps(join_steps(steps)) == steps and join_steps(()) == "original"


@pytest.mark.parametrize(("text", "nearest"), [("int2", "int3"), ("int16", "int8"), ("in8", "int8")])
def test_the_nearest_number_of_bits_is_suggested(text: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_steps(text)
    assert caught.value.remedy.startswith(f"Did you mean {nearest}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "No step is given"),
        ("prun=0.5", "There is no step 'prun'"),
        ("prune", "nothing is given"),
        ("prune=1", "more than 0 and less than 1; 1 is given"),
        ("prune=nan", "nan is given"),
        ("low_rank=half", "half is given"),
        ("int8=4", "int8 takes no value"),
        ("int8,prune=0.5", "int8 comes before prune=0.5"),
        ("int4,int8", "int4 and int8 are given, but weights are stored in one kind"),
        ("int8,int8", "int8 and int8 are given"),
        ("int8,fold,int8", "int8 and int8 are given"),
        ("int2", "There is no step 'int2'"),
        ("fold,distill=tiny", "distill=tiny trains another network"),
        ("distill", "distill needs an architecture"),
        ("distill=reader", "reader does not read single digits"),
        ("distill=tinny", "tinny"),
    ],
)
def test_mistakes_have_a_remedy(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_steps(text)
    assert caught.value.remedy
