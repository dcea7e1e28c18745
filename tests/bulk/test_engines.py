"""All portions are read, whatever dies; results are verified."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from digitcli.bulk import engines
from digitcli.bulk.engines import read_manifest
from digitcli.bulk.manifest import open_manifest, write_manifest
from digitcli.bulk.portions import PART, PortionResult
from digitcli.bulk.verification import verify
from digitcli.errors import EnvironmentFault, InputError, UsageError
from digitcli.events import Event, ThingsDone
from digitcli.recognition.reader_config import ReaderConfig


def test_a_run_reads_what_is_missing(manifest: str, config: ReaderConfig) -> None:
    events: list[Event] = []
    first = read_manifest(manifest, "out", config, share=(1, 2))
    assert (first.portions, first.read, first.pictures) == (1, 1, 3)
    rest = read_manifest(manifest, "out", config, on_event=events.append)
    assert (rest.portions, rest.read, rest.kept, rest.pages) == (3, 2, 1, 4) and not rest.failures
    assert rest.by_status == {"read": 3, "error": 1} and rest.by_reason == {"empty_file": 1}
    done = [event.done for event in events if isinstance(event, ThingsDone)]
    assert done == [1, 2, 3]
    assert read_manifest(manifest, "out", config).read == 0
    with pytest.raises(UsageError, match="other models, options or pictures"):
        read_manifest(manifest, "out", replace(config, rotate="90"))
    write_manifest(
        [replace(each, file="x.png") for each in open_manifest(manifest).entries(0)], "other.parquet"
    )
    assert open_manifest("other.parquet").digest != open_manifest(manifest).digest
    result = verify("out")
    assert result.is_whole and (result.pictures, result.pages) == (7, 7)


def test_verification_finds_what_is_missing_damaged_or_foreign(manifest: str, config: ReaderConfig) -> None:
    read_manifest(manifest, "out", config)
    other = json.loads(Path("out/run.json").read_text())
    shutil.copy(f"out/{PART.format(0)}", f"out/{PART.format(7)}")
    Path("out", PART.format(1)).write_bytes(b"PAR1 damaged")
    Path("out", PART.format(2)).unlink()
    result = verify("out")
    assert not result.is_whole
    assert (result.missing, result.damaged, result.foreign) == ([2], [PART.format(1)], [PART.format(7)])
    shutil.copy(f"out/{PART.format(0)}", f"out/{PART.format(2)}")  # twice
    assert PART.format(2) in verify("out").foreign
    other["config"]["rotate"] = "90"
    Path("out/run.json").write_text(json.dumps(other))
    assert PART.format(0) in verify("out").foreign
    with pytest.raises(InputError, match="holds no results"):
        verify("nowhere")


@dataclass(frozen=True)
class DyingTask:
    """Dies at its first attempts at a portion, by what a killed worker leaves behind: nothing."""

    folder: str
    deaths: int

    def __call__(self, portion: int) -> PortionResult:
        tries = len(list(Path(self.folder).glob(f"{portion}-*")))
        if portion == 1 and tries < self.deaths:
            Path(self.folder, f"{portion}-{tries}").touch()
            os._exit(9)
        return PortionResult(portion, 3, 1, 1, "digest")


def test_portions_of_dead_processes_are_read_again(tmp_path: Path) -> None:
    task = DyingTask(str(tmp_path), deaths=2)
    read = dict(engines._by_processes(task, iter(range(3)), 2))
    assert sorted(read) == [0, 1, 2] and all(isinstance(each, PortionResult) for each in read.values())
    with pytest.raises(EnvironmentFault, match="die again and again"):
        list(engines._by_processes(DyingTask(str(tmp_path), deaths=99), iter([1]), 1))


def test_parts_are_small_and_equal_on_every_run(manifest: str, config: ReaderConfig) -> None:
    for out in ("a", "b"):
        read_manifest(manifest, out, config)
    for number in range(3):
        first, second = (Path(out, PART.format(number)).read_bytes() for out in ("a", "b"))
        assert first == second
    schema = pq.read_schema(f"a/{PART.format(0)}")
    assert schema.field("numbers").type.value_type.field("alternatives").type.value_type.num_fields == 2
