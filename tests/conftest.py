"""Fixtures of all tests: a few real digits, runs of the command line, and a network that trains at once."""

from __future__ import annotations

import functools
import importlib.metadata
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import ImageFont

from digitcli.architectures import registry
from digitcli.data import mnist
from digitcli.data.dataset import Digits, split
from digitcli.data.mnist import load_mnist, load_mnist_test
from tests.support.processes import Run
from tests.support.terminal import Terminal, run_in_process, terminal

# A slow machine is no failure, and every run tries the same examples.
settings.register_profile("digitcli", deadline=None, derandomize=True, database=None)
settings.load_profile("digitcli")

if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core; more threads only get in one another's way
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each process that a test starts compiles the package


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, so that relative paths do not lead into the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def mnist_is_decompressed_once() -> Iterator[None]:
    """Decompress the embedded digits once, which takes half a second; no test may change them."""
    arrays = functools.cache(mnist._read_embedded)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist, "_read_embedded", arrays)
        yield
        if arrays.cache_info().currsize == len(mnist.SHA256):  # else nothing but the test digits was read
            assert mnist.load_mnist().digest == mnist.DIGEST


@pytest.fixture(scope="session")
def digits() -> Digits:
    """The 10,000 embedded test digits."""
    return load_mnist_test()


@pytest.fixture(scope="session")
def few_digits(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 digits as an .npz file, for training in a second."""
    path = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(path, images=digits.images[:600], labels=digits.labels[:600])
    return path


@pytest.fixture(scope="session")
def other_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 digits that shipped models were trained on, as an .npz file."""
    path = tmp_path_factory.mktemp("data") / "other.npz"
    train = split(load_mnist()).train
    np.savez(path, images=train.images[:600], labels=train.labels[:600])
    return path


@pytest.fixture
def fonts(tmp_path: Path) -> Path:
    """A folder with the font that Pillow brings."""
    folder = tmp_path / "fonts" / "below"
    folder.mkdir(parents=True)
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont) and isinstance(font.path, io.BytesIO)
    (folder / "one.ttf").write_bytes(font.path.getvalue())
    (folder / "OFL.txt").write_text("its licence")
    return folder.parent


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that pretends that packages with these architectures are installed."""

    def install(**targets: str) -> None:
        points = EntryPoints(
            EntryPoint(name, target, "digitcli.architectures") for name, target in targets.items()
        )
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points.select(group=group))
        registry.architectures.cache_clear()

    yield install
    monkeypatch.undo()
    registry.architectures.cache_clear()


@pytest.fixture
def digitcli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `digitcli ARGUMENTS` without a process; `input` is its stdin, `env` what the environment adds."""

    def run(
        *arguments: str | Path, input: bytes = b"", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input)))
            capsys.readouterr()
            code = run_in_process(patch, arguments, env or {})
            return subprocess.CompletedProcess(["digitcli", *map(str, arguments)], code, *capsys.readouterr())

    return run


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Runs `digitcli ARGUMENTS` on a terminal without a process; returns the exit code and what is shown."""

    def run(*arguments: str | Path, **env: str) -> tuple[int, str]:
        with monkeypatch.context() as patch, terminal(patch) as shown:
            code = run_in_process(patch, arguments, {"TERM": "xterm-256color", **env})
        return code, shown()

    return run


@pytest.fixture
def digitcli_process(tmp_path: Path) -> Run:
    """The same as a process of its own."""

    def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "120", **options.pop("env", {})}
        return subprocess.run(
            [sys.executable, "-m", "digitcli", *map(str, arguments)],
            **{"capture_output": True, "text": True, "cwd": tmp_path, "timeout": 120, **options},
            env=environment,
        )

    return run
