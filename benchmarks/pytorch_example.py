"""Compare the time of training to 99 % with the MNIST example of PyTorch.

The example is reimplemented with its published hyper-parameters: 3x3 convolutions of 32 and 64 maps, one
pooling, dropout 0.25, 128 hidden units, dropout 0.5; Adadelta with a learning rate of 1 that is multiplied by
0.7 after each epoch; batches of 64. Its digits are in memory, which saves it the time of its loader. It
trains until it reads 99 % of the test digits after an epoch, and only its training is timed. That uses the
test digits to stop, in favour of the example; `digitcli` uses them once, after its last step.

    python benchmarks/pytorch_example.py --seeds 20 --repeats 3  # train --arch fast, and the example
    python benchmarks/pytorch_example.py --seeds 20 --repeats 0 --option=--time=8s

Each run is a process of its own; the example runs `--repeats` times between the others. `train_seconds`
counts from the first step to the last, with everything that touches pixels after loading; the time of the
whole process is printed, too.
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

TARGET = 0.99  # accuracy on the test digits
MAX_EPOCHS = 14  # as in the example


def main() -> None:
    """Run both in turn and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="runs of digitcli (default: 20)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of the example (default: 3)")
    parser.add_argument("--arch", default="fast", help="the architecture of digitcli (default: fast)")
    parser.add_argument("--option", action="append", default=[], help="an option of digitcli train")
    parser.add_argument("--example", type=int, metavar="SEED", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.example is not None:
        print(json.dumps(example(arguments.example)))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {version('torch')}")
    example_runs: list[dict[str, Any]] = []
    digitcli_runs: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        if len(example_runs) * arguments.seeds < arguments.repeats * (seed + 1):
            example_runs.append(answer_of([sys.executable, __file__, "--example", str(len(example_runs))]))
            print("example", example_runs[-1], flush=True)
        digitcli_runs.append(digitcli(arguments.arch, seed, arguments.option))
    show(digitcli_runs, example_runs)


def digitcli(arch: str, seed: int, options: list[str]) -> dict[str, Any]:
    """Train once; return the result with the seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "digitcli", "train", "--arch", arch, "--seed", str(seed), *options]
        began = time.perf_counter()
        result = answer_of([*command, "--out", str(Path(folder) / "run"), "--format", "json"])
        return {**result, "process_seconds": time.perf_counter() - began}


def answer_of(command: list[str]) -> dict[str, Any]:
    """Return the JSON that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def show(digitcli_runs: list[dict[str, Any]], example_runs: list[dict[str, Any]]) -> None:
    """Print means, spreads and the ratio of the medians."""
    accuracies = [100 * row["test_accuracy"] for row in digitcli_runs]
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    print(
        f"{digitcli_runs[0]['parameters']:,} parameters, "
        f"test accuracy: mean {statistics.mean(accuracies):.3f} %, "
        f"sd {spread:.3f}, {min(accuracies):.2f} to {max(accuracies):.2f}, n = {len(digitcli_runs)}"
    )
    validations = [100 * row["validation_accuracy"] for row in digitcli_runs]
    print(f"validation accuracy: mean {statistics.mean(validations):.3f} %")
    print("training:", seconds_of([row["train_seconds"] for row in digitcli_runs]))
    print("whole process:", seconds_of([row["process_seconds"] for row in digitcli_runs]))
    if example_runs:
        reached = [row["seconds"] for row in example_runs]
        print(f"example to {TARGET:.0%}:", seconds_of(reached))
        ratio = statistics.median(reached) / statistics.median(row["train_seconds"] for row in digitcli_runs)
        print(f"ratio of the medians: {ratio:.1f}")


def seconds_of(values: list[float]) -> str:
    """Return the median and the range."""
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f}, n = {len(values)})"


def example(seed: int) -> dict[str, Any]:
    """Train the example of PyTorch until it reaches the target or its last epoch."""
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
    while len(accuracies) < MAX_EPOCHS and max(accuracies, default=0.0) < TARGET:
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
