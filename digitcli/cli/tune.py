"""`digitcli tune`: search the settings of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from digitcli import console
from digitcli.cli.options import DeviceOption, TableFormatOption, complete_architecture, dataset_option
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.comparison.search_ranges import DEFAULT_SETTINGS, parse_ranges
from digitcli.comparison.specification import parse_specification
from digitcli.errors import UsageError
from digitcli.inference.devices import check_device_name
from digitcli.training.configuration import TrainConfig

ArchitectureOption = Annotated[
    str,
    Option(
        "--arch",
        "-a",
        metavar="NAME",
        help="Tune this architecture (cnn), or one with fixed changes of its recipe "
        "(cnn:epochs=3,dropout=0).",
        autocompletion=complete_architecture,
    ),
]
TrialsOption = Annotated[
    int,
    Option(
        "--trials",
        "-n",
        metavar="N",
        min=1,
        max=10_000,
        help="Train this many times, after one training by the recipe.",
    ),
]
VaryOption = Annotated[
    list[str] | None,
    Option(
        "--vary",
        metavar="SETTING",
        help="Vary this setting in its usual range (lr), between two numbers (lr=1e-4..1e-2) or among values "
        f"(optimizer=adamw,muon); may be repeated (default: {', '.join(DEFAULT_SETTINGS)}, as far as the "
        "architecture has them).",
        show_default=False,
    ),
]
ObjectiveOption = Annotated[
    Literal["accuracy", "loss"], Option(help="Optimize this figure of the validation digits.")
]
DataOption = Annotated[str, dataset_option("Train on")]
OutOption = Annotated[
    Path | None,
    Option(metavar="DIR", help="Keep the search in this folder (default: runs/tune/NAME)."),
]


def tune(
    arch: ArchitectureOption = TrainConfig.arch,
    trials: TrialsOption = 20,
    vary: VaryOption = None,
    objective: ObjectiveOption = "accuracy",
    data: DataOption = TrainConfig.data,
    device: DeviceOption = None,
    out: OutOption = None,
    format: TableFormatOption = "table",
) -> None:
    """Search the settings of a recipe on the validation digits.

    The first training has the recipe as it is. The first ten trials have random settings, and later ones
    follow the better of the earlier ones. A trial ends early if it is worse than the median. The best of many
    trials is partly the luckiest one: the result ends with the command that tells luck from a better recipe.
    Ctrl-C stops the search; the same command continues it, also with more trials.

    Examples:

      digitcli tune --arch lenet5:epochs=3 --trials 30
      digitcli tune --arch mlp --vary lr=1e-4..1e-2 --vary optimizer=sgd,adamw
    """
    device = device or TrainConfig.device
    check_device_name(device)
    specification = parse_specification(arch, data, device)
    if specification.config is None:
        raise UsageError(f"{arch} is trained already.", "Name an architecture; digitcli models lists them.")
    ranges = parse_ranges(vary or (), specification.config, objective)
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.cli.views.progress import CountingBar, RunsView
        from digitcli.cli.views.tuning import line_of_trial, show_tuning
        from digitcli.comparison import tuning
        from digitcli.comparison.runs import folder_name
        from digitcli.comparison.study import check_installed
    check_installed()
    folder = out or tuning.OUT / folder_name(specification.label)
    with CountingBar("trainings") as bar, stop_on_signals() as stop_signal:
        result = tuning.tune(
            specification, ranges, folder, trials=trials, objective=objective,
            on_event=RunsView(bar, trials + 1, line_of_trial), stop_signal=stop_signal,
        )  # fmt: skip
    console.show_result(result, format, show_tuning)
