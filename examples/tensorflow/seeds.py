"""Train both networks with several seeds in both frameworks, and show their accuracies side by side.

A run in TensorFlow begins with the weights that the run of the same seed has in PyTorch, and sees the same
digits in the same order. So `sigmoid_mlp`, which has no dropout, should end with the same answers but for
rounding; and a difference of `cnn` should be as small as one between two seeds. Each run answers the test
digits once, after its last step.

    python examples/tensorflow/seeds.py sigmoid_mlp --epochs 5
    python examples/tensorflow/seeds.py cnn --epochs 1
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras_networks
import low_level_networks
import numpy as np
import tensorflow as tf
import torch
from same_run import SameRun, as_images, same_run

import digitcli
from digitcli.evaluation.metrics import accuracy

Train = Callable[[SameRun], np.ndarray]


def by_pytorch(run: SameRun) -> np.ndarray:
    """Train with digitcli, and return the logits (N, 10) of the test digits."""
    with tempfile.TemporaryDirectory() as folder:
        result = digitcli.train(run.config, out=Path(folder, "run"))
        return digitcli.infer(digitcli.load_model(result.checkpoint), run.digits.test.images).numpy()


def by_keras(run: SameRun) -> np.ndarray:
    """Train with Keras, and return the logits (N, 10) of the test digits."""
    return keras_networks.train(run).predict(as_images(run.digits.test), batch_size=1000, verbose=0)


def by_low_level(run: SameRun) -> np.ndarray:
    """Train with low-level operations, and return the logits (N, 10) of the test digits."""
    weights = low_level_networks.train(run)
    return low_level_networks.logits_of(run.config.arch, weights, as_images(run.digits.test))


WAYS: dict[str, Train] = {"PyTorch": by_pytorch, "Keras": by_keras, "low-level": by_low_level}


def accuracies_of(arch: str, seed: int, epochs: int) -> dict[str, float]:
    """Train with one seed in every way, print a line for each, and return the accuracies, from 0 to 1."""
    run = same_run(arch, seed, epochs=epochs)
    labels, accuracies, answers = run.digits.test.labels, {}, {}
    for name, train in WAYS.items():
        began = time.perf_counter()
        logits = train(run)
        seconds = time.perf_counter() - began
        accuracies[name], answers[name] = accuracy(logits, labels), logits.argmax(-1)
        differing = int((answers[name] != answers["PyTorch"]).sum())
        figures = f"{accuracies[name]:.2%}  {differing:4} answers differ from PyTorch  {seconds:4.0f} s"
        print(f"seed {seed}  {name:10} {figures}", flush=True)
    return accuracies


def main() -> None:
    """Train with several seeds, and print the mean and the standard deviation of each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("arch", choices=sorted(low_level_networks.NETWORKS))
    parser.add_argument("--epochs", type=int, default=1, help="passes over the digits (default: 1)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each framework (default: 3)")
    arguments = parser.parse_args()
    by_seed = [accuracies_of(arguments.arch, seed, arguments.epochs) for seed in range(arguments.seeds)]
    for name in WAYS:
        percents = [100 * accuracies[name] for accuracies in by_seed]
        deviation = f" ± {statistics.stdev(percents):.2f}" if len(percents) > 1 else ""
        print(f"{name:10} {statistics.fmean(percents):.2f}{deviation} %  n = {len(percents)}")


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    torch.set_num_threads(1)
    main()
