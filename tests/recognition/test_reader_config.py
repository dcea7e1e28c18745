"""A reader travels to other processes and machines, as a pickle or as text."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from digitcli.errors import ModelError, UsageError
from digitcli.recognition.reader import Reader
from digitcli.recognition.reader_config import ReaderConfig
from tests.support.pictures import drawn, encoded

SEVEN = encoded(drawn("7"))


def test_a_pickled_reader_loads_when_it_is_first_used_and_reads_alike() -> None:
    reader = Reader("micro", device="cpu", min_confidence=0.3, rotate=90)
    pickled = pickle.dumps(reader)
    copy = pickle.loads(pickled)
    assert len(pickled) < 2000 and "models" not in copy.__dict__
    picture = np.rot90(drawn("7"))
    assert copy.read(picture) == reader.read(picture) and copy.name == reader.name
    assert copy.min_confidence == 0.3 and pickle.dumps(copy) == pickled
    with pytest.raises(AttributeError):
        copy.nothing  # noqa: B018


def test_a_configuration_is_text_that_gives_the_same_reader() -> None:
    config = ReaderConfig(models=("micro",), length="1", max_error=0.01)
    again = ReaderConfig.from_json(config.to_json())
    assert again == config and again.digest == config.digest != ReaderConfig(models=("micro",)).digest
    reader = again.with_identity().reader(for_worker=True)
    assert reader.read(SEVEN).text == "7"
    with pytest.raises(ModelError, match="The models here are micro@"):
        ReaderConfig(models=("micro",), identity="micro@00000000").reader()
    for text in ("{}", "[]", "no", '{"models": [], "size": 1}'):
        with pytest.raises(UsageError, match="no configuration"):
            ReaderConfig.from_json(text)


def test_pictures_are_bytes_with_names_and_open_files_and_have_positions(tmp_path: Path) -> None:
    (tmp_path / "7.png").write_bytes(SEVEN)
    reader = Reader("micro", device="cpu")

    class Remote:
        """A path of another file system."""

        def __init__(self, content: bytes | None) -> None:
            self.content = content

        def read_bytes(self) -> bytes:
            if self.content is None:
                raise FileNotFoundError("it is gone")
            return self.content

        def __str__(self) -> str:
            return "s3://bucket/7.png"

    with Path("7.png").open("rb") as file:
        pictures = [("a", SEVEN), file, io.BytesIO(SEVEN), Remote(SEVEN), Remote(None), b"", "7.png"]
        readings = list(reader.read_all(pictures))
    assert [reading.text for reading in readings] == ["7", "7", "7", "7", None, None, "7"]
    names = ["a", "7.png", "", "s3://bucket/7.png", "s3://bucket/7.png", "", "7.png"]
    assert [reading.file for reading in readings] == names
    assert [reading.index for reading in readings] == list(range(7))
    assert readings[4].reason == "not_found"
