"""What composes pages and scenes, with MNIST's digits and the writers of the package."""

from __future__ import annotations

import pytest

from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.synthesis.scenes import SceneComposer
from digitcli.synthesis.stamps import WritingRoom, load_fonts
from digitcli.synthesis.strokes import load_writers


@pytest.fixture(scope="session")
def room() -> WritingRoom:
    """Return a room with MNIST's digits, and the writers and fonts of the package."""
    return WritingRoom(split(load_mnist()).train, load_writers(), load_fonts().split("train"))


@pytest.fixture(scope="session")
def composer(room: WritingRoom) -> SceneComposer:
    """Return what composes pages and other scenes."""
    return SceneComposer(room)
