"""Measure how fast digitcli trains: `python benchmarks/training_speed.py COMMAND`.

Every run is a process of its own. Each figure is the median of `--repeats` runs with its range; runs that are
compared alternate. `train_seconds` counts from the first step to the last, with everything that touches
pixels after loading.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from support import Output, Rows, answer_of, median_and_range, open_app, peak_bytes_of

from digitcli.data.mnist import load_mnist

app = open_app(__doc__)
TARGET = 0.99  # accuracy of the example of PyTorch on the test digits
MAX_EPOCHS = 14  # as in the example
ARCHITECTURES = ("lenet5", "cnn", "resnet")
COUNTS = (1_000, 10_000, 100_000, 1_000_000)  # digits; more than those of MNIST repeat them
BATCH_SIZES = (16, 32, 64, 128, 256, 512, 1024)
SECONDS = 3.0  # of training for each batch size
NETWORK_BYTES = 1.25e9  # per second: a network of 10 Gbit/s
NETWORK_SECONDS = 50e-6  # the latency of a message in such a network
PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
COMMANDS = {
    "fast": ["train", "--arch", "fast"],
    "lenet5": ["train", "--arch", "lenet5", "--epochs", "1"],
    "cnn": ["train", "--arch", "cnn", "--epochs", "1"],
    "predict": ["predict", str(PICTURES), "--format", "jsonl"],
}
THREADS = {
    "as it is": {},
    "spinning": {"GOMP_SPINCOUNT": "300000"},  # the default of GNU OpenMP, whatever the load
    "one thread": {"OMP_NUM_THREADS": "1"},
}
# Prints the digits per second of the steps of the first epoch, without validation.
SPEED = """
import sys, time, torch
from digitcli.training.configuration import TrainConfig
from digitcli.training.loop import take_step
from digitcli.training.setup import prepare

name, batch, threads, seconds = sys.argv[1], *map(float, sys.argv[2:])
if threads:
    torch.set_num_threads(int(threads))
config = TrainConfig(arch=name, recipe={"batch_size": int(batch)}, device="cpu")
setup, state = prepare(config)
for duration in (seconds / 4, seconds):  # the first one is the warm-up
    steps, started = 0, time.perf_counter()
    while steps == 0 or time.perf_counter() - started < duration:
        state.step %= setup.task.steps
        take_step(setup, state)
        steps += 1
    speed = steps * setup.task.batch_size / (time.perf_counter() - started)
print(speed)
"""


@app.command()
def example(
    seeds: int = 20,
    repeats: int = 3,
    arch: str = "fast",
    option: Annotated[list[str], typer.Option(help="An option of digitcli train.")] = (),
    run: Annotated[int | None, typer.Option(hidden=True, help="Train the example with this seed.")] = None,
) -> None:
    """Compare the time of training to 99 % with the MNIST example of PyTorch.

    The example is reimplemented with its published hyper-parameters: 3x3 convolutions of 32 and 64 maps, one
    pooling, dropout 0.25, 128 hidden units, dropout 0.5; Adadelta with a learning rate of 1 that is
    multiplied by 0.7 after each epoch; batches of 64. Its digits are in memory, which saves it the time of
    its loader. It trains until it reads 99 % of the test digits after an epoch, and only its training is
    timed. That uses the test digits to stop, in favour of the example; digitcli uses them once, after its
    last step. The example runs `--repeats` times between the other runs.
    """
    if run is not None:
        print(json.dumps(train_example(run)))
        return
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for seed in range(seeds):
        if len(theirs) * seeds < repeats * (seed + 1):
            theirs.append(answer_of([sys.executable, __file__, "example", "--run", str(len(theirs))]))
            print("example", theirs[-1], flush=True)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            words = ["train", "--arch", arch, "--seed", str(seed), *option, "--output", f"{folder}/run"]
            result = answer_of(["digitcli", *words])
            ours.append({**result, "process_seconds": time.perf_counter() - began})
    accuracies = [100 * row["test_accuracy"] for row in ours]
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    print(f"test accuracy: mean {statistics.mean(accuracies):.3f} %, sd {spread:.3f}")
    print("range and number:", median_and_range(accuracies))
    print("training, s:", median_and_range([row["train_seconds"] for row in ours]))
    print("whole process, s:", median_and_range([row["process_seconds"] for row in ours]))
    if theirs:
        reached = [row["seconds"] for row in theirs]
        print(f"example to {TARGET:.0%}, s:", median_and_range(reached))
        ratio = statistics.median(reached) / statistics.median(row["train_seconds"] for row in ours)
        print(f"ratio of the medians: {ratio:.1f}")


def train_example(seed: int) -> dict[str, Any]:
    """Train the example of PyTorch until it reaches the target or its last epoch."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    mnist = load_mnist()
    assert mnist.test is not None
    parts = (mnist.train.images, mnist.train.labels, mnist.test.images, mnist.test.labels)
    images, labels, test_images, test_labels = map(torch.from_numpy, parts)
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


@app.command()
def digits(repeats: int = 3, output: Output = None) -> None:
    """Measure one epoch of `fast`, and the evaluation of `cnn`, on 1,000 to 1,000,000 digits."""
    mnist, rows = load_mnist().train, Rows()
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            file, index = f"{folder}/{count}.npz", np.arange(count) % len(mnist)
            np.savez(file, images=mnist.images[index], labels=mnist.labels[index])
            train = ["train", "--arch", "fast", "--data", file, "--output", f"{folder}/run", "--force"]
            evaluate = ["evaluate", "cnn", "--data", file]
            trained = [peak_bytes_of([*train, "--format", "json"]) for _ in range(repeats)]
            evaluated = [peak_bytes_of([*evaluate, "--format", "json"])[1] for _ in range(repeats)]
            row = {
                "seconds": statistics.median(result["train_seconds"] for result, _, _ in trained),
                "evaluation_seconds": statistics.median(evaluated),
                "memory_mb": round(max(peak for _, _, peak in trained) / 1e6),
            }
            rows.add(str(count), row)
    rows.save(output, n=repeats)


@app.command()
def batch(repeats: int = 3, output: Output = None) -> None:
    """Measure digits per second in training by batch size, and by threads with batches of 128."""
    rows = Rows()
    settings = {str(size): (size, 0) for size in BATCH_SIZES}
    settings |= {"one_thread": (128, 1), "two_threads": (128, 2)}
    for name in ARCHITECTURES:
        speeds: dict[str, list[float]] = {setting: [] for setting in settings}
        for _ in range(repeats):
            for setting, (size, threads) in settings.items():
                words = [name, str(size), str(threads), str(SECONDS)]
                speeds[setting].append(answer_of([sys.executable, "-c", SPEED, *words]))
        rows.add(name, {setting: round(statistics.median(each)) for setting, each in speeds.items()})
    rows.save(output, n=repeats)


@app.command()
def processes(repeats: int = 3, output: Output = None) -> None:
    """Measure one process and two, with a thread each and the same batch in all, and project to 8 and 64."""
    rows = Rows()
    sizes = {row["name"]: row["parameters"] for row in answer_of(["digitcli", "models"])}
    for name in ARCHITECTURES:
        speeds = [(trained_speed(name, 1), trained_speed(name, 2)) for _ in range(repeats)]
        one, two = (statistics.median(each) for each in zip(*speeds, strict=True))
        projected = {f"of {count}": project(one, 4 * sizes[name], count) for count in (8, 64)}
        rows.add(name, {"one": round(one), "two": round(two), "efficiency": two / one / 2, **projected})
    rows.save(output, n=repeats)


def trained_speed(architecture: str, count: int) -> float:
    """Return the digits per second of one epoch in this number of processes, by the clock of the run."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    with tempfile.TemporaryDirectory() as folder:
        run = ["train", "--arch", architecture, "--epochs", "1", "--dtype", "float32"]
        command = [sys.executable, *launcher, "-m", "digitcli", *run, "--output", f"{folder}/run"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--format", "json"], capture_output=True, text=True, check=True, env=environment
        )
    return 55_000 / float(json.loads(done.stdout[done.stdout.index("{") :])["train_seconds"])


def project(digits_a_second: float, gradient_bytes: int, count: int, batch_size: int = 128) -> float:
    """Return the estimated efficiency of machines in a ring, each with a batch of this size.

    Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009: each sends
    2 (n - 1) / n of the gradient in 2 (n - 1) messages. The estimate is a lower bound, because it
    counts no overlap with the backward pass.
    """
    computing = batch_size / digits_a_second
    sending = 2 * (count - 1) * (gradient_bytes / count / NETWORK_BYTES + NETWORK_SECONDS)
    return computing / (computing + sending)


@app.command()
def busy(names: list[str] = typer.Argument(None), repeats: int = 3, limit: float = 150.0) -> None:  # noqa: B008
    """Measure commands on an idle machine and beside four busy processes, with threads in three settings.

    A command that takes longer than `--limit` seconds is stopped there, and not repeated in that setting.
    """
    for count in (0, 4):
        for name in names or COMMANDS:
            seconds: dict[str, list[float]] = {setting: [] for setting in THREADS}
            with busy_processes(count):
                for _ in range(repeats):
                    for setting, environment in THREADS.items():
                        if max(seconds[setting], default=0) < limit:
                            seconds[setting].append(seconds_of(COMMANDS[name], environment, limit))
            cells = (f"{setting}: {median_and_range(values)} s" for setting, values in seconds.items())
            print(f"{name}, {count} busy processes, {'; '.join(cells)}", flush=True)


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Let processes compute without end."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def seconds_of(command: list[str], environment: dict[str, str], limit: float) -> float:
    """Return the seconds that a command takes as a whole process, at most `limit`."""
    words, variables = [sys.executable, "-m", "digitcli", *command], {**os.environ, **environment}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                words, env=variables, cwd=folder, capture_output=True, check=True, timeout=limit
            )  # fmt: skip
        return time.perf_counter() - started


if __name__ == "__main__":
    app()
