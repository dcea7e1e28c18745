"""What a search of settings has found. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from digitcli.evaluation.metrics import wilson_interval
from digitcli.training.configuration import TrainConfig

Objective = Literal["accuracy", "loss"]
State = Literal["complete", "pruned", "diverged", "invalid"]


@dataclass(frozen=True)
class TunedTrial:
    """A training with some settings.

    number: the number of the trial, from 1; 0 for the recipe without changes.
    settings: what the search chose.
    accuracy, loss: those of the validation digits after the last epoch; None before the first.
    epochs: the number of epochs.
    seconds: the training time.
    state: complete; pruned after an epoch that was worse than the median of the other trials; diverged; or
        invalid where the settings contradict each other, so that nothing was trained.
    """

    number: int
    settings: dict[str, Any]
    accuracy: float | None
    loss: float | None
    epochs: int
    seconds: float
    state: State

    def rank(self, objective: Objective) -> tuple[bool, float]:
        """Return a key that sorts trials, the best complete one first."""
        value = {"accuracy": self.accuracy, "loss": self.loss}[objective]
        if value is None:
            return True, math.inf
        return self.state != "complete", -value if objective == "accuracy" else value


@dataclass(frozen=True)
class TrialDone:
    """A trial, or the training by the recipe, is finished, and `total` trials are wanted.

    best: the best trial so far, or the recipe.
    """

    trial: TunedTrial
    best: TunedTrial
    total: int


@dataclass(frozen=True)
class Tuning:
    """The result of a search.

    specification: the architecture, as `digitcli compare` takes it.
    data, validation_digits: the dataset, and the number of its digits that decided.
    objective: what was optimized on them.
    recipe: the training by the recipe without changes.
    trials: all trials, the best first; pruned and diverged ones come last.
    importances: for each setting the share of the spread of the trials that it explains; empty after few.
    folder: the folder of the search.
    recipe_settings: the values that the varied settings have in the recipe.
    """

    specification: str
    data: str
    validation_digits: int
    objective: Objective
    recipe: TunedTrial
    trials: tuple[TunedTrial, ...]
    importances: dict[str, float]
    folder: str
    recipe_settings: dict[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> TunedTrial | None:
        """The best trial, or None if none is better than the recipe."""
        first = min((self.recipe, *self.trials), key=lambda trial: trial.rank(self.objective))
        return None if first is self.recipe else first

    @property
    def rivals(self) -> int:
        """The number of other trials whose accuracy lies within the best one's 95 % interval (Wilson)."""
        best = self.best or self.recipe
        if best.accuracy is None:
            return 0
        low, _ = wilson_interval(round(best.accuracy * self.validation_digits), self.validation_digits)
        others = (trial for trial in (self.recipe, *self.trials) if trial is not best)
        return sum(trial.state == "complete" and (trial.accuracy or 0) >= low for trial in others)

    @property
    def confirmation(self) -> list[str]:
        """The command that compares the best trial with the recipe over seeds; empty without a best one."""
        if self.best is None:
            return []
        changed = specification_with(self.specification, self.best.settings)
        data = [] if self.data == TrainConfig.data else ["--data", self.data]
        return ["digitcli", "compare", self.specification, changed, "--split", "validation", *data]

    def record(self) -> dict[str, Any]:
        """Return the result as JSON shows it."""
        best = None if self.best is None else asdict(self.best)
        return {**asdict(self), "best": best, "rivals": self.rivals, "confirmation": self.confirmation}

    def rows(self) -> list[dict[str, Any]]:
        """Return the recipe and the trials as CSV shows them; a setting is a column."""
        rows = [asdict(trial) for trial in (self.recipe, *self.trials)]
        settings = [row.pop("settings") for row in rows]
        return [{**row, **self.recipe_settings, **chosen} for row, chosen in zip(rows, settings, strict=True)]


def specification_with(specification: str, settings: Mapping[str, Any]) -> str:
    """Return the specification of an architecture with further settings: `cnn:epochs=3,lr=0.002`."""
    switches = {True: "on", False: "off"}
    words = [
        f"{name}={switches[value] if isinstance(value, bool) else value}" for name, value in settings.items()
    ]
    return f"{specification}{',' if ':' in specification else ':'}{','.join(words)}"
