"""Draw a search of settings in the terminal: its progress on stderr, and its best trials."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from digitcli import console
from digitcli.comparison.tuning_results import TrialDone
from digitcli.errors import counted

if TYPE_CHECKING:
    from digitcli.comparison.tuning_results import Tuning

SHOWN = 10  # trials; JSON has all of them
RECIPE = "recipe"


def line_of_trial(event: object) -> tuple[int, str] | None:
    """Return the number of finished trainings and a line about the last one, if it has just finished."""
    return (event.trial.number + 1, _line(event)) if isinstance(event, TrialDone) else None


def _line(event: TrialDone) -> str:
    trial = event.trial
    if not trial.number:
        return f"{RECIPE}  {console.percent(trial.accuracy)}"
    words = [f"{trial.number}/{event.total}", console.percent(trial.accuracy)]
    if trial.state != "complete":
        words.append(f"{trial.state} after {counted(trial.epochs, 'epoch')}")
    words += [f"{name} {_value(value)}" for name, value in trial.settings.items()]
    return "  ".join((*words, f"best {console.percent(event.best.accuracy)}"))


def show_tuning(result: Tuning) -> None:
    """Print the best trials, a conclusion, and the command that confirms the best one."""
    table, left_out = _table(result, console.out.width)
    conclusion = _conclusion(result)
    if result.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in result.importances.items())
        conclusion += f"\nHow much each setting decides: {shares}."
    console.show_table(Group(table, "", escape(conclusion)))
    if result.confirmation:
        console.out.print("Train both with several seeds, to see whether the difference is more than luck:")
        console.out.print(f"  {escape(shlex.join(result.confirmation))}", soft_wrap=True)
    console.show_left_out(left_out)


def _table(result: Tuning, width: int) -> tuple[Table, list[str]]:
    """Return a row for each of the best trials and for the recipe."""
    rows = sorted((result.recipe, *result.trials[:SHOWN]), key=lambda trial: trial.rank(result.objective))
    names = list(result.recipe_settings)
    settings = [{**result.recipe_settings, **row.settings} for row in rows]
    columns = {
        "validation accuracy": [console.percent(row.accuracy) for row in rows],
        "loss": ["" if row.loss is None else f"{row.loss:.4f}" for row in rows],
        **{name: [_value(each[name]) for each in settings] for name in names},
        "epochs": [f"{row.epochs}{'' if row.state == 'complete' else f', {row.state}'}" for row in rows],
        "trained in": [f"{row.seconds:.1f} s" for row in rows],
    }
    labels = [str(row.number) if row.number else RECIPE for row in rows]
    return console.fitted_table("trial", labels, columns, ("trained in", "loss", "epochs"), width)


def _conclusion(result: Tuning) -> str:
    digits = f"{result.validation_digits:,} validation digits"
    if result.best is None:
        return f"No trial is better than the recipe on the {digits}."
    gain = f"Trial {result.best.number} is the best of {len(result.trials)} on the {digits}."
    if not result.rivals:
        return gain
    others = "Another training lies" if result.rivals == 1 else f"{result.rivals} other trainings lie"
    return f"{gain} {others} within its 95 % interval."


def _value(value: Any) -> str:
    if value is None:
        return ""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
