"""The table of formats to which a model can be exported. Loads no torch."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from digitcli.atomic_write import STDOUT, check_writable, check_writable_folder
from digitcli.errors import UsageError, did_you_mean, missing_package

FormatName = Literal["onnx", "torch", "hf", "tflite", "saved_model", "c", "html"]
Dtype = Literal["float32", "int8"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A row of the table.

    summary: what the format is for.
    ending: the end of the name of its file, or of its folder where no name is given.
    target: what prepares an export, as `module:function`, with a module of `digitcli.export`.
    files: the names of the files in its folder; empty for a format of one file.
    dtypes: the number formats in which it stores weights.
    packages: the packages of an extra without which it cannot be written.
    extra: the name of that extra.
    """

    name: FormatName
    summary: str
    ending: str
    target: str
    files: tuple[str, ...] = ()
    dtypes: tuple[Dtype, ...] = ("float32",)
    packages: tuple[str, ...] = ()
    extra: str = ""


ROWS = (
    Format(
        name="onnx", summary="one file for ONNX Runtime and other programs", ending=".onnx",
        target="onnx_file:prepare", packages=("onnx", "onnxscript"), extra="export",
    ),
    Format(
        name="torch", summary="one file for torch.export.load, without digitcli", ending=".pt2",
        target="own_process:prepare_torch_export",
    ),
    Format(
        name="hf", summary="a folder for the Hugging Face hub", ending="-hf", target="hugging_face:prepare",
        files=("config.json", "model.safetensors", "README.md"),
    ),
    Format(
        name="tflite", summary="one file for TensorFlow Lite on phones and small computers", ending=".tflite",
        target="tflite_file:prepare", dtypes=("float32", "int8"),
    ),
    Format(
        name="saved_model", summary="a folder for TensorFlow", ending="-saved-model",
        target="own_process:prepare_saved_model", packages=("tensorflow",), extra="saved_model",
        files=(
            "saved_model.pb", "fingerprint.pb", "variables/variables.index",
            "variables/variables.data-00000-of-00001", "assets.extra/digitcli.json",
        ),
    ),
    Format(
        name="c", summary="a folder of C99 source for microcontrollers", ending="-c",
        target="c_source:prepare", files=("digit_model.h", "digit_model.c"), dtypes=("float32", "int8"),
    ),
    Format(
        name="html", summary="one page for a browser, to draw digits", ending=".html",
        target="html_page:prepare",
    ),
)  # fmt: skip
FORMATS: dict[str, Format] = {row.name: row for row in ROWS}
SUFFIXES: dict[str, FormatName] = {row.ending: row.name for row in ROWS if not row.files}


def find_format(name: str | None, output: Path | None = None, dtype: str = "float32") -> Format:
    """Return the format of this name, or else that of the name of the output, with this number format.

    Raises:
        UsageError: there is no such format, or it does not store weights so.
    """
    if name is None:
        name = "onnx"
        if output is not None and output != STDOUT:
            if output.suffix.lower() not in SUFFIXES:
                cause = f"--output is '{output}', whose name does not tell the format."
                remedy = f"End it in {', '.join(SUFFIXES)}, or name the format with --to."
                raise UsageError(cause, remedy)
            name = SUFFIXES[output.suffix.lower()]
    if name not in FORMATS:
        raise UsageError(f"There is no format '{name}'.", did_you_mean(name, FORMATS))
    row = FORMATS[name]
    if dtype not in row.dtypes:
        able = [row.name for row in ROWS if dtype in row.dtypes]
        remedy = f"Give --to {' or '.join(able)}." if able else f"Give {' or '.join(row.dtypes)}."
        raise UsageError(f"--dtype is {dtype}, which the format {name} does not have.", remedy)
    return row


def check_packages(format: Format) -> None:
    """Check, before the work begins and without importing them, that the packages of a format are installed.

    Raises:
        EnvironmentFault: one of them is not.
    """
    for package in format.packages:
        if importlib.util.find_spec(package) is None:
            raise missing_package(f"The format {format.name}", format.extra, f"there is no {package}")


def check_output(output: Path, format: Format, force: bool) -> None:
    """Check, before the work begins, that an export can be written.

    Raises:
        UsageError: the name of a file does not end as the format demands.
        OutputError: the output exists and `force` is not given, or it cannot be written.
    """
    if format.files:
        check_writable_folder(output, format.files, force)
        return
    if output != STDOUT and SUFFIXES.get(output.suffix.lower()) != format.name:
        raise UsageError(f"--output is '{output}'.", f"Name a file that ends in {format.ending}.")
    check_writable(output, force)
