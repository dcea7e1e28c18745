"""`digitcli compress`: make a trained model smaller and faster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from digitcli import console
from digitcli.cli.options import (
    DeviceOption,
    TableFormatOption,
    complete_shipped,
    dataset_option,
    model_argument,
)
from digitcli.cli.signals import stop_on_signals, wait_with_signals
from digitcli.compression.steps import DEFAULT_EPOCHS, parse_steps
from digitcli.errors import QualityError, UsageError
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import resolve_model
from digitcli.settings import parse_points, parse_size
from digitcli.training.configuration import TrainConfig

ModelArgument = Annotated[str, model_argument("Compress")]
StepsOption = Annotated[
    str | None,
    Option(
        metavar="STEP,STEP",
        help="Take these steps in their order: distill=ARCH trains a smaller architecture with the model as "
        "its teacher; prune=SHARE removes this share of the channels; low_rank=SHARE keeps this share of the "
        "weights of each layer; fold folds batch normalization into the layers before it; int8 stores and "
        "computes in 8-bit integers; int7, int6, int5, int4 and int3 store weights alone in so many bits. "
        "All of these fold first.",
        show_default=False,
    ),
]
LossOption = Annotated[
    str | None,
    Option(
        "--max-accuracy-loss",
        metavar="POINTS",
        help="Search the smallest model that loses at most this many percentage points of accuracy on the "
        "validation digits, for example 0.3.",
        show_default=False,
    ),
]
SizeOption = Annotated[
    str | None,
    Option(
        "--max-size",
        metavar="SIZE",
        help="Search the most accurate model whose weights take at most this much in its checkpoint, for "
        "example 64kB, which is less than the flash memory of its C program; with --max-accuracy-loss both "
        "must be reached.",
        show_default=False,
    ),
]
EpochsOption = Annotated[
    int,
    Option(
        "--epochs",
        "-e",
        metavar="N",
        min=0,
        help="Fine-tune for this many epochs after prune, low_rank, int4 and int3; 0 does not train.",
    ),
]
DataOption = Annotated[str, dataset_option("Fine-tune and validate on")]
TeacherOption = Annotated[
    list[str] | None,
    Option(
        metavar="NAME",
        help="Fine-tune with this trained model as the teacher, not with the one that is compressed; may be "
        "given several times.",
        autocompletion=complete_shipped,
        show_default=False,
    ),
]
SeedOption = Annotated[int, Option(metavar="N", min=0, help="Derive all random numbers from this seed.")]
OutputOption = Annotated[
    Path | None,
    Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Write the model and all that was tried to this folder (default: runs/compress/NAME, or "
        "runs/compress/NAME-ARCH after distill=ARCH).",
        show_default=False,
    ),
]
Force = Annotated[
    bool,
    Option(
        "--force",
        help="Replace a compression with other steps, goals or settings in the folder of --output; its model "
        "stays until the new one is finished.",
    ),
]


def compress(
    model: ModelArgument,
    steps: StepsOption = None,
    max_accuracy_loss: LossOption = None,
    max_size: SizeOption = None,
    epochs: EpochsOption = DEFAULT_EPOCHS,
    teacher: TeacherOption = None,
    data: DataOption = TrainConfig.data,
    device: DeviceOption = None,
    seed: SeedOption = 0,
    output: OutputOption = None,
    force: Force = False,
    format: TableFormatOption = "table",
) -> None:
    """Make a trained model smaller by pruning, low rank and integers, and measure what each step brings.

    Examples:

      digitcli compress cnn --steps prune=0.5,int8

      digitcli compress robust --max-size 64kB

      digitcli compress fast --max-accuracy-loss 0.1

    The folder of the result is a model for every other command. Choices depend on validation digits alone;
    the test digits choose nothing. Ctrl-C stops, and the same command continues. Exit code 8 says
    that no model reaches the goals.
    """
    check_device_name(device or TrainConfig.device)
    parsed = () if steps is None else parse_steps(steps)
    loss = None if max_accuracy_loss is None else parse_points(max_accuracy_loss, "--max-accuracy-loss")
    max_bytes = None if max_size is None else parse_size(max_size, "--max-size")
    if bool(parsed) == (loss is not None or max_bytes is not None):
        cause = "Steps and goals are given." if parsed else "Neither steps nor goals are given."
        raise UsageError(cause, "Give either --steps, or goals: --max-accuracy-loss, --max-size or both.")
    resolve_model(model)
    with console.Busy("Loading PyTorch"), wait_with_signals():
        from digitcli.cli.views.compression import CompressionView, show_compression
        from digitcli.compression import compress as module
        from digitcli.compression.compressor import CompressionConfig
    config = CompressionConfig(
        model=model,
        data=data,
        epochs=epochs,
        seed=seed,
        device=device or TrainConfig.device,
        teacher=tuple(teacher or ()),
    )
    with CompressionView() as view, stop_on_signals() as stop_signal:
        result = module.compress(
            config, parsed, max_accuracy_loss=loss, max_bytes=max_bytes, folder=output,
            force=force, on_event=view, stop_signal=stop_signal,
        )  # fmt: skip
    console.show_result(result, format, show_compression)
    if result.chosen is None:
        raise QualityError(result.miss, result.remedy)
