"""Read the portions of a manifest by processes of this machine, or on Ray (Moritz et al., 2018)."""

from __future__ import annotations

import contextlib
import functools
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from digitcli.bulk.manifest import open_manifest
from digitcli.bulk.portions import PART, PortionResult, read_portion
from digitcli.data.storage import open_folder, store_faults
from digitcli.errors import DigitcliError, EnvironmentFault, UsageError, missing_package
from digitcli.events import OnEvent, ThingsDone
from digitcli.recognition.reader_config import ReaderConfig
from digitcli.threads import set_up_worker

RUN = "run.json"  # what all parts of a folder belong to
IN_FLIGHT = 2  # portions for each worker, so that none waits for this process
IDLE_DEATHS = 3  # deaths of workers one after the other, with no finished portion between, that end a run
Outcome = PortionResult | DigitcliError
Task = Callable[[int], Outcome]  # reads a portion: its number is the argument
Engine = Callable[[Task, Iterator[int], int], Iterator[tuple[int, Outcome]]]


@dataclass
class RunSummary:
    """What a run has read.

    portions: how many portions the manifest has, or the share of this run.
    read, kept: how many this run has read, and how many had been read before.
    pictures, pages: of the portions that were read.
    failures: the portions that could not be read, with the cause.
    """

    out: str
    portions: int = 0
    read: int = 0
    kept: int = 0
    pictures: int = 0
    pages: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, result: PortionResult) -> None:
        """Count a portion."""
        self.read += 1
        self.pictures += result.pictures
        self.pages += result.pages
        self.by_status.update(result.by_status)
        self.by_reason.update(result.by_reason)
        self.cpu_seconds += result.cpu_seconds


def read_manifest(
    manifest: str,
    out: str,
    config: ReaderConfig,
    *,
    share: tuple[int, int] = (0, 1),
    engine: str = "local",
    workers: int = 1,
    address: str | None = None,
    on_event: OnEvent = lambda event: None,
) -> RunSummary:
    """Read the portions of a manifest that a folder lacks; the same call continues what was interrupted.

    share: K and N, to read every N-th portion from the K-th on, counted from 0.
    engine: `local` for processes of this machine, or `ray`, where `address` names its cluster.

    Raises:
        InputError, OutputError, ModelError: see `read_portion`.
        UsageError: the folder holds results of other models, options or pictures.
        EnvironmentFault: the engine is not installed, or workers die without having finished anything.
    """
    plan, (index, count) = open_manifest(manifest), share
    config = config.with_identity()
    done = begin_run(out, manifest, config)
    mine = range(index, plan.portions, count)
    left = [portion for portion in mine if portion not in done]
    summary = RunSummary(out, len(mine), kept=len(mine) - len(left))
    task = functools.partial(_read, manifest, out, config)
    run = _by_processes if engine == "local" else _on_ray(address)
    on_event(ThingsDone(summary.kept, len(mine)))
    for portion, result in run(task, iter(left), workers):
        if isinstance(result, DigitcliError):
            summary.failures[portion] = result.cause
        else:
            summary.add(result)
        on_event(ThingsDone(summary.kept + summary.read + len(summary.failures), len(mine)))
    return summary


def begin_run(out: str, manifest: str, config: ReaderConfig) -> Collection[int]:
    """Return the portions that were read before; write down to what the folder belongs.

    Raises:
        UsageError: it belongs to something else.
        OutputError: it cannot be used.
    """
    folder, plan = open_folder(out), open_manifest(manifest)
    facts = {
        "config": json.loads(config.to_json()), "manifest": plan.digest, "portions": plan.portions,
        "pictures": plan.pictures,
    }  # fmt: skip
    content = (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()
    with store_faults(out):
        try:
            before = folder.read(RUN)
        except FileNotFoundError:
            folder.write(RUN, before := content)
        if before != content:
            cause = f"{out} holds results of other models, options or pictures, as {RUN} in it says."
            raise UsageError(cause, "Name another folder, or give the same command as before.")
        names = {name for name, _ in folder.files()}
    return {portion for portion in range(plan.portions) if PART.format(portion) in names}


def _by_processes(task: Task, portions: Iterator[int], workers: int) -> Iterator[tuple[int, Outcome]]:
    """Read portions by processes; those of a process that died are read again."""
    again, deaths = list[int](), 0
    while True:
        futures: dict[Future[Outcome], int] = {}
        pool = ProcessPoolExecutor(workers, get_context("spawn"), set_up_worker)
        try:
            while True:
                while len(futures) < IN_FLIGHT * workers:
                    portion = again.pop() if again else next(portions, None)
                    if portion is None:
                        break
                    again.append(portion)
                    futures[pool.submit(task, portion)] = again.pop()
                if not futures:
                    return
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield futures.pop(future), result
                    deaths = 0
        except BrokenExecutor as fault:
            again += futures.values()
            deaths += 1
            if deaths > IDLE_DEATHS:
                raise EnvironmentFault(
                    "The processes that read die again and again.", "Give fewer --workers, or more memory."
                ) from fault
        finally:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            with contextlib.suppress(RuntimeError):
                pool.shutdown(cancel_futures=True)


def _on_ray(address: str | None) -> Engine:
    """Return an engine that reads portions by tasks of Ray, each of which takes a core.

    Raises:
        EnvironmentFault: Ray is not installed, or its cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as fault:
        raise missing_package("--engine ray", "ray", str(fault)) from fault
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
    except (ConnectionError, ValueError) as fault:
        cause = f"There is no cluster of Ray at {address}: {fault}."
        raise EnvironmentFault(cause, "Start one with: ray start --head") from fault

    def run(task: Task, portions: Iterator[int], workers: int) -> Iterator[tuple[int, Outcome]]:
        remote: Any = ray.remote(num_cpus=1, max_retries=0)(lambda portion: task(portion))
        tasks: dict[Any, int] = {}
        again, deaths = list[int](), Counter[int]()
        while True:
            while len(tasks) < workers:
                portion = again.pop() if again else next(portions, None)
                if portion is None:
                    break
                tasks[remote.remote(portion)] = portion
            if not tasks:
                return
            for reference in ray.wait(list(tasks), num_returns=1)[0]:
                portion = tasks.pop(reference)
                try:
                    yield portion, ray.get(reference)
                except ray.exceptions.RayError as fault:  # the worker or its machine died
                    deaths[portion] += 1
                    if deaths[portion] > IDLE_DEATHS:
                        yield portion, EnvironmentFault(f"Its workers died {deaths[portion]} times: {fault}.")
                    else:
                        again.append(portion)

    return run


def _read(manifest: str, out: str, config: ReaderConfig, portion: int) -> Outcome:
    """Return the result of a portion, or its error, which must not end the portions of others."""
    try:
        return read_portion(manifest, portion, out, config)
    except DigitcliError as error:
        return error
    except Exception as error:
        remedy = "This is a bug; please report it with the pictures."
        return DigitcliError(f"Internal error, {type(error).__name__}: {error}.", remedy)
