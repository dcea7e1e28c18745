"""The nearest training digits, whose features are stored at the first search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from digitcli.data.dataset import Digits
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation import neighbours
from digitcli.interpretation.neighbours import SEARCHED, NeighbourSearch

FAST = resolve_model("fast")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return load_model("fast")


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file in which the features of `fast` are stored."""
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path))
    return tmp_path / "features" / f"{FAST.id.rpartition('@')[2]}.npz"


def test_a_second_search_reads_what_the_first_stored(
    network: nn.Module, digits: Digits, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = NeighbourSearch(network, FAST).nearest(digits.images[0])
    with np.load(stored) as arrays:
        assert len(arrays["features"]) == SEARCHED
    monkeypatch.setattr(neighbours, "load_mnist", None)  # it would fail
    second = NeighbourSearch(network, FAST).nearest(digits.images[0])
    assert [(each.index, each.distance) for each in first] == [(each.index, each.distance) for each in second]


@pytest.mark.parametrize("content", [b"", b"PK broken", b"no archive"])
def test_a_damaged_file_is_replaced(network: nn.Module, digits: Digits, stored: Path, content: bytes) -> None:
    stored.parent.mkdir()
    stored.write_bytes(content)
    assert NeighbourSearch(network, FAST).nearest(digits.images[0])[0].label == 7
    with np.load(stored) as arrays:
        assert set(arrays) == {"images", "labels", "numbers", "features"}


@pytest.mark.parametrize("change", [lambda seen: seen[:, 1:], lambda seen: 1.1 * seen])
def test_features_of_another_version_are_replaced(
    network: nn.Module, digits: Digits, stored: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    NeighbourSearch(network, FAST)
    with np.load(stored) as arrays:
        newer = dict(arrays)
    np.savez(stored, **{**newer, "features": change(newer["features"])})
    assert NeighbourSearch(network, FAST).nearest(digits.images[0])[0].label == 7
    with np.load(stored) as arrays:
        assert np.array_equal(arrays["features"], newer["features"])


def test_a_cache_that_cannot_be_written_does_no_harm(
    network: nn.Module, digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path / "file"))
    assert NeighbourSearch(network, FAST).nearest(digits.images[0])[0].label == 7
