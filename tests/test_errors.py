"""The words of messages."""

from __future__ import annotations

import pytest

from digitcli.errors import counted


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1 epoch"), (0.2, "0.2 epochs"), (0, "0 epochs"), (7291, "7,291 epochs")]
)
def test_a_name_after_any_number_but_1_is_in_the_plural(number: float, text: str) -> None:
    assert counted(number, "epoch") == text
