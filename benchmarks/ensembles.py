"""Measure what an ensemble gains.

    python benchmarks/ensembles.py seeds=runs/cnn-1,runs/cnn-2 shipped=robust,cnn --tta runs/cnn-1

A group is a name and the models of one ensemble. An ensemble in a group counts as its members, so that a run
of `digitcli train --members` is a group by itself. `--tta` makes an ensemble of one model that sees each
digit five times, shifted by up to one pixel (test-time augmentation). Every average is calibrated on the
validation digits of MNIST, and measured on its test digits, like its members. Times are those of PyTorch for
one image on the CPU. `-o FILE.json` saves the figures.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from support import Output, Row, Rows, open_app
from torch import Tensor, nn

from digitcli.architectures.averaging import Ensemble
from digitcli.architectures.summary import summarize
from digitcli.benchmarking.benchmark import quick_latency_ms
from digitcli.data.dataset import Digits, split
from digitcli.data.mnist import load_mnist
from digitcli.evaluation.calibration import fit_temperature
from digitcli.evaluation.metrics import ece, nll, wilson_interval
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import infer, open_network

app = open_app(__doc__)
SHIFTS_PX = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # to the right and down


@dataclass(frozen=True)
class Member:
    """A network, the divisor that calibrates its logits, and the time of its training if it is known."""

    network: nn.Module
    temperature: float
    train_seconds: float | None


class Shifted(nn.Module):
    """A network that sees every digit shifted, on empty paper."""

    def __init__(self, network: nn.Module, right_px: int, down_px: int) -> None:
        super().__init__()
        self.network = network
        self.padding = (right_px, -right_px, down_px, -down_px)

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        logits: Tensor = self.network(F.pad(images, self.padding))
        return logits


@app.command()
def main(
    groups: Annotated[list[str], typer.Argument(metavar="NAME=MODEL,MODEL...")] = (),
    tta: Annotated[list[str], typer.Option(help="Shift the digits of this model.")] = (),
    output: Output = None,
) -> None:
    """Measure all groups."""
    named = [(name, models.split(",")) for name, _, models in (group.partition("=") for group in groups)]
    members = {name: members_of(map(resolve_model, models)) for name, models in named}
    members |= {f"shifts of {model}": views_of(resolve_model(model)) for model in tta}
    splits, rows = split(load_mnist()), Rows()
    for name, group in members.items():
        rows.add(name, measure_group(group, splits.validation, splits.test))
    rows.save(output)


def members_of(models: Iterable[ResolvedModel]) -> list[Member]:
    """Open the models; an ensemble among them is replaced by its members."""
    members = []
    for model in models:
        network = open_network(model)
        is_ensemble = isinstance(network, Ensemble)
        networks = list(network.members) if is_ensemble else [network]
        headers: list[dict[str, Any]] = (
            model.header.arguments["members"] if is_ensemble else [asdict(model.header)]
        )
        members += [
            Member(part, header["temperature"], header["metrics"].get("train_seconds"))
            for part, header in zip(networks, headers, strict=True)
        ]
    return members


def views_of(model: ResolvedModel) -> list[Member]:
    """Return one model, trained once, as several members that see the digits shifted by `SHIFTS_PX`."""
    network, header = open_network(model), model.header
    seconds = [header.metrics.get("train_seconds"), *[None] * (len(SHIFTS_PX) - 1)]
    return [
        Member(Shifted(network, *shift), header.temperature, trained)
        for shift, trained in zip(SHIFTS_PX, seconds, strict=True)
    ]


def measure_group(members: Sequence[Member], validation: Digits, test: Digits) -> Row:
    """Return the figures of the members and of their average, calibrated on the validation digits.

    correlation, disagreement: of the mistakes of two members, and of their answers, in the mean of all pairs.
    parameters, macs, latency_ms: the cost of an answer to one image.
    """
    parts = [member.network for member in members], [member.temperature for member in members]
    ensemble = Ensemble(*parts).eval()
    temperature = fit_temperature(infer(ensemble, validation.images), validation.labels)
    logits = [infer(each.network, test.images).numpy() / each.temperature for each in members]
    answers = np.array([each.argmax(axis=-1) for each in logits])
    average = infer(ensemble, test.images).numpy() / temperature
    is_wrong, errors = answers != test.labels, (answers != test.labels).sum(axis=1)
    pairs = list(itertools.combinations(range(len(members)), 2))
    both = [(is_wrong[a], is_wrong[b]) for a, b in pairs if errors[a] and errors[b]]
    correct = int((average.argmax(axis=-1) == test.labels).sum())
    low, high = wilson_interval(correct, len(test))
    summary = summarize(ensemble)
    return {
        "members": len(members),
        "errors_of_members": errors.mean(),
        "least_errors": int(errors.min()),
        "most_errors": int(errors.max()),
        "correlation": float(np.mean([np.corrcoef(*pair)[0, 1] for pair in both] or [np.nan])),
        "disagreement": float(np.mean([(answers[a] != answers[b]).mean() for a, b in pairs] or [0])),
        "errors": len(test) - correct,
        "accuracy": correct / len(test),
        "accuracy_low": low,
        "accuracy_high": high,
        "nll_of_members": float(np.mean([nll(each, test.labels) for each in logits])),
        "nll": nll(average, test.labels),
        "ece": ece(average, test.labels),
        "temperature": temperature,
        "parameters": summary.parameters,
        "macs": summary.macs,
        "latency_ms": quick_latency_ms(ensemble, torch.device("cpu")),
        "train_seconds": sum(member.train_seconds or 0 for member in members),
    }


if __name__ == "__main__":
    app()
