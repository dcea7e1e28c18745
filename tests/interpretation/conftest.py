"""A few digits, and networks with fresh weights, which are explained as trained ones are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from digitcli.data.dataset import Digits


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Store features in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIGITCLI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def images(digits: Digits) -> Tensor:
    """Three digits, float32 (3, 1, 28, 28) with ink 1."""
    return torch.from_numpy(digits.images[:3].copy())[:, None].float() / 255


@pytest.fixture
def labels(digits: Digits) -> Tensor:
    return torch.from_numpy(digits.labels[:3].copy())
