"""Every finding that a test of this folder makes must suggest what can be typed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from digitcli.diagnosis.findings import Finding
from tests.support.command_lines import assert_can_be_typed


@pytest.fixture(autouse=True)
def suggestions_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the program's own option parser read the suggestions of all findings at the end of the test.

    Each rule has a test that plants its fault, so that each command is read once at least.
    """
    findings: list[Finding] = []
    create = Finding.__init__

    def create_and_remember(finding: Finding, *arguments: Any, **named: Any) -> None:
        create(finding, *arguments, **named)
        findings.append(finding)

    monkeypatch.setattr(Finding, "__init__", create_and_remember)
    yield
    for finding in findings:
        assert_can_be_typed(finding)
