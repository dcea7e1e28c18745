"""What makes up a reader, as text that a worker on another machine can build it from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from digitcli.errors import ModelError, UsageError
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import TOP_K, Rotation
from digitcli.threads import limit_threads


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """The models and options of a reader; the options are those of `digitcli predict`.

    models: shipped names, or paths that exist on every machine.
    identity: the names and digests of all weights, as `Reader.name` has them; empty for any weights.
    """

    models: tuple[str, ...] = ()
    identity: str = ""
    min_confidence: float | None = None
    max_error: float | None = None
    length: str | None = None
    pattern: str | None = None
    range: str | None = None
    check_digit: str | None = None
    single_digit: bool = False
    rotate: Rotation = "auto"
    top_k: int = TOP_K

    @classmethod
    def from_json(cls, text: str) -> ReaderConfig:
        """Return what `to_json` has written.

        Raises:
            UsageError: it is something else.
        """
        try:
            fields = json.loads(text)
            return cls(**fields | {"models": tuple(fields["models"])})
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"This is no configuration of a reader: {error}.", "Take that of to_json."
            ) from error

    def to_json(self) -> str:
        """Return the configuration as text, which is equal for equal ones."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def digest(self) -> str:
        """The SHA-256 of the configuration."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def with_identity(self) -> ReaderConfig:
        """Return the configuration with the weights of this machine, which all others must have."""
        return self if self.identity else replace(self, identity=self.reader().name)

    def reader(self, *, for_worker: bool = False, **options: Any) -> Reader:
        """Load the reader.

        for_worker: whether other processes read on the same machine, so that this one uses one thread.
            Signals stay as they are.
        options: further ones of `Reader`.

        Raises:
            ModelError: the weights are other ones than those of `identity`, or see `Reader`.
            UsageError, EnvironmentFault: see `Reader`.
        """
        if for_worker:
            limit_threads()
            options = {"device": "cpu", "jobs": 1, "threads": 1, **options}
        constraints = parse_constraints(
            self.length, self.pattern, self.range, self.check_digit, self.single_digit
        )
        reader = Reader(
            *self.models, min_confidence=self.min_confidence, max_error=self.max_error,
            constraints=constraints, top_k=self.top_k, rotate=self.rotate, **options,
        )  # fmt: skip
        if self.identity not in ("", reader.name):
            cause = f"The models here are {reader.name}, but the run reads with {self.identity}."
            raise ModelError(cause, "Install the same version of digitcli and the same models everywhere.")
        return reader
