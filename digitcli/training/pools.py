"""Pools of examples: composed when they are needed, or stored in a folder and used again.

Pool n depends on nothing but the seed and n, so a run that is resumed sees what it would have seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from digitcli.atomic_write import faults_of, write_whole
from digitcli.data.dataset import split
from digitcli.data.mnist import load_mnist
from digitcli.errors import InputError, UsageError
from digitcli.events import OnEvent, ThingsDone
from digitcli.synthesis.scenes import SceneComposer, scene_composer
from digitcli.threads import set_up_worker

Example = TypeVar("Example")
Arrays = Mapping[str, npt.NDArray[Any]]

STORED_EXAMPLES = 512  # in a file
POOL_FILE, FILE_NAME = "pool.json", "{:05}.npz"


@dataclass(frozen=True)
class Storage(Generic[Example]):
    """How examples are composed and stored.

    compose: returns a number of examples with writing by a composer.
    pack, unpack: turn examples into arrays and back.
    """

    compose: Callable[[SceneComposer, np.random.Generator, int], list[Example]]
    pack: Callable[[Sequence[Example]], dict[str, npt.NDArray[Any]]]
    unpack: Callable[[Arrays], list[Example]]


@dataclass(frozen=True)
class PoolSummary:
    """A folder of stored examples.

    kind: what they are for, for example `finder`.
    digest: SHA-256 of its files.
    """

    folder: str
    kind: str
    count: int
    seed: int
    bytes: int
    digest: str


class StoredExamples(Generic[Example]):
    """The examples of a folder, `count` of them, file by file.

    Raises:
        InputError: the folder is unfinished, or holds examples of another kind.
    """

    def __init__(self, folder: Path, kind: str, unpack: Callable[[Arrays], list[Example]]) -> None:
        remedy = f"Write it with: digitcli synthesize --for {kind} -o {folder}"
        try:
            facts = json.loads((folder / POOL_FILE).read_text(encoding="utf-8"))
            self.digest, self.count, found = str(facts["digest"]), int(facts["count"]), facts["kind"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} holds no finished pool of examples: {error}.", remedy) from error
        if found != kind:
            raise InputError(f"{folder} holds examples for '{found}', and not for '{kind}'.", remedy)
        self._folder, self._unpack, self._remedy = folder, unpack, remedy

    def take(self, start: int, count: int) -> list[Example]:
        """Return a number of examples from one on; after the last example comes the first."""
        examples: list[Example] = []
        while len(examples) < count:
            number, first = divmod((start + len(examples)) % self.count, STORED_EXAMPLES)
            examples += self._read(number)[first : first + count - len(examples)]
        return examples

    def _read(self, number: int) -> list[Example]:
        path = self._folder / FILE_NAME.format(number)
        try:
            with np.load(path) as arrays:
                return self._unpack(dict(arrays))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} cannot be read: {error}.", self._remedy) from error


def write_pool(
    folder: Path,
    kind: str,
    storage: Storage[Any],
    count: int,
    seed: int,
    processes: int = 1,
    on_event: OnEvent = lambda event: None,
) -> PoolSummary:
    """Compose examples from MNIST's training digits and write them to a folder.

    The same command continues what an earlier one has begun. Equal seeds give equal bytes; the file that
    tells what the folder holds is written last.

    Raises:
        UsageError: the folder holds a pool that is finished.
        OutputError: it cannot be written.
    """
    if (folder / POOL_FILE).exists():
        raise UsageError(f"{folder} holds a finished pool.", "Name another folder, or use this one.")
    with faults_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
    numbers = range(-(-count // STORED_EXAMPLES))
    sizes = [min(STORED_EXAMPLES, count - number * STORED_EXAMPLES) for number in numbers]
    write = partial(_write_file, folder, storage, seed)
    done = 0
    with contextlib.ExitStack() as stack:
        results: Iterable[None] = map(write, numbers, sizes)
        if processes > 1:
            pool = ProcessPoolExecutor(processes, get_context("spawn"), set_up_worker)
            results = stack.enter_context(pool).map(write, numbers, sizes)
        for size, _ in zip(sizes, results, strict=True):
            done += size
            on_event(ThingsDone(done, count))
    files = sorted(folder.glob("*.npz"))
    sha256 = hashlib.sha256()
    for file in files:
        sha256.update(file.read_bytes())
    total = sum(file.stat().st_size for file in files)
    summary = PoolSummary(str(folder), kind, count, seed, total, sha256.hexdigest())
    write_whole(folder / POOL_FILE, (json.dumps(asdict(summary), indent=2) + "\n").encode())
    return summary


def _write_file(folder: Path, storage: Storage[Any], seed: int, number: int, count: int) -> None:
    path = folder / FILE_NAME.format(number)
    if path.exists():
        return
    composer = scene_composer(split(load_mnist()).train, "train")
    examples = storage.compose(composer, np.random.default_rng([seed, number]), count)
    content = io.BytesIO()
    np.savez_compressed(content, **storage.pack(examples))  # type: ignore[arg-type]
    write_whole(path, content.getvalue())
