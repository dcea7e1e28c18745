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


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 4), ("800000 100000", 4), ("150000 100000", 2), ("5000 100000", 1)]
)
def test_a_quota_of_a_container_limits_the_cores(machine: Path, quota: str, cores: int) -> None:
    write(machine / "own", "0::/\n")
    write(machine / "cgroup" / "cpu.max", quota + "\n")
    assert threads.usable_cores() == cores


def test_the_strictest_of_nested_quotas_counts(machine: Path) -> None:
    write(machine / "own", "0::/pod/container\n")
    write(machine / "cgroup" / "pod" / "cpu.max", "200000 100000\n")
    write(machine / "cgroup" / "pod" / "container" / "cpu.max", "max 100000\n")
    assert threads.usable_cores() == 2


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("300000", 3)])
def test_control_groups_of_the_first_version_limit_the_cores(machine: Path, quota: str, cores: int) -> None:
    write(machine / "own", "4:memory:/job\n3:cpu,cpuacct:/job\n")
    write(machine / "cgroup" / "cpu" / "job" / "cpu.cfs_quota_us", quota + "\n")
    write(machine / "cgroup" / "cpu" / "job" / "cpu.cfs_period_us", "100000\n")
    assert threads.usable_cores() == cores


def test_the_path_of_a_container_may_be_that_of_its_host(machine: Path) -> None:
    write(machine / "own", "0::/not/mounted/here\n")
    write(machine / "cgroup" / "cpu.max", "100000 100000\n")
    assert threads.usable_cores() == 1


def test_networks_take_a_thread_for_each_core_unless_told_otherwise(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threads.default_threads() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.default_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert threads.default_threads() == 4


@pytest.mark.parametrize(("running", "is_busy"), [(1, False), (5, False), (6, True), (60, True)])
def test_a_machine_is_busy_if_others_leave_too_few_cores(machine: Path, running: int, is_busy: bool) -> None:
    write(machine / "load", f"0.50 0.40 0.30 {running}/321 4711\n")
    assert threads.is_busy() == is_busy  # 4 threads of this process, and 8 cores


def test_a_thread_that_runs_for_an_instant_makes_no_machine_busy(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(machine / "load", "0.50 0.40 0.30 17/321 4711\n")
    monkeypatch.setattr(threads.time, "sleep", lambda seconds: write(machine / "load", "0 0 0 1/321 4711\n"))
    assert not threads.is_busy()


def test_hardware_threads_that_pytorch_leaves_free_count_as_free(machine: Path) -> None:
    for processor in range(8):  # 4 usable ones, two of each core
        siblings = machine / "cpu" / f"cpu{processor}" / "topology" / "thread_siblings_list"
        write(siblings, f"{processor % 2},{processor % 2 + 2}\n")
    write(machine / "load", "0.50 0.40 0.30 7/321 4711\n")
    assert not threads.is_busy()
    write(machine / "load", "0.50 0.40 0.30 8/321 4711\n")
    assert threads.is_busy()


def test_waiting_threads_sleep_where_a_quota_is_a_part_of_a_core(machine: Path) -> None:
    write(machine / "own", "0::/\n")
    write(machine / "cgroup" / "cpu.max", "150000 100000\n")
    environment: dict[str, str] = {}
    threads.prepare_openmp(environment)
    assert environment == {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}


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


def test_waiting_threads_sleep_on_a_busy_machine(machine: Path) -> None:
    idle: dict[str, str] = {}
    threads.prepare_openmp(idle)
    assert idle == {}
    write(machine / "load", "16.50 9.40 7.30 17/321 4711\n")
    busy: dict[str, str] = {}
    threads.prepare_openmp(busy)
    assert busy == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "1000"}], ids=str)
def test_the_wait_policy_of_a_user_stays(machine: Path, own: dict[str, str]) -> None:
    write(machine / "load", "16.50 9.40 7.30 17/321 4711\n")
    environment = dict(own)
    threads.prepare_openmp(environment)
    assert environment == own


def test_openmp_takes_no_more_threads_than_a_quota_allows(machine: Path) -> None:
    write(machine / "own", "0::/\n")
    write(machine / "cgroup" / "cpu.max", "200000 100000\n")
    environment: dict[str, str] = {}
    threads.prepare_openmp(environment)
    assert environment == {"OMP_NUM_THREADS": "2"}
    environment = {"OMP_NUM_THREADS": "7"}
    threads.prepare_openmp(environment)
    assert environment == {"OMP_NUM_THREADS": "7"}


def test_where_linux_tells_nothing_no_machine_is_busy(machine: Path) -> None:
    (machine / "load").unlink()
    assert threads.usable_cores() == 4 and not threads.is_busy()
