"""Compute the gradient of one batch three times: by hand in NumPy, by a tape and by autograd.

Back-propagation is the chain rule, applied from the loss to the input (Rumelhart, Hinton & Williams,
"Learning representations by back-propagating errors", 1986). `tf.GradientTape` and `torch.autograd` record
the forward pass and do the same. In double precision all three agree to the last digits, because they differ
only in the order in which they add. `cnn` is compared by tape and autograd alone, without dropout, because
the two frameworks draw different random numbers.

    python examples/tensorflow/gradients.py
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import torch
from low_level_networks import LOSSES, NETWORKS
from same_run import SameRun, as_images, same_run
from weight_layout import to_tensorflow

from digitcli.training.digit_task import loss_function

Array = npt.NDArray[np.float64]
TOLERANCE = 1e-12  # of the largest entry of a gradient; double precision has 2e-16, and sums add up errors


def sigmoid(values: Array) -> Array:
    """Return the logistic function, from 0 to 1."""
    return 1 / (1 + np.exp(-values))


def by_hand(weights: Sequence[Array], images: Array, labels: npt.NDArray[np.int64]) -> list[Array]:
    """Return the gradient of the squared error of `sigmoid_mlp` for its two kernels and two biases."""
    hidden_kernel, hidden_bias, output_kernel, output_bias = weights
    pixels = images.reshape(len(images), 784)  # N, 784
    hidden = sigmoid(pixels @ hidden_kernel + hidden_bias)  # N, 100
    output = sigmoid(hidden @ output_kernel + output_bias)  # N, 10
    targets = np.eye(10)[labels]  # N, 10

    # The loss is sum((output - targets) ** 2) / 2N, and the derivative of a sigmoid s is s * (1 - s).
    output_delta = (output - targets) / len(images) * output * (1 - output)  # N, 10
    hidden_delta = output_delta @ output_kernel.T * hidden * (1 - hidden)  # N, 100
    return [pixels.T @ hidden_delta, hidden_delta.sum(0), hidden.T @ output_delta, output_delta.sum(0)]


def by_tape(run: SameRun, weights: Sequence[Array], images: Array, labels: Array) -> list[Array]:
    """Return the gradient by `tf.GradientTape`, in the layout of TensorFlow."""
    variables = [tf.Variable(weight) for weight in weights]
    with tf.GradientTape() as tape:
        loss = LOSSES[run.recipe.loss](labels, NETWORKS[run.config.arch](variables, tf.constant(images)))
    return [gradient.numpy() for gradient in tape.gradient(loss, variables)]


def by_autograd(run: SameRun, images: Array, labels: npt.NDArray[np.int64]) -> list[Array]:
    """Return the gradient by `torch.autograd`, in the layout of TensorFlow."""
    network = run.network.double().eval()
    logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))  # N, 1, 28, 28: channels first
    loss = loss_function(run.recipe)(logits, torch.from_numpy(labels))
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    names = [name for name, _ in network.named_parameters()]
    return to_tensorflow(dict(zip(names, gradients, strict=True)))


def largest_difference(gradients: Sequence[Array], expected: Sequence[Array]) -> float:
    """Return the largest difference, as a fraction of the largest entry of its kernel or bias."""
    differences = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(gradients, expected, strict=True)]
    return float(max(differences))


def compare(arch: str, count: int = 32) -> dict[str, float]:
    """Return how far the gradients by hand and by tape are from autograd, for some training digits."""
    run = same_run(arch)
    digits = run.digits.train.take(np.arange(count))
    images, labels = as_images(digits).astype(np.float64), digits.labels
    expected = by_autograd(run, images, labels)
    weights = to_tensorflow(run.network.state_dict())
    gradients = {"by tape": by_tape(run, weights, images, labels)}
    if arch == "sigmoid_mlp":
        gradients["by hand"] = by_hand(weights, images, labels)
    return {name: largest_difference(gradient, expected) for name, gradient in gradients.items()}


if __name__ == "__main__":
    for arch in ("sigmoid_mlp", "cnn"):
        for name, difference in compare(arch).items():
            assert difference < TOLERANCE, f"the gradient of {arch} {name} differs by {difference}"
            print(f"{arch:11} {name} and by autograd: the largest relative difference is {difference:.0e}")
