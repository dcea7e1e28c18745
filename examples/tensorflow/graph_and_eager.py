"""Take the same steps eagerly, as a static graph, and as TensorFlow 1 did, and measure the seconds a step.

Eager mode runs each operation when Python reaches it, as PyTorch does. `tf.function` runs the Python code
once, on symbolic tensors, and keeps the graph of its operations: later calls run the graph without Python.
XLA compiles the graph, which merges operations. TensorFlow 1 had only graphs: one built them from
placeholders, and a session ran them with values (Abadi et al., "TensorFlow: a system for large-scale machine
learning", 2016). All take the same steps of gradient descent, without dropout, so that the losses are equal
up to rounding.

    python examples/tensorflow/graph_and_eager.py           # on one core, a minute
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import torch
from low_level_networks import LOSSES, NETWORKS, training_step, variables
from same_run import Images, Labels, SameRun, as_images, same_run

from digitcli.architectures.registry import resolve_recipe
from digitcli.training.digit_task import loss_function

TakeStep = Callable[[Images, Labels], object]
Batches = Sequence[tuple[Images, Labels]]

# Plain gradient descent, for which TensorFlow 1 has an optimizer, and nothing random.
DESCENT = {"optimizer": "sgd", "schedule": "constant", "warmup": 0.0}
RUNS = {"sigmoid_mlp": {"lr": 0.5}, "cnn": {**DESCENT, "lr": 0.01, "weight_decay": 0.0, "dropout": 0.0}}
STEPS = {"sigmoid_mlp": 500, "cnn": 4}  # of a round: less than a second by most ways
ROUNDS = 9  # the median of their times is reported, and their range
TOLERANCE = 1e-4  # of a loss, relative: float32 has 1e-7, and each step adds up its errors


def eager(run: SameRun) -> TakeStep:
    """Run each operation when Python reaches it."""
    step = training_step(run, variables(run))
    return lambda images, labels: step(tf.constant(images), tf.constant(labels), run.recipe.lr)


def graph(run: SameRun) -> TakeStep:
    """Trace the step once, and run its graph."""
    step = tf.function(training_step(run, variables(run)))
    return lambda images, labels: step(images, labels, run.recipe.lr)


def compiled_graph(run: SameRun) -> TakeStep:
    """Trace the step once, and let XLA compile its graph."""
    step = tf.function(training_step(run, variables(run)), jit_compile=True)
    return lambda images, labels: step(images, labels, run.recipe.lr)


def session_of_tensorflow1(run: SameRun) -> TakeStep:
    """Build the graph from placeholders, and run it in a session, as TensorFlow 1 did."""
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, [None, 28, 28, 1])
        labels = tf.compat.v1.placeholder(tf.int64, [None])
        weights = variables(run)
        loss = LOSSES[run.recipe.loss](labels, NETWORKS[run.config.arch](weights, images))
        step = tf.compat.v1.train.GradientDescentOptimizer(run.recipe.lr).minimize(loss)
        initialize = tf.compat.v1.global_variables_initializer()
    session = tf.compat.v1.Session(graph=graph)
    session.run(initialize)
    return lambda digits, answers: session.run([loss, step], {images: digits, labels: answers})[0]


def pytorch(run: SameRun) -> TakeStep:
    """Run each operation when Python reaches it, in PyTorch."""
    network, loss = copy.deepcopy(run.network), loss_function(run.recipe)
    optimizer = torch.optim.SGD(network.parameters(), run.recipe.lr)

    def step(images: Images, labels: Labels) -> torch.Tensor:
        value = loss(network(torch.from_numpy(images).permute(0, 3, 1, 2)), torch.from_numpy(labels))
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value.detach()

    return step


WAYS = {
    "TensorFlow, eager": eager,
    "TensorFlow, graph": graph,
    "TensorFlow, graph compiled by XLA": compiled_graph,
    "TensorFlow 1, session": session_of_tensorflow1,
    "PyTorch, eager": pytorch,
}


def first_batches(run: SameRun, count: int) -> Batches:
    """Return the first batches of a run."""
    images, labels = as_images(run.digits.train), run.digits.train.labels
    return [(images[batch], labels[batch]) for batch in run.order(epoch=0)[:count]]


def losses(take_step: TakeStep, batches: Batches) -> npt.NDArray[np.float64]:
    """Take a step on each batch, and return their losses."""
    return np.array([float(take_step(*batch)) for batch in batches])


def seconds_per_step(arch: str, steps: int, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return the seconds of a step by each way in each round, and check that their losses are equal.

    The seconds are those of the processor, which other programs on the machine do not lengthen much. The ways
    take turns, so that a disturbance meets all of them.
    """
    run = same_run(arch, **RUNS[arch])
    batches = first_batches(run, steps)
    ways = {name: way(run) for name, way in WAYS.items()}
    first = {name: losses(take_step, batches) for name, take_step in ways.items()}  # traces and compiles
    for name in ways:
        np.testing.assert_allclose(first[name], first["PyTorch, eager"], rtol=TOLERANCE)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, take_step in ways.items():
            began = time.process_time()
            losses(take_step, batches)
            seconds[name].append((time.process_time() - began) / steps)
    return seconds


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    torch.set_num_threads(1)
    for arch, steps in STEPS.items():
        print(f"{arch}, batches of {resolve_recipe(arch).batch_size}")
        for name, seconds in seconds_per_step(arch, steps).items():
            low, median, high = (1000 * f(seconds) for f in (min, statistics.median, max))
            print(f"  {name:34} {median:7.2f} ms a step, {low:.2f} to {high:.2f}")
