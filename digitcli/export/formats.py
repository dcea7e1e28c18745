"""The table of formats to which a model can be exported. Loads no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from digitcli.atomic_write import check_writable, check_writable_folder
from digitcli.errors import UsageError, did_you_mean
from digitcli.optional_packages import missing_package

if TYPE_CHECKING:
    from digitcli.export.source import Exporter, Source

FormatName = Literal["onnx", "torch", "hf", "tflite", "saved_model", "c", "html"]
Dtype = Literal["float32", "int8"]


@dataclass(frozen=True)
class Format:
    """A row of the table.

    summary: what the format is for.
    ending: the end of the name of its file, or of its folder where no name is given.
    files: the names of the files in its folder; empty for a format of one file.
    dtypes: the number formats in which it stores weights.
    target: the function that prepares an export, as `module:function`.
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

    def load(self) -> Callable[[Source], Exporter]:
        """Import and return the function that prepares an export."""
        module, _, function = self.target.partition(":")
        prepare: Callable[[Source], Exporter] = getattr(import_module(f"digitcli.export.{module}"), function)
        return prepare


FORMATS = {
    row.name: row
    for row in (
        Format(
            "onnx",
            "one file for ONNX Runtime and other programs",
            ".onnx",
            "onnx_file:prepare",
            packages=("onnx", "onnxscript"),
            extra="export",
        ),
        Format("torch", "one file for torch.export.load, without digitcli", ".pt2", "torch_file:prepare"),
        Format(
            "hf",
            "a folder for the Hugging Face hub",
            "-hf",
            "hugging_face:prepare",
            ("config.json", "model.safetensors", "README.md"),
        ),
        Format(
            "tflite",
            "one file for TensorFlow Lite on phones and small computers",
            ".tflite",
            "tflite_file:prepare",
            dtypes=("float32", "int8"),
        ),
        Format(
            "saved_model",
            "a folder for TensorFlow",
            "-saved-model",
            "saved_model:prepare",
            (
                "saved_model.pb",
                "fingerprint.pb",
                "variables/variables.index",
                "variables/variables.data-00000-of-00001",
                "assets.extra/digitcli.json",
            ),
            packages=("tensorflow",),
            extra="saved_model",
        ),
        Format(
            "c",
            "a folder with C99 source for microcontrollers",
            "-c",
            "c_source:prepare",
            ("digit_model.h", "digit_model.c"),
            ("float32", "int8"),
        ),
        Format("html", "one page for a browser, to draw digits", ".html", "html_page:prepare"),
    )
}


def find_format(name: str, dtype: str = "float32") -> Format:
    """Return the format of a name, which stores weights in this number format.

    Raises:
        UsageError: there is no such format, or it does not store weights so.
    """
    row = next((row for row in FORMATS.values() if row.name == name), None)
    if row is None:
        raise UsageError(f"There is no format '{name}'.", did_you_mean(name, FORMATS))
    if dtype not in row.dtypes:
        able = [row.name for row in FORMATS.values() if dtype in row.dtypes]
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


def default_output(model_id: str, format: Format) -> Path:
    """Return the file or folder to which a model, e.g. `fast@1a2b3c4d`, is exported if none is named."""
    return Path(f"{model_id.rpartition('@')[0]}{format.ending}")


def check_output(output: Path, format: Format, force: bool) -> None:
    """Check, before the work begins, that an export can be written.

    Raises:
        UsageError: the name of a file does not end as the format demands.
        OutputError: the output exists and `force` is not given, or it cannot be written.
    """
    if format.files:
        check_writable_folder(output, format.files, force)
        return
    if output.suffix.lower() != format.ending:
        raise UsageError(f"--output is '{output}'.", f"Name a file that ends in {format.ending}.")
    check_writable(output, force)
