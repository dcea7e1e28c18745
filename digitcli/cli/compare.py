"""`digitcli compare`: architectures, variants of their recipes and models side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from digitcli import console
from digitcli.atomic_write import check_writable, write_whole
from digitcli.cli.completion import complete_architecture, complete_dataset
from digitcli.cli.options import DeviceOption
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.comparison.saved import SUFFIX, JudgedBy, save_comparison
from digitcli.comparison.specification import OUT, SEEDS, contenders, turns
from digitcli.config import TrainConfig
from digitcli.errors import DivergedError, PartialInputError, UsageError
from digitcli.inference.devices import check_device_name

if TYPE_CHECKING:
    from digitcli.comparison.compare import Comparison

Specs = Annotated[
    list[str],
    Argument(
        metavar="WHAT",
        help="Architectures, with changes to their recipes if you like, such as cnn:augment=off,dropout=0; "
        "all; run folders, checkpoint files, shipped/NAME; files that --save wrote.",
        autocompletion=complete_architecture,
        show_default=False,
    ),
]
Seeds = Annotated[
    int | None,
    Option(min=1, max=1000, help=f"Runs of each architecture, from seed 0 on; {SEEDS} if not given."),
]
Data = Annotated[
    str | None,
    Option(help="What is trained on and judged by; mnist if not given.", autocompletion=complete_dataset),
]
JudgingPart = Annotated[
    JudgedBy | None,
    Option(
        "--split",
        help="What they are judged by: test if not given; validation to choose among them, "
        "which leaves the test digits for the last word.",
    ),
]
Out = Annotated[
    Path | None, Option(help=f"Where the runs lie; {OUT} if not given. What is finished there is kept.")
]
Picture = Annotated[
    Path | None,
    Option(metavar="FILE.svg", help="Also draw the error against parameters and milliseconds an image."),
]
Save = Annotated[
    Path | None,
    Option(metavar="FILE.json", help="Also write what every run misreads: as WHAT it stands for them."),
]
Force = Annotated[bool, Option("--force", help="Replace files that are there.")]
Format = Annotated[
    Literal["table", "json", "csv"] | None,
    Option(help="table (if not given) for people, the others for programs."),
]


def compare(
    specs: Specs,
    seeds: Seeds = None,
    data: Data = None,
    split: JudgingPart = None,
    device: DeviceOption = None,
    out: Out = None,
    picture: Picture = None,
    save: Save = None,
    force: Force = False,
    format: Format = None,
) -> None:
    """Train architectures over several seeds, judge all on the same images, and say what may be chance.

    Example: digitcli compare cnn cnn:augment=off cnn:augment=off,dropout=0 --seeds 5

    Ctrl-C saves, and the same command goes on.
    """
    data, device = data or TrainConfig.data, device or TrainConfig.device
    check_device_name(device)
    chosen_seeds, seeds = seeds, seeds or SEEDS
    entered = contenders(specs, data, device)  # finds most mistakes before anything heavy is loaded
    if chosen_seeds is not None and not any(one.config for one in entered):
        raise UsageError("No architecture is named that --seeds could train.", "Leave it out, or name one.")
    _check_data(data)
    _check_files({"--picture": (picture, ".svg"), "--save": (save, SUFFIX)}, force)
    result = _run(specs, seeds, data, split or "test", device, out or OUT, len(turns(entered, seeds)))
    try:
        if save is not None:
            save_comparison(save, result)
        if picture is not None:
            from digitcli.comparison.chart import draw_comparison_chart

            write_whole(picture, draw_comparison_chart(result).encode())
    finally:  # a full disk must not take the figures with it
        _show(result, format)
    if result.diverged:
        cause = f"Diverged, and left out: {', '.join(result.diverged)}."
        raise DivergedError(cause, "Take a lower lr, or leave them out; the figures of the others are whole.")
    if result.unreadable:
        raise PartialInputError(
            f"{result.unreadable} files of '{data}' could not be used; the others were.",
            "Mend or remove them; the first are named above.",
        )


def _show(result: Comparison, format: str | None) -> None:
    if format == "json":
        console.show_json(result.record())
    elif format == "csv":
        console.show_csv(result.rows())
    else:
        from digitcli.cli.views.comparison import draw_comparison

        drawn, left_out = draw_comparison(result, console.out.width)
        console.show_table(drawn)
        console.show_left_out(left_out)


def _check_data(data: str) -> None:
    from digitcli.data.loading import find_dataset
    from digitcli.synthesis.line_folders import is_line_folder

    path = find_dataset(data)
    if path is not None and is_line_folder(path):
        raise UsageError(f"{data} holds lines.", "Give single digits.")


def _check_files(files: dict[str, tuple[Path | None, str]], force: bool) -> None:
    if force and not any(path for path, _ in files.values()):
        raise UsageError(f"--force replaces the files of {' and '.join(files)}.", "Name one of them.")
    for option, (path, suffix) in files.items():
        if path is None:
            continue
        if path.suffix.lower() != suffix:
            raise UsageError(f"{option} is '{path}'.", f"Name a file that ends in {suffix}.")
        check_writable(path, force)


def _run(
    specs: list[str], seeds: int, data: str, split: JudgedBy, device: str, out: Path, total: int
) -> Comparison:
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.cli.views.comparison import ComparingView
        from digitcli.comparison.compare import compare

    with ComparingView(total) as view, stop_on_signals() as stop_signal:
        return compare(
            specs, seeds=seeds, data=data, split=split, device=device, out=out,
            on_compared=view.judged, on_event=view, stop_signal=stop_signal,
        )  # fmt: skip
