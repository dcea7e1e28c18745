"""Measure what an ensemble gains: `python benchmarks/ensembles.py --group seeds runs/cnn-1 runs/cnn-2`.

    python benchmarks/ensembles.py --group seeds runs/cnn-1 runs/cnn-2 runs/cnn-3 \\
        --group architectures runs/cnn-1 runs/resnet-1 --group seeds runs/ensemble-1 --tta runs/cnn-1

A group is a name and the models of one ensemble. An ensemble in a group counts as its members, so that a run
of `digitcli train --members` is a group by itself. Several groups of the same name are
repetitions, and get a line with their mean. `--tta` makes an ensemble of one model that sees each digit five
times, shifted by up to one pixel (test-time augmentation). Every average is calibrated on the validation
digits of MNIST, and measured on its test digits, like its members. Times are those of PyTorch for one image
on the CPU. `--json FILE` writes all figures, also those of each pair of members.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitcli.architectures.averaging import Ensemble
from digitcli.architectures.summary import summarize
from digitcli.atomic_write import write_whole
from digitcli.benchmarking.benchmark_results import Environment, describe_environment
from digitcli.benchmarking.measurement import quick_latency_ms
from digitcli.data.dataset import Digits, split
from digitcli.data.mnist import load_mnist
from digitcli.evaluation.calibration import fit_temperature
from digitcli.evaluation.metrics import accuracy, ece, nll, wilson_interval
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.inference.torch_runtime import infer, open_network

SHIFTS_PX = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # to the right and down
COLUMNS = (
    "group",
    "members",
    "errors of members",
    "correlation",
    "disagreement",
    "errors",
    "accuracy (95 % interval)",
    "NLL of members",
    "NLL",
    "ECE",
    "parameters",
    "ms",
    "training",
)


@dataclass(frozen=True)
class Figures:
    """The figures of one network or of an average on the test digits."""

    name: str
    errors: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    nll: float
    ece: float


@dataclass(frozen=True)
class GroupResult:
    """An ensemble and its members.

    correlations, disagreements: for each two members, the correlation of their mistakes, which is None if one
        of them makes none, and the fraction of the digits to which they give different answers.
    temperature: the divisor that calibrates the average, fitted on the validation digits.
    parameters, macs, latency_ms: the cost of an answer to one image.
    train_seconds: the training time of all members; None if it is not known.
    """

    name: str
    members: tuple[Figures, ...]
    correlations: tuple[float | None, ...]
    disagreements: tuple[float, ...]
    ensemble: Figures
    temperature: float
    parameters: int
    macs: int
    latency_ms: float
    train_seconds: float | None


@dataclass(frozen=True)
class Study:
    """The measured groups, with the machine and the versions."""

    schema: int
    environment: Environment
    groups: tuple[GroupResult, ...]


@dataclass(frozen=True)
class Member:
    """A network, the divisor that calibrates its logits, and the time of its training if it is known."""

    name: str
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


def main() -> None:
    """Measure all groups and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--group", action="append", nargs="+", default=[], metavar=("NAME", "MODEL"))
    parser.add_argument("--tta", action="append", default=[], metavar="MODEL", help="shift its digits")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    arguments = parser.parse_args()

    groups = [(name, members_of(map(resolve_model, models))) for name, *models in arguments.group]
    groups += [(f"shifts of {model}", views_of(resolve_model(model))) for model in arguments.tta]
    splits = split(load_mnist())
    results = []
    for name, members in groups:
        results.append(measure_group(name, members, splits.validation, splits.test))
        print(f"{name}: {results[-1].ensemble.errors} errors", flush=True)
    study = Study(1, describe_environment(torch.device("cpu")), tuple(results))
    if arguments.json:
        write_whole(arguments.json, (json.dumps(asdict(study), indent=2) + "\n").encode())
    environment = study.environment
    print(f"{environment.cpu}, {environment.threads} threads, torch {environment.torch}\n")
    print("\n".join(table(results)))


def members_of(models: Iterable[ResolvedModel]) -> list[Member]:
    """Open the models; an ensemble among them is replaced by its members."""
    members = []
    for model in models:
        network = open_network(model)
        networks = list(network.members) if isinstance(network, Ensemble) else [network]
        headers: list[dict[str, Any]] = [asdict(model.header)]
        if isinstance(network, Ensemble):
            headers = model.header.arguments["members"]
        for number, (part, header) in enumerate(zip(networks, headers, strict=True)):
            name = f"{model.id}/{number}" if isinstance(network, Ensemble) else model.id
            members.append(Member(name, part, header["temperature"], header["metrics"].get("train_seconds")))
    return members


def views_of(model: ResolvedModel) -> list[Member]:
    """Return one model as several members, each of which sees the digits shifted by one of `SHIFTS_PX`."""
    network, header = open_network(model), model.header
    seconds = header.metrics.get("train_seconds")
    return [
        Member(
            f"{model.id} shifted by {shift}",
            Shifted(network, *shift),
            header.temperature,
            None if place else seconds,  # they are trained once
        )
        for place, shift in enumerate(SHIFTS_PX)
    ]


def measure_group(name: str, members: Sequence[Member], validation: Digits, test: Digits) -> GroupResult:
    """Measure the members and their average, which is calibrated on the validation digits."""
    ensemble = Ensemble(
        [member.network for member in members], [member.temperature for member in members]
    ).eval()
    temperature = fit_temperature(infer(ensemble, validation.images), validation.labels)
    all_logits = [infer(each.network, test.images).numpy() / each.temperature for each in members]
    answers = [logits.argmax(axis=-1) for logits in all_logits]
    average = infer(ensemble, test.images).numpy() / temperature
    summary = summarize(ensemble)
    seconds = [member.train_seconds for member in members if member.train_seconds is not None]
    return GroupResult(
        name=name,
        members=tuple(
            figures(member.name, logits, test.labels)
            for member, logits in zip(members, all_logits, strict=True)
        ),
        correlations=tuple(
            correlation(first != test.labels, second != test.labels)
            for first, second in itertools.combinations(answers, 2)
        ),
        disagreements=tuple(
            float(np.mean(first != second)) for first, second in itertools.combinations(answers, 2)
        ),
        ensemble=figures(name, average, test.labels),
        temperature=temperature,
        parameters=summary.parameters,
        macs=summary.macs,
        latency_ms=quick_latency_ms(ensemble, torch.device("cpu")),
        train_seconds=sum(seconds) if seconds else None,
    )


def correlation(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float | None:
    """Return the correlation of the mistakes (N,) of two classifiers; None if one of them makes none."""
    return float(np.corrcoef(first, second)[0, 1]) if first.any() and second.any() else None


def figures(name: str, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> Figures:
    """Return the figures of calibrated logits (N, 10)."""
    correct = int((logits.argmax(axis=-1) == labels).sum())
    low, high = wilson_interval(correct, len(labels))
    return Figures(
        name=name,
        errors=len(labels) - correct,
        accuracy=accuracy(logits, labels),
        accuracy_low=low,
        accuracy_high=high,
        nll=nll(logits, labels),
        ece=ece(logits, labels),
    )


def table(results: Sequence[GroupResult]) -> list[str]:
    """Return the lines of a Markdown table; repetitions of a group are followed by their mean."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for name, repetitions in _by_name(results).items():
        lines += [_line(_cells(result)) for result in repetitions]
        if len(repetitions) > 1:
            accuracies = [100 * result.ensemble.accuracy for result in repetitions]
            mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
            title = f"{name}, mean of {len(repetitions)}"
            cells = dict.fromkeys(COLUMNS, "") | {"group": title, COLUMNS[6]: f"{mean:.3f} ± {deviation:.3f}"}
            lines.append(_line(cells.values()))
    return lines


def _by_name(results: Sequence[GroupResult]) -> dict[str, list[GroupResult]]:
    groups: dict[str, list[GroupResult]] = {}
    for result in results:
        groups.setdefault(result.name, []).append(result)
    return groups


def _cells(result: GroupResult) -> list[str]:
    errors = [member.errors for member in result.members]
    known = [each for each in result.correlations if each is not None]
    ensemble = result.ensemble
    accuracies = ensemble.accuracy, ensemble.accuracy_low, ensemble.accuracy_high
    return [
        result.name,
        str(len(result.members)),
        f"{statistics.mean(errors):.1f} ({min(errors)} to {max(errors)})",
        f"{statistics.mean(known):.2f}" if known else "",
        f"{100 * statistics.mean(result.disagreements):.2f} %" if result.disagreements else "",
        str(ensemble.errors),
        "{:.2f} ({:.2f} to {:.2f})".format(*(100 * accuracy for accuracy in accuracies)),
        f"{statistics.mean(member.nll for member in result.members):.4f}",
        f"{ensemble.nll:.4f}",
        f"{ensemble.ece:.4f}",
        f"{result.parameters:,}",
        f"{result.latency_ms:.2f}",
        "" if result.train_seconds is None else f"{result.train_seconds:,.0f} s",
    ]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
