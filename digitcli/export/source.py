"""What every format gets, and what it gives back: a model to export, and the files with their proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

import digitcli
from digitcli.architectures.compression import rounds_inputs
from digitcli.export.formats import Dtype
from digitcli.imaging.digits import BOX_PX, SIDE_PX
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.strip_format import STRIP_HEIGHT_PX, STRIP_PAPER
from digitcli.templating import template_environment

Images = npt.NDArray[np.uint8]  # N, H, W or N, C, H, W; ink 255
Outputs = tuple[npt.NDArray[np.float32], ...]  # the logits first
DIGITS = "0123456789"
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Source:
    """A model that is exported.

    model, network: its checkpoint, and its network in evaluation mode on the CPU; with int8, weights that are
        floats in the checkpoint are rounded.
    network_with_scales: the same network, in which quantized weights know their integers.
    dtype: the number format of the weights.
    verified: whether the files are compared with PyTorch before they are kept.
    """

    model: ResolvedModel
    network: nn.Module
    network_with_scales: nn.Module
    dtype: Dtype = "float32"
    verified: bool = True


@dataclass(frozen=True)
class Exporter:
    """An export that is prepared.

    files: the content of each file by name; a format of one file has one.
    facts: what is worth telling a person, by name.
    run: computes the outputs for batches of images by the exported file or folder, and nothing else.
    examples: the number of images on which they are compared; None for all of the test set.
    """

    files: Mapping[str, bytes]
    facts: Mapping[str, str | int]
    run: Callable[[Path, Sequence[Images]], list[Outputs]]
    examples: int | None = None


def describe(source: Source) -> dict[str, Any]:
    """Return what a program must know to use a model: its input, its outputs and where it comes from."""
    header = source.model.header
    task = {"digit": _digit_facts, "line": _line_facts, "page": _page_facts}[header.task](source)
    return {
        "producer": f"digitcli {digitcli.__version__}",
        "model": source.model.id,
        "architecture": header.architecture,
        "arguments": header.arguments,
        "task": header.task,
        **task,
        "temperature": header.temperature,
        "probabilities": "softmax(logits / temperature)",
        "dtype": source.dtype,
        "checkpoint_sha256": source.model.sha256,
        "parity": _parity(source),
    }


def _parity(source: Source) -> str:
    if not source.verified:
        return "not checked (--no-verify)"
    if rounds_inputs(source.network):
        return "at most 1 in 1,000 answers differs from those of PyTorch"
    rounded = " with the same rounded weights" if source.dtype == "int8" else ""
    return f"the answers equal those of PyTorch{rounded}"


def _digit_facts(source: Source) -> dict[str, Any]:
    return {
        "labels": DIGITS,
        "input": f"images (N, 1, {SIDE_PX}, {SIDE_PX}), float32 from 0 (paper) to 1 (ink)",
        "preprocessing": f"the digit is scaled into {BOX_PX} x {BOX_PX} pixels, keeping its proportions, and "
        f"its centre of mass is placed in the middle of {SIDE_PX} x {SIDE_PX} pixels, as in MNIST",
        "output": "logits (N, 10)",
    }


def _line_facts(source: Source) -> dict[str, Any]:
    channels = getattr(source.network, "channels", 1)
    ink = (
        "from 0 (paper) to 1 (ink)"
        if channels == 1
        else f"paper {STRIP_PAPER}/255, ink darker or lighter; the channels are the mean, the darkest "
        "and the lightest value of each pixel"
    )
    return {
        "alphabet": source.model.header.alphabet,
        "input": f"lines (N, {channels}, {STRIP_HEIGHT_PX}, W), float32, {ink}; W is a multiple of 4",
        "preprocessing": f"a row of writing is scaled to a height of {STRIP_HEIGHT_PX} pixels",
        "output": "logits (N, W / 4, A + 1) for the A characters of the alphabet and the blank of CTC, the "
        "last class; boxes (N, W / 4, 4) of the characters, where the network predicts them",
    }


def _page_facts(source: Source) -> dict[str, Any]:
    return {
        "input": "pages (N, 4, H, W), float32 from 0 to 1; H and W are multiples of 32",
        "preprocessing": "digitcli/imaging/network_inputs.py",
        "output": "maps (N, 6, H / 4, W / 4)",
    }


def render(
    template: str, values: Mapping[str, Any], filters: Mapping[str, Callable[..., str]], *, escape: bool
) -> str:
    """Return a template of this package filled with values; `escape` makes every text safe for HTML."""
    environment = template_environment(TEMPLATES, filters, escape=escape, keep_trailing_newline=True)
    return environment.get_template(template).render(values)
