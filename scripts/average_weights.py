"""Average the weights of trainings that go on from the same ones: `scripts/average_weights.py A B -o C`.

The mean of readers of lines, or of page finders, is one network, as fast as each, and often better than
each on data of other kinds: Wortsman et al., "Robust fine-tuning of zero-shot models" and "Model soups:
averaging weights of multiple fine-tuned models improves accuracy without increasing inference time", 2022.
Its temperature is fitted and its accuracy measured as after a training. The statistics of batch
normalization are estimated anew, since their mean is not that of the average (Izmailov et al., "Averaging
weights leads to wider optima and better generalization", 2018). The settings are those of A, the data those
of the last model. `scripts/ship.py` ships it, and the scripts that calibrate fit its confidence.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch
from torch import nn

from digitcli.architectures.recipe import Recipe
from digitcli.data.mnist import load_mnist
from digitcli.inference.checkpoint import Header, read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import open_network
from digitcli.training.line_task import ComposedLines, LineTask
from digitcli.training.page_task import SQUARES
from digitcli.training.task import SceneTask, TrainingTask

BATCHES = 32  # from which the statistics of batch normalization are estimated
SAME = ("architecture", "alphabet")
MEASURED = ("validation_accuracy", "test_accuracy", "test_nll", "test_ece")


def main() -> None:
    """Write the mean of the models."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="shipped names, checkpoints or run folders")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the checkpoint to write")
    arguments = parser.parse_args()
    (header, first), *others = [read_checkpoint(resolve_model(model).path) for model in arguments.models]
    for other, _ in others:
        is_same = all(getattr(other, name) == getattr(header, name) for name in SAME)
        if not is_same or _shape(other) != _shape(header):
            sys.exit("The models have different architectures, arguments or alphabets.")
    last = others[-1][0] if others else header
    if header.task == "digit":
        sys.exit("Only readers of lines and page finders can be averaged.")
    average = {
        name: torch.stack([tensor.float(), *(tensors[name].float() for _, tensors in others)]).mean(0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }
    network = open_network(resolve_model(arguments.models[0]))
    network.load_state_dict(average)
    task = task_of(header)
    estimate_statistics(network, task)
    average = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    network.eval()
    found = task.test(network)
    metrics = {name: getattr(found, name) for name in MEASURED}
    print(f"temperature {found.temperature:.3f}", metrics)
    header = dataclasses.replace(
        header, dataset=last.dataset, temperature=found.temperature, metrics=metrics, refusal_threshold=None,
        risk={}, acceptance={}, presence={}, guarantee=None, risk_companions=(),
    )  # fmt: skip
    write_checkpoint(arguments.output, header, average)


def task_of(header: Header) -> TrainingTask:
    """Return what the networks were trained on."""
    recipe, device = Recipe(**header.recipe), torch.device("cpu")
    if header.task == "page":
        return SceneTask(SQUARES, load_mnist(), recipe, header.seed or 0, device, workers=0)
    source = ComposedLines(load_mnist(), header.seed or 0, header.architecture)
    return LineTask(source, recipe, device, workers=0)


def estimate_statistics(network: nn.Module, task: TrainingTask) -> None:
    """Estimate the statistics of batch normalization on batches of the training data."""
    for module in network.modules():
        module.train(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d))
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # type: ignore[assignment]  # the mean over all batches
    with torch.no_grad():
        for step in range(BATCHES):
            task.loss(network, 0, step, progress=1.0)


def _shape(header: Header) -> dict[str, object]:
    """Return the arguments of an architecture without dropout, which changes no weight and no answer."""
    return {name: value for name, value in header.arguments.items() if name != "dropout"}


if __name__ == "__main__":
    main()
