"""Fixtures of the training tests: a pool of strips, and runs that many tests share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from digitcli.errors import Interrupted
from digitcli.synthesis.strips import pack_strips, unpack_strips
from digitcli.training.pools import Storage, write_pool
from digitcli.training.synthetic_strips import compose_strips
from digitcli.training.trainer import train
from tests.support.training import stop_after, train_config


@pytest.fixture(scope="session")
def strip_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "strips"
    write_pool(path, "reader", Storage(compose_strips, pack_strips, unpack_strips), 60, seed=3)
    return path


@pytest.fixture(scope="session")
def undisturbed(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `mlp`, 3 epochs of 7 steps; tests do not change it."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train(train_config(few_digits), out=folder)
    return folder


@pytest.fixture(scope="session")
def stopped_once(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run after 8 steps."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Interrupted):
        train(train_config(few_digits), out=folder, stop_signal=stop_after(8))
    return folder


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(undisturbed, tmp_path / "finished"))


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """A copy of the run after 8 steps."""
    return Path(shutil.copytree(stopped_once, tmp_path / "stopped"))
