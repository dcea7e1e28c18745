"""Options that several commands have."""

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
        help="auto (if not given), cpu, cuda, cuda:N or mps.",
        autocompletion=complete_device,
    ),
]
RuntimeOption = Annotated[
    RuntimeChoice | None,
    Option(
        "--runtime",
        help="auto (if not given): onnxruntime for shipped models on the CPU, else torch.",
    ),
]
