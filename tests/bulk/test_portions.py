"""A portion is read once, whole, and with the same bytes after the death of a worker."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from digitcli.bulk import portions
from digitcli.bulk.portions import PART, _serve, read_portion
from digitcli.errors import EnvironmentFault, InputError, ModelError, PictureError, UsageError
from digitcli.recognition.reader_config import ReaderConfig
from tests.bulk.conftest import CONTENTS


def texts(part: str) -> list[str | None]:
    return list(pq.read_table(part)["text"].to_pylist())


def names_in(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


def test_a_part_is_written_once(manifest: str, config: ReaderConfig) -> None:
    result = read_portion(manifest, 0, "out", config)
    assert (result.pictures, result.pages, result.was_there) == (3, 3, False)
    assert texts(f"out/{PART.format(0)}") == ["0", "1", "2"]
    before = Path("out", PART.format(0)).stat()
    assert read_portion(manifest, 0, "out", config).was_there
    assert Path("out", PART.format(0)).stat().st_mtime_ns == before.st_mtime_ns
    assert names_in("out") == [PART.format(0)]
    last = read_portion(manifest, 2, "out", config)
    assert (last.by_status, last.by_reason) == ({"error": 1}, {"empty_file": 1})
    with pytest.raises(UsageError, match="other models or options"):
        read_portion(manifest, 0, "out", replace(config, rotate="90"))
    with pytest.raises(InputError, match="has no portion 3"):
        read_portion(manifest, 3, "out", config)
    with pytest.raises(ModelError, match="The models here are"):
        read_portion(manifest, 1, "out", replace(config, identity="cnn@00000000"))


@pytest.mark.parametrize("is_daemon", [False, True])  # as workers of Dask are
def test_a_second_attempt_gives_the_same_bytes(
    manifest: str, config: ReaderConfig, monkeypatch: pytest.MonkeyPatch, is_daemon: bool
) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "daemon", is_daemon)
    read_portion(manifest, 1, "first", config)
    Path("second").mkdir()
    Path("second/part-0000001.try").write_text("1")
    read_portion(manifest, 1, "second", config)
    first, second = (Path(folder, PART.format(1)).read_bytes() for folder in ("first", "second"))
    assert first == second and names_in("second") == [PART.format(1)]


def serve_but_die_at_a_one(pipe: Connection, config: ReaderConfig) -> None:
    """Answer as `_serve` does, but die at the picture of a 1, as a damaged decoder would."""

    class Dying:
        def recv(self) -> object:
            if (source := pipe.recv()).content == CONTENTS["1.png"]:
                os._exit(11)
            return source

        def send(self, answer: object) -> None:
            pipe.send(answer)

    _serve(Dying(), config)  # type: ignore[arg-type]


def test_a_picture_that_kills_its_process_has_a_row(
    manifest: str, config: ReaderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "_serve", serve_but_die_at_a_one)
    Path("out").mkdir()
    Path("out/part-0000000.try").write_text("1")
    result = read_portion(manifest, 0, "out", config)
    assert result.by_reason == {"crashed": 1}
    rows = pq.read_table(f"out/{PART.format(0)}").to_pylist()
    assert [row["text"] for row in rows] == ["0", None, "2"] and [row["index"] for row in rows] == [0, 1, 2]
    assert rows[1]["error"]["reason"] == "crashed" and "2 times" in rows[1]["error"]["cause"]
    assert {row["model"] for row in rows} == {config.identity}


def die(pipe: Connection, config: ReaderConfig) -> None:
    """End before anything is read, as where memory is short."""
    os._exit(9)


def test_no_picture_is_blamed_for_a_process_that_cannot_start(
    manifest: str, config: ReaderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "_serve", die)
    Path("out").mkdir()
    Path("out/part-0000000.try").write_text("1")
    with pytest.raises(EnvironmentFault, match="cannot start"):
        read_portion(manifest, 0, "out", config)
    assert not Path("out", PART.format(0)).exists()


def test_what_may_pass_is_tried_again_before_it_is_an_error(
    manifest: str, config: ReaderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        portions, "content_of", lambda entry: PictureError("unavailable", "The store is busy.")
    )
    monkeypatch.setattr(portions, "read_apart", lambda sources, config: config.reader().read_all(sources))
    Path("out").mkdir()
    Path("out/part-0000000.try").write_text("0")  # of a worker that was stopped
    for _ in range(portions.ATTEMPTS - 1):
        with pytest.raises(InputError, match="A picture of portion 0 cannot be read: The store"):
            read_portion(manifest, 0, "out", config)
        assert not Path("out", PART.format(0)).exists()
    assert read_portion(manifest, 0, "out", config).by_reason == {"unavailable": 3}
    assert all(row["error"]["transient"] for row in pq.read_table(f"out/{PART.format(0)}").to_pylist())


def test_a_part_with_fewer_rows_than_it_says_is_read_again(manifest: str, config: ReaderConfig) -> None:
    read_portion(manifest, 0, "out", config)
    place = Path("out", PART.format(0))
    whole, table = place.read_bytes(), pq.read_table(place)
    pq.write_table(table.slice(1), place)
    assert not read_portion(manifest, 0, "out", config).was_there
    assert place.read_bytes() == whole
