"""The threads of a process: how many may compute, and how they wait on a busy machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from digitcli import threads

VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a test writes what Linux tells: the process may use 4 of 8 cores, and 1 runs."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(threads, "LOAD", tmp_path / "load")
    monkeypatch.setattr(threads, "PROCESSORS", tmp_path / "cpu")
    monkeypatch.setattr(threads, "_cores_by_affinity", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    (tmp_path / "load").write_text("0.50 0.40 0.30 1/321 4711\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_strictest_quota_of_a_container_limits_the_cores(machine: Path) -> None:
    write(machine / "own", "0::/pod/container\n")  # as its host names it, where it is not mounted
    for quota, cores in {"max 100000": 4, "800000 100000": 4, "150000 100000": 2, "5000 100000": 1}.items():
        write(machine / "cgroup" / "cpu.max", quota + "\n")
        assert threads.usable_cores() == threads.file_threads() == cores, quota
    write(machine / "cgroup" / "cpu.max", "max 100000\n")
    write(machine / "cgroup" / "pod" / "cpu.max", "200000 100000\n")
    write(machine / "cgroup" / "pod" / "container" / "cpu.max", "max 100000\n")
    assert threads.usable_cores() == 2


def test_networks_take_a_thread_for_each_core_unless_told_otherwise(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threads.default_threads() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.default_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert threads.default_threads() == 4


def test_a_machine_is_busy_if_others_leave_too_few_cores_for_more_than_an_instant(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for running, is_busy in {1: False, 5: False, 6: True, 60: True}.items():
        write(machine / "load", f"0.50 0.40 0.30 {running}/321 4711\n")
        assert threads.is_busy() == is_busy  # 4 threads of this process, and 8 cores
    monkeypatch.setattr(threads.time, "sleep", lambda seconds: write(machine / "load", "0 0 0 1/321 4711\n"))
    assert not threads.is_busy()
    (machine / "load").unlink()  # where Linux tells nothing
    assert threads.usable_cores() == 4 and not threads.is_busy()


def test_hardware_threads_that_pytorch_leaves_free_count_as_free(machine: Path) -> None:
    for processor in range(8):  # 4 usable ones, two of each core
        siblings = machine / "cpu" / f"cpu{processor}" / "topology" / "thread_siblings_list"
        write(siblings, f"{processor % 2},{processor % 2 + 2}\n")
    write(machine / "load", "0.50 0.40 0.30 7/321 4711\n")
    assert not threads.is_busy()
    write(machine / "load", "0.50 0.40 0.30 8/321 4711\n")
    assert threads.is_busy()


def test_the_program_prepares_openmp_before_anything_else() -> None:
    code = """
import os, runpy, sys
from digitcli import threads
threads.is_busy = lambda: True
runpy.run_module("digitcli.__main__")
print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
"""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "PASSIVE False\n", done.stderr


def test_a_command_computes_with_the_threads_that_are_asked_for() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "digitcli", "doctor", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    facts = json.loads(done.stdout)["facts"]
    assert (facts["device"], facts["OMP_NUM_THREADS"]) == ("cpu (1 thread)", "1")


def prepared(**environment: str) -> dict[str, str]:
    threads.prepare_openmp(environment)
    return environment


def test_waiting_threads_sleep_on_a_busy_machine_unless_a_user_wants_otherwise(machine: Path) -> None:
    assert prepared() == {}
    write(machine / "load", "16.50 9.40 7.30 17/321 4711\n")
    assert prepared() == {"OMP_WAIT_POLICY": "PASSIVE"}
    for own in ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "1000"}):
        assert prepared(**own) == own


def test_openmp_takes_no_more_threads_than_a_quota_allows(machine: Path) -> None:
    write(machine / "own", "0::/\n")
    write(machine / "cgroup" / "cpu.max", "200000 100000\n")
    assert prepared() == {"OMP_NUM_THREADS": "2"}
    assert prepared(OMP_NUM_THREADS="7") == {"OMP_NUM_THREADS": "7"}
    write(machine / "cgroup" / "cpu.max", "150000 100000\n")  # waiting threads sleep in a part of a core
    assert prepared() == {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
