"""A comparison that was saved is shown as it was, and a file that is none is an error."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from digitcli.comparison.compare import Comparison, RunEvaluated
from digitcli.comparison.specification import parse_specifications, read_comparison
from digitcli.errors import InputError, UsageError
from tests.support.comparisons import compare_quickly


def test_a_saved_comparison_gives_the_same_figures_without_training(
    compared: Comparison, saved: Path, few_digits: Path, tmp_path: Path
) -> None:
    assert read_comparison(saved) == tuple(compared.to_saved())
    events: list[object] = []
    again = compare_quickly(few_digits, tmp_path / "new", str(saved), seeds=5, on_event=events.append)
    assert events == [] and not (tmp_path / "new").exists()
    for before, after in zip(compared.models, again.models, strict=True):
        assert replace(before, latency_ms=0.0) == replace(after, latency_ms=0.0)
    assert (again.winner, again.missed) == (compared.winner, compared.missed)
    named = (str(saved), "softmax:epochs=2", "shipped/micro")
    result = compare_quickly(few_digits, tmp_path / "new", *named, seeds=1, on_event=events.append)
    evaluated = [event for event in events if isinstance(event, RunEvaluated)]
    assert [(event.label, event.run.seed, event.done, event.total) for event in evaluated] == [
        ("softmax:epochs=2", 0, 1, 2), ("shipped/micro", None, 2, 2),
    ]  # fmt: skip
    assert [len(model.runs) for model in result.models] == [2, 2, 1, 1, 1]
    for twice in (str(saved), "softmax:epochs=8", "shipped/fast"):
        with pytest.raises(UsageError, match="is named twice"):
            parse_specifications([str(saved), twice], str(few_digits), "cpu")


def test_saved_runs_on_other_digits_are_refused(
    saved: Path, few_digits: Path, other_digits: Path, tmp_path: Path
) -> None:
    whole = saved.read_text()
    with pytest.raises(UsageError, match="other digits"):
        compare_quickly(other_digits, tmp_path, str(saved))
    saved.write_text(whole.replace('"split": "test"', '"split": "validation"'))
    with pytest.raises(UsageError, match="The saved runs of .* other digits"):
        compare_quickly(few_digits, tmp_path, str(saved))
    text = re.sub(r'"images": \d+', '"images": 9999', whole)
    saved.write_text(
        re.sub(r'"accuracy": [\d.]+, "misread": \[[^]]*\]', '"accuracy": 1.0, "misread": []', text)
    )
    with pytest.raises(UsageError, match="other digits"):
        compare_quickly(few_digits, tmp_path, str(saved))


def test_a_saved_model_that_cannot_be_built_is_an_input_error(
    saved: Path, few_digits: Path, tmp_path: Path
) -> None:
    whole, fast = saved.read_text(), '"architecture": "fast"'
    for old, new in [
        (f'{fast}, "arguments": {{}}', '"architecture": "resnet", "arguments": {"width": "x"}'),
        (fast, '"architecture": "reader"'),
    ]:
        assert old in whole
        saved.write_text(whole.replace(old, new))
        with pytest.raises(InputError, match="shipped/fast"):
            compare_quickly(few_digits, tmp_path, str(saved))


DAMAGE = [
    ('{"schema"', "{"),
    ('{"schema": 1', '{"schema": 99'),
    ('"models": [', '"models": [], "others": ['),
    ('"split": "test"', '"split": "training"'),
    ('"images": ', '"images": 0, "others": '),
    ('"images": ', '"images": -1, "others": '),
    ('"images": ', '"pictures": '),
    ('"misread": [', '"misread": [1.0, '),
    ('"misread": [', '"misread": [-1, '),
    ('"misread": [', '"misread": [99999, '),
    ('"misread": [', '"misread": [0, 0, '),
    ('"accuracy": 0', '"accuracy": 1'),
    ('"seed": 1', '"seed": 0'),
    ('"seed": 1', '"seed": "one"'),
    ('"definition": {"architecture"', '"definition": {"architektur"'),
    ('"arguments": {}', '"arguments": []'),
    ('"label": "softmax:epochs=1"', '"label": 5'),
]


def test_a_file_that_is_no_saved_comparison_is_an_input_error(saved: Path) -> None:
    whole = saved.read_text()
    for old, new in DAMAGE:
        assert old in whole
        saved.write_text(whole.replace(old, new, 1))
        with pytest.raises(InputError, match=r"saved\.json is not a saved comparison"):
            read_comparison(saved)
