from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from digitcli.benchmarking import environment


def test_the_environment_has_versions_and_the_machine() -> None:
    here = dataclasses.asdict(environment.describe_environment(torch.device("cpu")))
    texts = ("digitcli", "torch", "numpy", "python", "platform", "cpu", "device")
    assert all(isinstance(here[name], str) and here[name] for name in texts)
    assert here["cores"] >= 1 and here["threads"] >= 1


def test_a_processor_without_a_name_has_a_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(environment.platform, "system", lambda: "Linux")
    assert environment.cpu_name()
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Abacus 3000\n")
    assert environment.cpu_name() == "Abacus 3000"
