"""Line synthesizers, a room for composers, and a small file of pen strokes."""

from __future__ import annotations

from pathlib import Path

import pytest

from digitcli.data.dataset import Digits, split
from digitcli.data.mnist import load_mnist
from digitcli.synthesis.lines import LineSynthesizer
from digitcli.synthesis.stamps import WritingRoom, load_fonts
from digitcli.synthesis.strokes import load_writers, read_strokes
from tests.support.strokes import unipen


@pytest.fixture(scope="session")
def strokes_text() -> str:
    """Return a file by two writers of all ten digits and one writer of a single digit."""
    header = '\n.INCLUDE        dene.doc\n\n.LEXICON "0" "1"\n.HIERARCHY      DIGIT\n\n'
    complete = "".join(unipen(digit, writer) for writer in (12, 3) for digit in range(10))
    return header + complete + unipen(4, 7)


@pytest.fixture(scope="session")
def strokes_file(strokes_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("strokes") / "pendigits-orig.tra"
    path.write_text(strokes_text)
    return path


@pytest.fixture(scope="session")
def from_mnist(digits: Digits) -> LineSynthesizer:
    """Return a synthesizer that has images and no tablet strokes."""
    return LineSynthesizer(Digits(digits.images[:500], digits.labels[:500]))


@pytest.fixture(scope="session")
def from_strokes(digits: Digits, strokes_file: Path) -> LineSynthesizer:
    """Return a synthesizer that has images and tablet strokes."""
    return LineSynthesizer(Digits(digits.images[:500], digits.labels[:500]), read_strokes(strokes_file))


@pytest.fixture(scope="session")
def room() -> WritingRoom:
    """Return a room with MNIST's digits, and the writers and fonts of the package."""
    return WritingRoom(split(load_mnist()).train, load_writers(), load_fonts().split(held_out=False))
