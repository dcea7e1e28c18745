"""A finding: one thing that is wrong, with its evidence and its remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]


def percent(fraction: float, decimals: int = 2) -> str:
    """Return a fraction as a percentage for people."""
    return f"{100 * fraction:.{decimals}f} %"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    rule: the name of the rule that found it, for example `damaged_weights`.
    severity: `error` if something does not work, `warning` if it works worse than it could.
    evidence: a sentence that tells how one knows.
    remedy: a sentence that tells what mends it.
    command: a command that does so, or None.
    """

    rule: str
    severity: Severity
    evidence: str
    remedy: str
    command: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What was examined, facts about it, and what is wrong.

    has_verdict: whether no findings mean that all is well, or that nothing was looked for.
    """

    subject: str
    facts: dict[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    has_verdict: bool = True

    def record(self) -> dict[str, Any]:
        """Return the diagnosis as a record for JSON."""
        findings = [asdict(finding) for finding in self.findings]
        return {"subject": self.subject, "facts": self.facts, "findings": findings}
