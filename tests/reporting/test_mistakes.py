from __future__ import annotations

from pathlib import Path

import pytest
import torch

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.evaluation.evaluate import Mistake
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.reporting.mistakes import MAX_MISTAKES, explain_command, show_mistakes
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


@pytest.mark.parametrize("size, is_flat", [(0.0001, True), (0.1, False)])
def test_an_answer_that_hardly_depends_on_the_ink_is_marked(
    digits: Digits, tmp_path: Path, size: float, is_flat: bool
) -> None:
    path, random = tmp_path / "softmax.safetensors", torch.Generator().manual_seed(0)
    weights = create_model("softmax").state_dict()
    weights = {name: size * torch.randn(each.shape, generator=random) for name, each in weights.items()}
    write_checkpoint(path, Header(architecture="softmax", task="digit"), weights)
    (shown,) = show_mistakes([Mistake(0, 7, 3, 0.1, 0.1)], digits, resolve_model(path))
    assert shown.is_flat is is_flat


def test_only_test_digits_of_mnist_can_be_explained_by_their_number() -> None:
    assert explain_command("runs/a b", "mnist", "test") == "digitcli explain 'runs/a b' --test-digit"
    assert explain_command("cnn", "mnist", "validation") is None
    assert explain_command("cnn", "digits.npz", "test") is None
