"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from digitcli.cli.completion import complete_device

DeviceOption = Annotated[
    str | None,
    Option(
        "--device",
        "-d",
        help="auto (if not given), cpu, cuda, cuda:N or mps.",
        autocompletion=complete_device,
    ),
]
