"""Read the pictures of a portion and write one part of the results under a fixed name.

A worker may die at any time. Another one then reads its portion again, with the pictures in a process of
their own: the picture that kills this process gets a row with the reason `crashed`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from digitcli.bulk.manifest import Entry, content_of, open_manifest
from digitcli.bulk.parquet import to_bytes, to_table
from digitcli.data.storage import Folder, open_folder, read_ahead, store_faults
from digitcli.errors import EnvironmentFault, InputError, PictureError, UsageError
from digitcli.recognition.decision import decide_error
from digitcli.recognition.reader import Reader
from digitcli.recognition.reader_config import ReaderConfig
from digitcli.recognition.readings import TRANSIENT, Reading
from digitcli.recognition.sources import Picture
from digitcli.threads import set_up_worker

ATTEMPTS = 3  # that end at an error which may pass, after which it is written
DEATHS = 2  # of the process that reads a picture, before the picture is the cause
PART, ATTEMPT = "part-{:07}.parquet", "part-{:07}.try"
FACTS = "digitcli"  # metadata of a part: JSON


@dataclass(frozen=True)
class PortionResult:
    """What was read of a portion.

    by_status, by_reason: the number of pages with each status, and of those with each reason.
    config: the digest of the reader's configuration.
    was_there: whether the part had been written before.
    """

    portion: int
    portions: int
    pictures: int
    pages: int
    config: str
    by_status: dict[str, int] = field(default_factory=dict)
    by_reason: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    was_there: bool = False


def read_portion(
    manifest: str, portion: int, out: str, config: ReaderConfig, reader: Reader | None = None
) -> PortionResult:
    """Read the pictures of a portion, unless its part is there, and write the part whole.

    reader: one of `config`, to use for several portions; else one for workers is loaded.

    Raises:
        InputError: the manifest cannot be read, or has no such portion; or pictures could not be fetched,
            which may pass: the portion stays unread until a later attempt.
        UsageError: the part was read with other options.
        EnvironmentFault: the process that reads pictures of a later attempt cannot start.
        OutputError: the part cannot be written.
        ModelError: see `ReaderConfig.reader`.
    """
    plan, folder = open_manifest(manifest), open_folder(out)
    if not 0 <= portion < plan.portions:
        raise InputError(f"{manifest} has no portion {portion}.", f"It has 0 to {plan.portions - 1}.")
    with store_faults(out):
        if (known := result_of_part(folder, portion)) is not None:
            if known.config != config.digest:
                cause = f"{out}/{PART.format(portion)} was read with other models or options."
                raise UsageError(cause, "Name another output, or the options of the run before.")
            return replace(known, was_there=True)
        faults = _faults(folder, portion)
        folder.write(ATTEMPT.format(portion), str(faults or 0).encode())
    began, began_cpu = time.perf_counter(), time.process_time()
    entries = plan.entries(portion)
    sources = _fetched(entries, portion, is_last=(faults or 0) >= ATTEMPTS - 1)
    try:
        if faults is None:
            readings = list((reader or worker_reader(config)).read_all(sources))
        else:
            readings = list(read_apart(sources, config))
    except PictureError:
        with store_faults(out):
            folder.write(ATTEMPT.format(portion), str((faults or 0) + 1).encode())
        raise
    result = PortionResult(
        portion, plan.portions, len(entries), len(readings), config.digest,
        dict(Counter(each.status for each in readings)),
        dict(Counter(each.reason for each in readings if each.reason is not None)),
    )  # fmt: skip
    content = to_bytes(to_table(readings), {FACTS: json.dumps(result.__dict__, sort_keys=True)})
    with store_faults(out):
        folder.write(PART.format(portion), content)
        folder.remove(ATTEMPT.format(portion))
    took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    return replace(result, seconds=took, cpu_seconds=took_cpu)


def _fetched(entries: Iterable[Entry], portion: int, *, is_last: bool) -> Iterator[Picture]:
    """Yield the pictures of entries; the first fault that may pass ends an attempt that is not the last."""
    for entry, content in read_ahead(entries, content_of):
        if isinstance(content, PictureError) and content.reason in TRANSIENT and not is_last:
            cause = f"A picture of portion {portion} cannot be read: {content.cause}"
            raise PictureError(content.reason, cause, "Give the same command again.")
        yield Picture(entry.file, content)


@functools.lru_cache(maxsize=1)
def worker_reader(config: ReaderConfig) -> Reader:
    """Return a reader for workers, which is loaded once by each process."""
    return config.reader(for_worker=True)


def result_of_part(folder: Folder, portion: int) -> PortionResult | None:
    """Return what a part says of itself, or None if it is not there.

    Raises:
        OSError: it cannot be read.
    """
    try:
        content = folder.read(PART.format(portion))
    except FileNotFoundError:
        return None
    return result_of(content)


def result_of(part: bytes) -> PortionResult | None:
    """Return what the content of a part says of itself, or None if it is none."""
    try:
        footer = pq.read_metadata(pa.BufferReader(part))
        result = PortionResult(**json.loads((footer.metadata or {})[FACTS.encode()]))
        return result if footer.num_rows == result.pages else None
    except (pa.ArrowInvalid, KeyError, ValueError, TypeError):
        return None


def _faults(folder: Folder, portion: int) -> int | None:
    """Return how many attempts at a portion ended at an error that may pass; None if it was never begun."""
    try:
        return int(folder.read(ATTEMPT.format(portion)))
    except FileNotFoundError:
        return None
    except ValueError:
        return 0


def read_apart(sources: Iterable[Picture], config: ReaderConfig) -> Iterator[Reading]:
    """Yield the readings of pictures that another process reads, one at a time, which a picture may kill."""
    with _Child(config) as child:
        for index, source in enumerate(sources):
            for _ in range(DEATHS):
                readings = child.read(source)
                if readings is not None:
                    break
            else:
                cause = f"'{source.name}' ended the process that read it, {DEATHS} times."
                error = PictureError("crashed", cause, "Make the picture smaller, or save it anew.")
                readings = [replace(decide_error(error), file=source.name, model=config.identity)]
            yield from (replace(reading, index=index) for reading in readings)


class _Child:
    """A process that reads pictures; after its death another one takes its place."""

    def __init__(self, config: ReaderConfig) -> None:
        self._config = config
        self._process: Any = None

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def read(self, source: Picture) -> list[Reading] | None:
        """Return the readings of a picture, or None if the process died."""
        if self._process is None:
            self._start()
        try:
            self._ours.send(source)
            return self._answer()
        except (EOFError, OSError):
            self._process.join()
            self._process = None
            return None

    def _start(self) -> None:
        """Start the process and wait until it has loaded the models: no picture is to blame before."""
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(theirs, self._config), daemon=True)
        current = multiprocessing.current_process()
        is_daemon, current.daemon = current.daemon, False  # as workers of Dask, which may start none
        try:
            process.start()
        finally:
            current.daemon = is_daemon
        self._process = process
        theirs.close()
        try:
            self._answer()
        except EOFError as fault:
            cause = "The process that reads pictures apart cannot start."
            remedy = "Free memory; in a script, stand below: if __name__ == '__main__':"
            raise EnvironmentFault(cause, remedy) from fault

    def _answer(self) -> list[Reading]:
        answer = self._ours.recv()
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


def _serve(pipe: Connection, config: ReaderConfig) -> None:
    """Load the models, then answer pictures until the other process closes the pipe or ends."""
    set_up_worker()
    sources: list[Picture] = []
    with contextlib.suppress(EOFError):
        while True:
            try:
                answer: Any = list(worker_reader(config).read_all(sources))
            except Exception as error:
                answer = error
            pipe.send(answer)
            sources = [pipe.recv()]
