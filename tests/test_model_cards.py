"""The model cards that a script writes from checkpoints and measurements."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from digitcli.errors import UsageError
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from digitcli.export.hugging_face import FACTS_FILE
from digitcli.inference.model_resolution import shipped_models
from scripts import model_cards as module
from tests.support.models import as_npz, pointing_digits, pointing_model

DATASET = {"name": "mnist", "train": 55_000, "validation": 5_000, "test": 10_000}


def test_a_card_has_facts_of_the_checkpoint_and_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shipped model and four digits; the model reads three of them."""
    path = pointing_model(tmp_path / "pointer.safetensors", dataset=DATASET, seed=0)
    (tmp_path / FACTS_FILE).write_text(f'["{path}"]\ncommand = "digitcli train"\nnotes = "Points."\n')
    small = as_npz(tmp_path / "four.npz", pointing_digits([1, 2, 3, 4], [1, 2, 3, 5]))

    def quick(name: str, data: str = small, **options: Any) -> EvaluationResult:
        return dataclasses.replace(evaluate(name, data, **options), accuracy_without_label_errors=0.6)

    monkeypatch.setattr(module, "shipped_models", lambda: {str(path): path})
    monkeypatch.setattr(module, "evaluate", quick)
    text = module.model_cards([small])
    assert f"## {path}\n\n| | |\n|---|---|\n| architecture | `softmax`: " in text
    for words in (
        "7,850 · 0.00784 million for an image",
        "`digitcli train` (seed 0)",
        "55,000 digits of mnist; 5,000 more",
        "75.00 % of the 4 test digits",
        "60.00 % without 15",
        "| corrupted | ",
        "| digits of four | 75.00 % of 4, and it is not known whether the model was trained on them",
        "\n\nPoints.\n",
    ):
        assert words in text, words
    assert re.search(r"letters [01]\.\d{3}", text)


@pytest.mark.parametrize(
    ("overlap", "said"), [(None, "not known"), (0, "none of which"), (1234, "1,234 of which were trained on")]
)
def test_a_card_says_how_many_digits_were_trained_on(overlap: int | None, said: str) -> None:
    assert said in module._overlap(overlap)


def test_datasets_with_the_same_name_are_refused() -> None:
    with pytest.raises(UsageError, match="digits of test"):
        module.model_cards(["one/test.npz", "two/test.csv"])


def test_every_shipped_model_has_its_facts() -> None:
    folder = next(iter(shipped_models().values())).parent
    facts = tomllib.loads((folder / FACTS_FILE).read_text())
    assert facts.keys() == shipped_models().keys()
    commands = ("digitcli train ", "digitcli evaluate ")
    assert all(each["command"].startswith(commands) and each["notes"] for each in facts.values())


def test_every_shipped_model_has_its_card() -> None:
    folder = next(iter(shipped_models().values())).parent
    titles = [line[3:] for line in (folder / "README.md").read_text().splitlines() if line.startswith("## ")]
    assert titles == list(shipped_models())
