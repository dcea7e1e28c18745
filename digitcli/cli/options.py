"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

from typer import Option

from digitcli.cli.completion import complete_device

RuntimeChoice = Literal["auto", "torch", "onnxruntime"]

DeviceOption = Annotated[
    str | None,
    Option(
        "--device",
        "-d",
        help="Compute on this device: cpu, cuda, cuda:N, mps, or auto for the fastest (default: auto).",
        autocompletion=complete_device,
    ),
]
RuntimeOption = Annotated[
    RuntimeChoice | None,
    Option(
        "--runtime",
        help="Run models with torch or onnxruntime; auto takes onnxruntime for shipped models on the CPU, "
        "which starts faster, and else torch (default: auto).",
    ),
]
