"""`digitcli train`: train an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option, echo

from digitcli import console
from digitcli.architectures.registry import check_together, located, recipe_of
from digitcli.cli.completion import complete_architecture, complete_dataset
from digitcli.cli.options import DeviceOption
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.cli.views.training import TrainingView
from digitcli.config import (
    Dtype,
    Initialization,
    Normalization,
    Optimizer,
    Schedule,
    TrainConfig,
    as_toml,
    change,
    configured,
    read_settings,
    settings_of,
)
from digitcli.errors import PartialInputError, UsageError
from digitcli.inference.devices import check_device_name, rank_and_size

if TYPE_CHECKING:
    from digitcli.training.events import TrainResult

OF_THE_RUN = ("out", "name", "resume", "force", "dry_run", "config", "print_config", "format")
RECIPE, RUN = "Recipe (what is not given is the architecture's own)", "Run"

Arch = Annotated[
    str | None,
    Option(
        "--arch",
        "-a",
        help="Architecture, see digitcli models, or torchvision/resnet18 and its like; cnn if not given.",
        autocompletion=complete_architecture,
    ),
]
Data = Annotated[
    str | None,
    Option(
        help="mnist (if not given) or another named set; a folder of IDX files, or of pictures in "
        "sub-folders 0 to 9; .npz; .csv. For architectures of lines a folder of digitcli synthesize.",
        autocompletion=complete_dataset,
    ),
]
StrokesFile = Annotated[
    Path | None,
    Option(
        metavar="FILE|DIR",
        help="Pen trajectories to write lines with, see digitcli synthesize; for architectures of lines.",
    ),
]
Pretrained = Annotated[
    bool | None,
    Option("--pretrained", help="Begin with the weights of ImageNet; for architectures torchvision/NAME."),
]
Fonts = Annotated[
    Path | None,
    Option(metavar="FILE|DIR", help="Fonts whose letters are drawn too, where --synthetic is given."),
]
Seed = Annotated[int | None, Option(help="Everything random follows from it; 0 if not given.")]
Time = Annotated[str | None, Option(help="Train for this long instead of by epochs: 90s, 5m, 1h30m.")]
Patience = Annotated[
    int | None,
    Option(help="Stop after so many epochs without a better validation accuracy, and keep the best."),
]
Epochs = Annotated[
    int | None, Option("--epochs", "-e", help="Passes over the training digits.", rich_help_panel=RECIPE)
]
BatchSize = Annotated[
    int | None, Option("--batch-size", "-b", help="Digits in a step.", rich_help_panel=RECIPE)
]
Lr = Annotated[float | None, Option(help="Highest learning rate.", rich_help_panel=RECIPE)]
OptimizerName = Annotated[Optimizer | None, Option(help="Optimizer.", rich_help_panel=RECIPE)]
WeightDecay = Annotated[float | None, Option(help="Weight decay.", rich_help_panel=RECIPE)]
Dropout = Annotated[float | None, Option(help="Share of units left out.", rich_help_panel=RECIPE)]
LabelSmoothing = Annotated[
    float | None, Option(help="Share of each label spread over all digits.", rich_help_panel=RECIPE)
]
StochasticDepth = Annotated[
    float | None,
    Option(
        help="Probability that the last residual branch is left out; earlier ones less.",
        rich_help_panel=RECIPE,
    ),
]
InitializationName = Annotated[
    Initialization | None, Option(help="How the first weights are drawn.", rich_help_panel=RECIPE)
]
NormalizationName = Annotated[
    Normalization | None, Option(help="In place of batch normalization.", rich_help_panel=RECIPE)
]
Augment = Annotated[
    bool | None,
    Option(
        "--augment/--no-augment",
        help="Change the digits, in the ways that follow; never flip.",
        rich_help_panel=RECIPE,
    ),
]
Affine = Annotated[
    bool | None,
    Option("--affine/--no-affine", help="Shift, turn, scale and shear.", rich_help_panel=RECIPE),
]
StrokeWidth = Annotated[
    bool | None,
    Option("--stroke-width/--no-stroke-width", help="Change stroke widths.", rich_help_panel=RECIPE),
]
Elastic = Annotated[
    float | None, Option(help="Bend strokes, by so many pixels (deviation).", rich_help_panel=RECIPE)
]
Ruling = Annotated[float | None, Option(help="Share of digits crossed by lines.", rich_help_panel=RECIPE)]
Filtering = Annotated[
    float | None, Option(help="Share of digits under random filters and greys.", rich_help_panel=RECIPE)
]
Erasing = Annotated[
    float | None, Option(help="Share of digits with a rectangle erased.", rich_help_panel=RECIPE)
]
Mixup = Annotated[
    float | None, Option(help="Blend pairs of digits, by weights from Beta(X, X).", rich_help_panel=RECIPE)
]
Drawn = Annotated[
    float | None,
    Option(
        help="Drawn characters for each training digit; half of them letters, to be read as no digit.",
        rich_help_panel=RECIPE,
    ),
]
Ema = Annotated[
    float | None, Option(help="Decay of the average of the weights, 0 for none.", rich_help_panel=RECIPE)
]
Momentum = Annotated[float | None, Option(help="Momentum of SGD, after Nesterov.", rich_help_panel=RECIPE)]
Beta1 = Annotated[
    float | None, Option(help="Momentum of Adam and AdamW, also beside Muon.", rich_help_panel=RECIPE)
]
Beta2 = Annotated[
    float | None, Option(help="Decay of their mean of squared gradients.", rich_help_panel=RECIPE)
]
ScheduleName = Annotated[Schedule | None, Option(help="Of the learning rate.", rich_help_panel=RECIPE)]
Warmup = Annotated[
    float | None, Option(help="Share of training in which the learning rate rises.", rich_help_panel=RECIPE)
]
Clip = Annotated[
    float | None, Option(help="Highest norm of the gradient, 0 for any.", rich_help_panel=RECIPE)
]
DtypeName = Annotated[
    Dtype | None,
    Option(help="What it computes in; auto: bfloat16 where that is faster here.", rich_help_panel=RECIPE),
]
CudaGraphs = Annotated[
    bool | None,
    Option("--cuda-graphs", help="On a GPU: record a step and repeat it.", rich_help_panel=RUN),
]
Out = Annotated[
    Path | None, Option(help="The run folder; runs/<arch>-<n> if not given.", rich_help_panel=RUN)
]
Name = Annotated[str | None, Option(help="The run folder is runs/NAME.", rich_help_panel=RUN)]
Resume = Annotated[Path | None, Option(help="Go on with the run in this folder.", rich_help_panel=RUN)]
Force = Annotated[bool, Option("--force", help="Replace a run that is there.", rich_help_panel=RUN)]
DryRun = Annotated[bool, Option("--dry-run", help="One batch; nothing is written.", rich_help_panel=RUN)]
Config = Annotated[
    Path | None, Option(help="A TOML file of these settings; options go before it.", rich_help_panel=RUN)
]
PrintConfig = Annotated[
    bool, Option("--print-config", help="Print all settings as TOML; train nothing.", rich_help_panel=RUN)
]
Format = Annotated[console.Format, Option(help="For people or for programs.")]


def train(
    arch: Arch = None,
    data: Data = None,
    strokes: StrokesFile = None,
    fonts: Fonts = None,
    pretrained: Pretrained = None,
    seed: Seed = None,
    device: DeviceOption = None,
    time: Time = None,
    patience: Patience = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    optimizer: OptimizerName = None,
    weight_decay: WeightDecay = None,
    dropout: Dropout = None,
    stochastic_depth: StochasticDepth = None,
    initialization: InitializationName = None,
    normalization: NormalizationName = None,
    label_smoothing: LabelSmoothing = None,
    augment: Augment = None,
    affine: Affine = None,
    stroke_width: StrokeWidth = None,
    elastic: Elastic = None,
    random_lines: Ruling = None,
    random_convolution: Filtering = None,
    random_erasing: Erasing = None,
    mixup: Mixup = None,
    synthetic: Drawn = None,
    ema_decay: Ema = None,
    momentum: Momentum = None,
    beta1: Beta1 = None,
    beta2: Beta2 = None,
    schedule: ScheduleName = None,
    warmup: Warmup = None,
    max_grad_norm: Clip = None,
    dtype: DtypeName = None,
    cuda_graphs: CudaGraphs = None,
    out: Out = None,
    name: Name = None,
    resume: Resume = None,
    force: Force = False,
    dry_run: DryRun = False,
    config: Config = None,
    print_config: PrintConfig = False,
    format: Format = "table",
) -> None:
    """Train an architecture by its recipe and judge it once on the test set.

    Example: digitcli train --arch cnn

    Ctrl-C saves, and --resume goes on as if nothing had happened.
    """
    fields = configured(_settings(locals(), config))
    checked = _check(fields, out, name, resume, force, dry_run, print_config)
    if print_config:
        return _print_config(checked, format)
    result = _run(checked, fields, out, name, resume, force, dry_run)
    if rank_and_size()[0] == 0:  # the first process of several speaks for all
        _show(result, format)


def _print_config(config: TrainConfig, format: console.Format) -> None:
    resolved = settings_of(config, recipe_of(config.arch, **config.recipe))
    console.show_json(resolved) if format == "json" else echo(as_toml(resolved), nl=False)


def _settings(given: Mapping[str, Any], config: Path | None) -> dict[str, Any]:
    """Those of the configuration file, and before them what was given on the command line."""
    return (read_settings(config) if config else {}) | {
        setting: str(value) if isinstance(value, Path) else value
        for setting, value in given.items()
        if setting not in OF_THE_RUN and value is not None
    }


def _show(result: TrainResult, format: console.Format) -> None:
    if format == "json":
        console.show_json({name: value for name, value in vars(result).items() if name != "misread"})
    else:
        console.show_table(console.pairs(_table(result)))
    if result.unreadable:
        raise PartialInputError(
            f"{result.unreadable} files of '{result.data}' could not be used; the others were.",
            "Mend or remove them; the first are named above.",
        )


def _check(
    fields: dict[str, Any],
    out: Path | None,
    name: str | None,
    resume: Path | None,
    force: bool,
    dry_run: bool,
    print_config: bool,
) -> TrainConfig:
    """Find every mistake that the arguments alone show, before anything heavy is loaded."""
    from digitcli.data.loading import find_dataset

    if sum(option is not None for option in (out, name, resume)) > 1:
        raise UsageError("--out, --name and --resume each name the run folder.", "Give one of them.")
    if resume and force:
        raise UsageError("--resume goes on with a run and --force replaces it.", "Give one of them.")
    if resume and (dry_run or print_config):
        raise UsageError(
            "--resume goes on with a run as it began.", "Leave --dry-run and --print-config out."
        )
    if name is not None and (name in ("", ".", "..") or "/" in name or "\\" in name):
        raise UsageError(f"--name is '{name}'.", "Give a plain name, or a folder with --out.")
    config = located(TrainConfig(**fields))
    if not resume:  # what goes together there depends on the run
        check_together(config)
    check_device_name(config.device)
    path = find_dataset(config.data)
    return config if path is None else change(config, data=str(path.resolve()))


def _run(
    config: TrainConfig,
    fields: dict[str, Any],
    out: Path | None,
    name: str | None,
    resume: Path | None,
    force: bool,
    dry_run: bool,
) -> TrainResult:
    """Load torch only now."""
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.training import trainer

    with TrainingView() as view, stop_on_signals() as stop_signal:
        if dry_run:
            return trainer.dry_run(config, on_event=view)
        if resume:
            chosen = {field: getattr(config, field) for field in fields}
            return trainer.resume(resume, chosen, on_event=view, stop_signal=stop_signal)
        return trainer.train(config, out=out, name=name, force=force, on_event=view, stop_signal=stop_signal)


def _table(result: TrainResult) -> dict[str, str]:
    rows = {
        "run": result.run or "dry run, nothing written",
        "test": console.percent(result.test_accuracy),
        "validation": console.percent(result.validation_accuracy),
        "calibration": ""
        if result.test_ece is None
        else f"ECE {result.test_ece:.4f}, NLL {result.test_nll:.4f} at temperature {result.temperature:.3f}",
        "trained": f"{result.epochs} epochs in {console.duration(result.train_seconds)}"
        f" (all in all {console.duration(result.total_seconds)}) on {result.device}, {result.dtype}",
    }
    return {name: value for name, value in rows.items() if value}
