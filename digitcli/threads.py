"""The threads of this process on the CPU: how many may compute, and how they wait; and worker processes.

Loads no torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path

# The threads of a process at most (chosen by hand: more than any processor has cores).
MAX_THREADS = 1024
# Where Linux mounts control groups, where it lists those of this process, and where it tells the load.
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
LOAD = Path("/proc/loadavg")
ARENA_MAX = -8  # the number of this parameter in malloc.h
# Where Linux lists the hardware threads of each core.
PROCESSORS = Path("/sys/devices/system/cpu")
SIBLINGS = "cpu[0-9]*/topology/thread_siblings_list"
# Looks at the load that must agree, so that a thread which runs for an instant does not count (chosen by
# hand).
LOOKS = 3
# Seconds between two looks, longer than most of what runs for an instant (chosen by hand).
SECONDS_BETWEEN_LOOKS = 0.001


def usable_cores() -> int:
    """Return the number of cores that this process may use, which affinity and control groups can limit.

    A container is a control group, and may have a quota of 1.5 cores, which counts as 2.
    """
    return max(1, math.ceil(min(_cores_by_affinity(), _quota())))


def file_threads() -> int:
    """Return the threads that open files at once; more than 8 do not help: memory becomes the limit."""
    return min(8, usable_cores())


def default_threads() -> int:
    """Return the threads of a network: as many as OMP_NUM_THREADS says, or one for each usable core."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else usable_cores()


def torch_threads() -> int:
    """Return the threads with which PyTorch computes if nobody has chosen a number. Loads torch."""
    import torch

    threads = torch.get_num_threads()  # one for each core, even if a core has two hardware threads
    return threads if os.environ.get("OMP_NUM_THREADS") else min(threads, usable_cores())


@contextlib.contextmanager
def use_threads(count: int | None) -> Iterator[None]:
    """Let PyTorch compute with this number of threads; None changes nothing. Loads torch."""
    import torch

    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare_openmp(environment: MutableMapping[str, str]) -> None:
    """Set the variables that OpenMP, by which PyTorch computes, reads when it is loaded.

    A thread of OpenMP that waits for another one spins for milliseconds before it sleeps. On an idle machine
    that saves the time to wake it, about a sixth of a training. On a busy one it takes the core from the
    thread for which it waits, and a training can take ten times as long. So threads sleep at once where
    the machine is busy when the program starts, or where a quota is no whole number of cores, so that
    spinning would use it up. No result depends on it. Variables that are set stay.
    """
    if usable_cores() < _cores_by_affinity() and not environment.get("OMP_NUM_THREADS"):
        environment["OMP_NUM_THREADS"] = str(usable_cores())
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & environment.keys():
        is_spun_away = _quota() < usable_cores()
        if is_spun_away or is_busy():
            environment["OMP_WAIT_POLICY"] = "PASSIVE"


def is_busy() -> bool:
    """Return whether others leave fewer cores than this process can use, whenever it looks."""
    for look in range(LOOKS):
        if look:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if not _is_crowded():
            return False
    return True


def _is_crowded() -> bool:
    free = (os.cpu_count() or 1) - running_elsewhere()
    wanted = min(default_threads(), usable_cores())
    if wanted <= free:
        return False
    cores = {path.read_text() for path in PROCESSORS.glob(SIBLINGS)}  # PyTorch takes a thread for each
    return min(wanted, len(cores) or wanted) > free


def running_elsewhere() -> int:
    """Return the number of threads, without this one, that run or wait for a core; 0 if that is not known."""
    try:
        return int(LOAD.read_text().split()[3].split("/")[0]) - 1
    except (OSError, ValueError, IndexError):
        return 0


def _cores_by_affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> float:
    """Return the cores that the control groups of this process allow, infinity if there is no limit."""
    try:
        groups = OWN_CGROUPS.read_text().splitlines()
    except (OSError, ValueError):
        return math.inf
    folders = [CGROUPS / line.removeprefix("0::").lstrip("/") for line in groups if line.startswith("0::")]
    around = {group for folder in folders for group in (folder, *folder.parents)}
    return min(map(_read_quota, around), default=math.inf)


def _read_quota(folder: Path) -> float:
    """Return the cores that a control group allows; its file holds two times in microseconds, or "max"."""
    try:
        quota, period = map(int, (folder / "cpu.max").read_text().split())
        return quota / period
    except (OSError, ValueError):
        return math.inf


def limit_threads() -> None:
    """Let OpenCV and OpenMP use one thread, since other workers on this machine need the other cores.

    malloc gets a single arena: each portion opens pictures by a new thread, whose memory stayed in one of 16.
    """
    import cv2

    cv2.setNumThreads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with contextlib.suppress(AttributeError, OSError, TypeError):  # the C library of Linux alone has it
        ctypes.CDLL(None).mallopt(ARENA_MAX, 1)


def set_up_worker() -> None:
    """Set up a worker process; each worker calls this first.

    It ignores Ctrl-C, which is for the parent, and ends when the parent ends: otherwise it would wait for
    ever to hand over its work. OpenCV uses one thread, because its threads would compete with other workers.
    """
    import multiprocessing.connection

    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # a signal to the parent's process group does not reach the worker
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()

    def end_with_parent(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    if parent is not None:
        threading.Thread(target=end_with_parent, args=(parent.sentinel,), daemon=True).start()
