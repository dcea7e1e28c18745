"""Seconds of training to an accuracy, beside PyTorch's MNIST example: `python benchmarks/pytorch_example.py`.

The example is written anew from its published hyper-parameters: 3x3 convolutions of 32 and 64 maps, pooled
once, dropout 0.25, 128 hidden units, dropout 0.5; Adadelta with a learning rate of 1 that falls by 0.7 an
epoch; batches of 64. Its digits are in memory, which spares it its loader. It trains until it reaches 99 % of
the test digits after an epoch, looks at them after each, and only its training is timed. That chooses by the
test digits, in its favour; `digitcli` uses them once, after its last step.

    python benchmarks/pytorch_example.py --seeds 20 --repeats 3  # train --arch fast, and the example
    python benchmarks/pytorch_example.py --seeds 20 --repeats 0 --option=--time=8s

Each run is a process of its own; the example runs in between, `--repeats` times. `train_seconds` goes from
the first step to the last, whatever touches pixels after loading included; the whole process stands beside.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

WANTED = 0.99
EPOCHS = 14


def main() -> None:
    """Both sides in turn, then the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3, help="runs of the example")
    parser.add_argument("--arch", default="fast")
    parser.add_argument("--option", action="append", default=[], help="for digitcli train")
    parser.add_argument("--example", type=int, metavar="SEED", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.example is not None:
        print(json.dumps(example(arguments.example)))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {version('torch')}")
    theirs: list[dict[str, Any]] = []
    ours: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        if len(theirs) * arguments.seeds < arguments.repeats * (seed + 1):
            theirs.append(answer_of([sys.executable, __file__, "--example", str(len(theirs))]))
            print("example", theirs[-1], flush=True)
        ours.append(digitcli(arguments.arch, seed, arguments.option))
    show(ours, theirs)


def digitcli(arch: str, seed: int, options: list[str]) -> dict[str, Any]:
    """One run, with the seconds of its whole process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "digitcli", "train", "--arch", arch, "--seed", str(seed), *options]
        began = time.perf_counter()
        result = answer_of([*command, "--out", str(Path(folder) / "run"), "--format", "json"])
        return {**result, "process_seconds": time.perf_counter() - began}


def answer_of(command: list[str]) -> dict[str, Any]:
    """The JSON that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def show(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Means and spreads, and how many times as fast."""
    accuracies = [100 * row["test_accuracy"] for row in ours]
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    print(
        f"{ours[0]['parameters']:,} parameters, test accuracy: mean {statistics.mean(accuracies):.3f} %, "
        f"sd {spread:.3f}, {min(accuracies):.2f} to {max(accuracies):.2f}, n = {len(ours)}"
    )
    validations = [100 * row["validation_accuracy"] for row in ours]
    print(f"validation accuracy: mean {statistics.mean(validations):.3f} %")
    print("training:", seconds_of([row["train_seconds"] for row in ours]))
    print("whole process:", seconds_of([row["process_seconds"] for row in ours]))
    if theirs:
        reached = [row["seconds"] for row in theirs]
        print(f"example to {WANTED:.0%}:", seconds_of(reached))
        ratio = statistics.median(reached) / statistics.median(row["train_seconds"] for row in ours)
        print(f"ratio of the medians: {ratio:.1f}")


def seconds_of(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f}, n = {len(values)})"


def example(seed: int) -> dict[str, Any]:
    """The example of PyTorch, until it has reached 99 % or its epochs are over."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from digitcli.data.mnist import load_mnist

    mnist = load_mnist()
    images, labels, test_images, test_labels = (
        torch.from_numpy(array)
        for array in (mnist.train.images, mnist.train.labels, mnist.test.images, mnist.test.labels)
    )
    images, test_images = (((part.unsqueeze(1) / 255) - 0.1307) / 0.3081 for part in (images, test_images))
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    seconds, accuracies = 0.0, []
    while len(accuracies) < EPOCHS and max(accuracies, default=0.0) < WANTED:
        network.train()
        began = time.perf_counter()
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.nll_loss(F.log_softmax(network(images[batch]), dim=1), labels[batch]).backward()
            optimizer.step()
        seconds += time.perf_counter() - began
        schedule.step()
        network.eval()
        with torch.inference_mode():
            answers = torch.cat([network(part).argmax(dim=1) for part in test_images.split(1000)])
        accuracies.append(float((answers == test_labels).float().mean()))
    return {"seconds": seconds, "accuracies": [round(accuracy, 4) for accuracy in accuracies]}


if __name__ == "__main__":
    main()
