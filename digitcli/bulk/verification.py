"""Verify that the results of a run are whole: nothing missing, nothing twice, all by the same reader."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from digitcli.bulk.engines import RUN
from digitcli.bulk.portions import PART, PortionResult, result_of
from digitcli.data.storage import open_folder, read_ahead, store_faults
from digitcli.errors import InputError
from digitcli.events import OnEvent, ThingsDone
from digitcli.recognition.reader_config import ReaderConfig

TAIL = 65_536  # bytes at the end of a part that hold what it says of itself


@dataclass
class Verification:
    """What the parts in a folder say.

    missing: the portions without a part.
    damaged: the names of parts that cannot be read.
    foreign: the names of parts that belong to no portion, or to another run, whose rows would count twice.
    """

    out: str
    portions: int
    expected: int
    pictures: int = 0
    pages: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    missing: list[int] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether every picture of the manifest has its rows, and has them once."""
        return not (self.missing or self.damaged or self.foreign) and self.pictures == self.expected


def verify(out: str, on_event: OnEvent = lambda event: None) -> Verification:
    """Compare all parts of a folder with the run that it belongs to.

    Raises:
        InputError: the folder holds no run.
        OutputError: it cannot be listed.
    """
    folder = open_folder(out)

    def read(name: str) -> PortionResult | None:
        start = max(0, sizes[name] - TAIL)
        return result_of(folder.read(name, start, sizes[name] - start)) or result_of(folder.read(name))

    with store_faults(out):
        try:
            run = json.loads(folder.read(RUN))
            config = ReaderConfig.from_json(json.dumps(run["config"]))
            result = Verification(out, run["portions"], run["pictures"])
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError) as fault:
            raise InputError(
                f"{out} holds no results of digitcli predict --manifest.", "Name its folder."
            ) from fault
        sizes = {name: size for name, size in folder.files() if name.endswith(".parquet")}
        expected = {PART.format(portion): portion for portion in range(result.portions)}
        result.missing = [portion for name, portion in expected.items() if name not in sizes]
        result.foreign = sorted(sizes.keys() - expected.keys())
        known = [name for name in expected if name in sizes]
        for number, (name, part) in enumerate(read_ahead(known, read), start=1):
            if part is None:
                result.damaged.append(name)
            elif (part.portion, part.portions, part.config) != (expected[name], len(expected), config.digest):
                result.foreign.append(name)
            else:
                result.pictures += part.pictures
                result.pages += part.pages
                result.by_status.update(part.by_status)
                result.by_reason.update(part.by_reason)
            on_event(ThingsDone(number, len(known)))
    return result
