"""The configuration of a benchmark: its models, runtimes, dtypes and batch sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from digitcli.architectures.registry import ARCHITECTURES
from digitcli.benchmarking.configuration import BenchmarkConfig, find_candidates
from digitcli.errors import ModelError, UsageError
from digitcli.inference.checkpoint import Header, read_header, write_checkpoint
from digitcli.inference.model_resolution import shipped_models


def test_names_stand_for_models_each_once() -> None:
    digit = {row.name for row in ARCHITECTURES if row.task == "digit"}
    names = [candidate.name for candidate in find_candidates(("cnn", "all", "cnn", "softmax"))]
    assert names[0] == "cnn" and digit <= set(names) and len(names) == len(set(names))


def test_no_name_stands_for_the_shipped_models_of_single_digits() -> None:
    paths = {name: path for name, path in shipped_models().items() if read_header(path).task == "digit"}
    assert {each.name: each.model and each.model.path for each in find_candidates(())} == paths


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("lenet", UsageError, "lenet5"),
        ("", UsageError, "all"),
        ("none.safetensors", ModelError, "cnn"),
        ("runs/none", ModelError, "cnn"),
    ],
)
def test_a_name_of_no_model_is_refused(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        find_candidates((name,))
    assert words in caught.value.remedy  # type: ignore[attr-defined]


def test_a_model_of_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "line.safetensors"
    write_checkpoint(path, Header(architecture="softmax", task="line"), {"weight": torch.zeros(1)})
    with pytest.raises(ModelError, match="reads lines"):
        find_candidates((str(path),))


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_sizes": ()},
        {"batch_sizes": (1, 0)},
        {"batch_sizes": (10**12,)},
        {"dtypes": ("int3",)},
        {"dtypes": "float32"},
        {"dtypes": ()},
        {"runtimes": ("tvm",)},
        {"runtimes": "torch"},
        {"runtimes": ()},
        {"threads": 0},
        {"threads": 10**9},
        {"device": "abacus"},
        {"train": True, "runtimes": ("torch.compile",)},
        {"train": True, "dtypes": ("float16",)},
        {"archs": "cnn"},
        {"archs": None},
        {"batch_sizes": 256},
        {"batch_sizes": "256"},
        {"batch_sizes": (1.5,)},
        {"batch_sizes": (True,)},
        {"batch_sizes": ("1",)},
        {"threads": "2"},
        {"threads": 1.5},
        {"device": None},
        {"dtypes": None},
        {"dtypes": (["float32"],)},
    ],
    ids=str,
)
def test_values_out_of_range_or_of_another_type_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        BenchmarkConfig(**settings)
    assert caught.value.remedy
