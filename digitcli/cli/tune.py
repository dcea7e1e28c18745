"""`digitcli tune`: search the settings of a recipe."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.markup import escape

from digitcli import console
from digitcli.cli.options import complete_architecture, complete_dataset, device_setting
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.comparison.specification import DEFAULT_SETTINGS, parse_ranges, parse_specification
from digitcli.errors import UsageError, counted
from digitcli.inference.devices import check_device_name
from digitcli.settings import setting
from digitcli.training.configuration import TrainConfig

if TYPE_CHECKING:
    from digitcli.comparison.tuning import Tuning

SHOWN = 10  # trials; JSON has all of them
RECIPE = "recipe"


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """The options of `digitcli tune`."""

    arch: str = setting(
        TrainConfig.arch, "", "Tune this architecture (cnn), or one with fixed changes of its recipe "
        "(cnn:epochs=3,dropout=0).", unit="name", letter="-a", complete=complete_architecture,
    )  # fmt: skip
    trials: int = setting(
        20, "", "Train this many times, after one training by the recipe.", at_least=1, at_most=10_000,
        unit="N", letter="-n",
    )  # fmt: skip
    vary: tuple[str, ...] = setting(
        (), "", "Vary this setting in its usual range (lr), between two numbers (lr=1e-4..1e-2) or among "
        f"values (optimizer=adamw,muon); may be repeated (default: {', '.join(DEFAULT_SETTINGS)}).",
        unit="setting",
    )  # fmt: skip
    data: str = setting(
        TrainConfig.data, "", "Train on this dataset: a name, a file or a folder, as for digitcli train.",
        unit="dataset", complete=complete_dataset,
    )  # fmt: skip
    device: str = device_setting(TrainConfig.device)
    output: Path | None = setting(
        None, "", "Keep the search in this folder (default: runs/tune/NAME).", unit="dir", letter="-o",
        aliases=("--out",),
    )  # fmt: skip
    format: console.Format = setting("table", "", "Print a table for people, or JSON.")


def tune(options: TuneOptions) -> None:
    """Search the settings of a recipe on the validation digits.

    The first training has the recipe as it is. The first ten trials have random settings, and later ones
    follow the better of the earlier ones. A trial ends early if it is worse than the median. The best of many
    trials is partly the luckiest one: the result ends with the command that tells luck from a better recipe.
    Ctrl-C stops the search; the same command continues it, also with more trials.

    Examples:

      digitcli tune --arch lenet5:epochs=3 --trials 30
      digitcli tune --arch mlp --vary lr=1e-4..1e-2 --vary optimizer=sgd,adamw
    """
    check_device_name(options.device)
    specification = parse_specification(options.arch, options.data, options.device)
    if specification.config is None:
        cause = f"{options.arch} is trained already."
        raise UsageError(cause, "Name an architecture; digitcli models lists them.")
    ranges = parse_ranges(options.vary, specification.config)
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.comparison import tuning
        from digitcli.comparison.runs import folder_name
    tuning.check_installed()
    folder = options.output or tuning.OUT / folder_name(specification.label)
    with console.CountingBar("trainings") as bar, stop_on_signals() as stop_signal:
        result = tuning.tune(
            specification, ranges, folder, trials=options.trials,
            on_event=console.RunsView(bar, options.trials + 1, line_of_trial), stop_signal=stop_signal,
        )  # fmt: skip
    if options.format == "json":
        console.show_json(result.record())
    else:
        show_tuning(result)


def line_of_trial(event: object) -> tuple[int, str] | None:
    """Return the number of finished trainings and a line about the last one, if it has just finished."""
    from digitcli.comparison.tuning import TrialDone

    if not isinstance(event, TrialDone):
        return None
    trial = event.trial
    if not trial.number:
        return 1, f"{RECIPE}  {console.percent(trial.accuracy)}"
    words = [f"{trial.number}/{event.total}", console.percent(trial.accuracy)]
    if trial.state != "complete":
        words.append(f"{trial.state} after {counted(trial.epochs, 'epoch')}")
    words += [f"{name} {_value(value)}" for name, value in trial.settings.items()]
    return trial.number + 1, "  ".join((*words, f"best {console.percent(event.best.accuracy)}"))


def show_tuning(result: Tuning) -> None:
    """Print the recipe and the best trials, a conclusion, and the command that confirms the best one."""
    rows = sorted((result.recipe, *result.trials[:SHOWN]), key=lambda trial: trial.rank())
    settings = [{**result.recipe_settings, **row.settings} for row in rows]
    columns = {
        "validation accuracy": [console.percent(row.accuracy) for row in rows],
        "loss": ["" if row.loss is None else f"{row.loss:.4f}" for row in rows],
        **{name: [_value(each[name]) for each in settings] for name in result.recipe_settings},
        "epochs": [f"{row.epochs}{'' if row.state == 'complete' else f', {row.state}'}" for row in rows],
        "trained in": [f"{row.seconds:.1f} s" for row in rows],
    }
    labels = [str(row.number) if row.number else RECIPE for row in rows]
    table, left_out = console.fitted_table(
        "trial", labels, columns, ("trained in", "loss", "epochs"), console.out.width
    )
    digits = f"{result.validation_digits:,} validation digits"
    conclusion = f"No trial is better than the recipe on the {digits}."
    if result.best is not None:
        conclusion = f"Trial {result.best.number} is the best of {len(result.trials)} on the {digits}."
    if result.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in result.importances.items())
        conclusion += f"\nHow much each setting decides: {shares}."
    console.show_table(Group(table, "", escape(conclusion)))
    if result.confirmation:
        console.out.print("Train both with several seeds, to see whether the difference is more than luck:")
        console.out.print(f"  {escape(shlex.join(result.confirmation))}", soft_wrap=True)
    console.show_left_out(left_out)


def _value(value: Any) -> str:
    if value is None:
        return ""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
