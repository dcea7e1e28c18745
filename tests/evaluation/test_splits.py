from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digitcli.data.dataset import Dataset, Digits, split
from digitcli.data.loading import load_dataset
from digitcli.errors import InputError, UsageError
from digitcli.evaluation.evaluate import evaluate
from digitcli.evaluation.splits import MNIST_LABEL_ERRORS
from tests.support.models import as_npz, pointing_digits, pointing_model


def parts_of(name: str, dataset: Dataset) -> Digits:
    splits = split(dataset)
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}[name]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("has_test", [False, True])
def test_a_named_split_is_the_one_of_training(tmp_path: Path, part: Any, has_test: bool) -> None:
    digits = pointing_digits([index % 10 for index in range(84)], [0] * 84)
    data = as_npz(tmp_path / "set.npz", digits, digits.take(np.arange(20)) if has_test else None)
    result = evaluate(str(pointing_model(tmp_path / "m.safetensors")), data, split=part, device="cpu")
    assert result.split == part
    assert np.array_equal(result.digits.images, parts_of(part, load_dataset(data)).images)


def test_test_digits_are_the_default_and_all_includes_both_parts(tmp_path: Path) -> None:
    model = str(pointing_model(tmp_path / "m.safetensors"))
    data = as_npz(tmp_path / "set.npz", pointing_digits([1] * 5, [1] * 5), pointing_digits([2] * 3, [2] * 3))
    by_itself, everything = evaluate(model, data), evaluate(model, data, split="all")
    assert (by_itself.split, by_itself.n) == ("test", 3)
    assert (everything.split, everything.digits.labels.tolist()) == ("all", [1] * 5 + [2] * 3)


def test_a_model_trained_on_the_dataset_is_evaluated_on_its_held_out_digits(tmp_path: Path) -> None:
    data = as_npz(tmp_path / "set.npz", pointing_digits([1] * 70, [1] * 70))
    seen = {"digest": load_dataset(data).digest}
    knows, new = (
        str(pointing_model(tmp_path / f"{name}.safetensors", dataset=dataset))
        for name, dataset in (("knows", seen), ("new", {"digest": "0" * 64}))
    )
    assert (evaluate(new, data).split, evaluate(new, data).n) == ("all", 70)
    assert (evaluate([new, knows], data).split, evaluate(knows, data).n) == ("test", 10)


def test_too_few_digits_to_split_are_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too few") as caught:
        evaluate(
            str(pointing_model(tmp_path / "m.safetensors")),
            as_npz(tmp_path / "set.npz", pointing_digits([1], [1])),
            split="validation",
        )
    assert caught.value.remedy == "Give --split all."


def test_digits_with_label_errors_are_left_out() -> None:
    result = evaluate("fast", without_label_errors=True, device="cpu")
    right = result.predicted == result.digits.labels
    kept = np.delete(right, MNIST_LABEL_ERRORS)
    assert len(kept) == 9_985
    assert result.accuracy_without_label_errors == pytest.approx(kept.mean())


def test_other_digits_have_no_known_label_errors(tmp_path: Path) -> None:
    data = as_npz(tmp_path / "set.npz", pointing_digits([1, 2], [1, 2]))
    with pytest.raises(UsageError, match="--without-label-errors"):
        evaluate("fast", data, without_label_errors=True, device="cpu")
