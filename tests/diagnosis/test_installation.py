"""Every rule finds the fault that is planted, and is silent on a healthy installation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from digitcli.diagnosis import installation
from digitcli.diagnosis.findings import Finding
from digitcli.diagnosis.installation import examine_installation
from digitcli.errors import EnvironmentFault
from digitcli.inference.model_resolution import shipped_models
from tests.support.processes import Run


def rules(findings: Iterator[Finding]) -> list[str]:
    return [finding.rule for finding in findings]


def test_a_healthy_installation_has_no_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(installation, "NVIDIA_DEVICE", tmp_path / "nothing")
    monkeypatch.setattr(installation, "is_busy", lambda: False)
    diagnosis = examine_installation()
    assert diagnosis.findings == ()
    assert {"python", "torch", "device", "shipped models"} <= set(diagnosis.facts)
    assert "cnn (" in diagnosis.facts["shipped models"]


def test_a_missing_and_a_broken_package_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('libGL.so.1 is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "torch" in installation.packages_needed() and "onnx" not in installation.packages_needed()
    needed = ["no-such-package>=1", "pytest; python_version > '3'", "captum; extra == 'x'"]
    monkeypatch.setattr(installation.metadata, "requires", lambda name: needed)
    monkeypatch.setattr(installation, "MODULES", {"pytest": "broken_module"})
    missing, broken = installation.package_faults()
    assert (missing.rule, missing.command) == ("missing_package", "pip install no-such-package")
    assert broken.rule == "broken_package" and "libGL.so.1" in broken.evidence


def test_damaged_and_missing_weights_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    healthy, damaged = tmp_path / "fast.safetensors", tmp_path / "damaged.safetensors"
    shutil.copy(shipped_models()["fast"], healthy)
    content = bytearray(healthy.read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr(installation, "shipped_models", lambda: {"fast": healthy, "damaged": damaged})
    (finding,) = installation.damaged_weights()
    assert finding.rule == "damaged_weights" and "damaged.safetensors" in finding.evidence
    monkeypatch.setattr(installation, "shipped_models", dict)
    assert rules(installation.damaged_weights()) == ["missing_weights"]


def test_a_plugin_that_cannot_be_imported_is_found(plugins: Callable[..., None]) -> None:
    plugins(healthy="digitcli.architectures.convnet:cnn")
    assert rules(installation.broken_plugins()) == []
    plugins(broken="no_such_module:network")
    (finding,) = installation.broken_plugins()
    assert finding.rule == "broken_plugin" and "no_such_module" in finding.evidence
    plugins(cnn="digitcli.architectures.convnet:cnn")
    assert rules(installation.broken_plugins()) == ["clashing_plugin"]


def test_a_device_that_fails_and_one_that_is_not_used_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(installation, "NVIDIA_DEVICE", tmp_path)
    import torch

    monkeypatch.setattr(installation, "choose_device", lambda: torch.device("cpu"))
    assert rules(installation.device_faults()) == ["unused_gpu"]

    def fail() -> torch.device:
        raise EnvironmentFault("cuda computes wrongly.", "Update the driver.")

    monkeypatch.setattr(installation, "choose_device", fail)
    assert rules(installation.device_faults()) == ["device_fault"]


def test_too_many_threads_and_a_busy_machine_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, expected in (("1", []), ("", []), ("9999", ["too_many_threads"])):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert rules(installation.too_many_threads()) == expected
    for is_busy, expected in ((False, []), (True, ["busy_machine"])):
        monkeypatch.setattr(installation, "is_busy", lambda is_busy=is_busy: is_busy)
        assert rules(installation.busy_machine()) == expected


def test_doctor_prints_facts_for_people_and_records_for_programs(
    digitcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9999")
    shown = digitcli("doctor")
    assert shown.returncode == 0 and "warning: too_many_threads" in shown.stdout
    assert "export OMP_NUM_THREADS=" in shown.stdout and "terminal" in shown.stdout
    record = json.loads(digitcli("doctor", "--format", "json").stdout)
    assert record["subject"] == "installation" and "torch" in record["facts"]
    found = {finding["rule"]: finding for finding in record["findings"]}
    assert set(found["too_many_threads"]) == {"rule", "severity", "evidence", "remedy", "command"}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(installation, "is_busy", lambda: False)
    assert "Nothing is wrong" in digitcli("doctor").stdout
