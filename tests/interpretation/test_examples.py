"""The nearest training digits, whose features are stored at the first search, and counterfactuals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from digitcli.data.dataset import Digits
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation import examples
from digitcli.interpretation.examples import SEARCHED, NeighbourSearch, counterfactual

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
    monkeypatch.setattr(examples, "load_mnist", None)  # it would fail
    second = NeighbourSearch(network, FAST).nearest(digits.images[0])
    assert [(each.index, each.distance) for each in first] == [(each.index, each.distance) for each in second]


def test_a_damaged_file_and_features_of_another_version_are_replaced(
    network: nn.Module, digits: Digits, stored: Path
) -> None:
    NeighbourSearch(network, FAST)
    right = stored.read_bytes()
    with np.load(stored) as arrays:
        kept = dict(arrays)
    others = (kept["features"][:, 1:], 1.1 * kept["features"])
    for content in (b"", b"PK broken", b"no archive", *others):
        if isinstance(content, bytes):
            stored.write_bytes(content)
        else:
            np.savez(stored, **{**kept, "features": content})
        assert NeighbourSearch(network, FAST).nearest(digits.images[0])[0].label == 7
        assert stored.read_bytes() == right


def test_a_cache_that_cannot_be_written_does_no_harm(
    network: nn.Module, digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path / "file"))
    assert NeighbourSearch(network, FAST).nearest(digits.images[0])[0].label == 7


@pytest.mark.parametrize("digit", [1, 2, 9])
def test_a_seven_becomes_another_digit_by_little_ink(network: nn.Module, images: Tensor, digit: int) -> None:
    seven = images[:1]
    changed = counterfactual(network, seven, digit)
    assert changed is not None
    assert torch.allclose(255 * changed, (255 * changed).round(), atol=1e-4)  # it is stored in grey levels
    assert int(network(changed).argmax()) == digit
    assert changed.min() >= 0 and changed.max() <= 1
    assert (changed - seven).abs().sum() < 0.5 * seven.sum()


def test_nothing_is_returned_where_nothing_is_found(images: Tensor) -> None:
    class Sure(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return torch.eye(10)[7].expand(len(batch), 10) + 0 * batch.sum()

    assert counterfactual(Sure(), images[:1], 3) is None
