"""Compute and train `sigmoid_mlp` and `cnn` with TensorFlow's low-level operations, without Keras.

A network is a function of its weights and of images. `tf.GradientTape` records the operations of the forward
pass and gives the gradient of the loss, and the optimizer is written out, so that nothing is hidden. The
weights are a list of `tf.Variable` in the order of `keras.Model.get_weights`: kernel, bias, kernel, bias.

    python examples/tensorflow/low_level_networks.py    # one epoch of sigmoid_mlp
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from same_run import SameRun, as_images, same_run
from weight_layout import to_tensorflow

from digitcli.architectures.layers import MNIST_DEVIATION, MNIST_MEAN
from digitcli.architectures.recipe import Recipe
from digitcli.evaluation.metrics import accuracy
from digitcli.training.optimization import scheduled_lr

Weights = Sequence[tf.Variable]
Update = Callable[[Sequence[tf.Tensor], tf.Tensor], None]
Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

ADAM_EPSILON = 1e-8  # the default of PyTorch


def sigmoid_mlp(weights: Weights, images: tf.Tensor, dropout: float = 0.0) -> tf.Tensor:
    """Return the logits (N, 10) of images (N, 28, 28, 1); there is nothing to drop."""
    hidden_kernel, hidden_bias, output_kernel, output_bias = weights
    with tf.name_scope("hidden"):
        pixels = tf.reshape(images, [-1, 784])  # N, 784
        hidden = tf.sigmoid(pixels @ hidden_kernel + hidden_bias)  # N, 100
    with tf.name_scope("output"):
        return hidden @ output_kernel + output_bias  # N, 10


def cnn(weights: Weights, images: tf.Tensor, dropout: float = 0.0) -> tf.Tensor:
    """Return the logits (N, 10) of images (N, 28, 28, 1); in training, drop this share of hidden units."""
    kernel1, bias1, kernel2, bias2, hidden_kernel, hidden_bias, output_kernel, output_bias = weights
    with tf.name_scope("normalization"):
        maps = (images - MNIST_MEAN) / MNIST_DEVIATION
    with tf.name_scope("convolution1"):
        maps = tf.nn.relu(tf.nn.conv2d(maps, kernel1, strides=1, padding="SAME") + bias1)
        maps = tf.nn.max_pool2d(maps, ksize=2, strides=2, padding="VALID")  # N, 14, 14, 32
    with tf.name_scope("convolution2"):
        maps = tf.nn.relu(tf.nn.conv2d(maps, kernel2, strides=1, padding="SAME") + bias2)
        maps = tf.nn.max_pool2d(maps, ksize=2, strides=2, padding="VALID")  # N, 7, 7, 64
    with tf.name_scope("hidden"):
        hidden = tf.nn.relu(tf.reshape(maps, [-1, 7 * 7 * 64]) @ hidden_kernel + hidden_bias)  # N, 1024
        hidden = tf.nn.dropout(hidden, dropout)
    with tf.name_scope("output"):
        return hidden @ output_kernel + output_bias  # N, 10


def squared_error(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return half the squared distance between sigmoid and one-hot label, the mean over the batch."""
    targets = tf.one_hot(labels, 10, dtype=logits.dtype)
    return 0.5 * tf.reduce_mean(tf.reduce_sum(tf.square(tf.sigmoid(logits) - targets), axis=-1))


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy between softmax and label, the mean over the batch."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


NETWORKS = {"sigmoid_mlp": sigmoid_mlp, "cnn": cnn}
LOSSES = {"squared_error": squared_error, "cross_entropy": cross_entropy}


def sgd(weights: Weights) -> Update:
    """Return stochastic gradient descent: a step against the gradient."""

    def update(gradients: Sequence[tf.Tensor], lr: tf.Tensor) -> None:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.assign_sub(lr * gradient)

    return update


def adamw(weights: Weights, recipe: Recipe) -> Update:
    """Return AdamW; biases do not decay.

    Loshchilov & Hutter, "Decoupled weight decay regularization", 2019.
    """
    means = [tf.Variable(tf.zeros_like(weight)) for weight in weights]
    squares = [tf.Variable(tf.zeros_like(weight)) for weight in weights]
    steps = tf.Variable(0.0)

    def update(gradients: Sequence[tf.Tensor], lr: tf.Tensor) -> None:
        steps.assign_add(1)
        for weight, gradient, mean, square in zip(weights, gradients, means, squares, strict=True):
            mean.assign(recipe.beta1 * mean + (1 - recipe.beta1) * gradient)
            square.assign(recipe.beta2 * square + (1 - recipe.beta2) * tf.square(gradient))
            unbiased_mean = mean / (1 - recipe.beta1**steps)
            unbiased_square = square / (1 - recipe.beta2**steps)
            if weight.shape.rank > 1:
                weight.assign_sub(lr * recipe.weight_decay * weight)
            weight.assign_sub(lr * unbiased_mean / (tf.sqrt(unbiased_square) + ADAM_EPSILON))

    return update


def variables(run: SameRun) -> list[tf.Variable]:
    """Return the initial weights of a run as variables of TensorFlow."""
    return [tf.Variable(array) for array in to_tensorflow(run.network.state_dict())]


def training_step(run: SameRun, weights: Weights) -> Step:
    """Return a function that takes one step on a batch, by the recipe of a run, and returns the loss."""
    network, loss = NETWORKS[run.config.arch], LOSSES[run.recipe.loss]
    update = sgd(weights) if run.recipe.optimizer == "sgd" else adamw(weights, run.recipe)

    def step(images: tf.Tensor, labels: tf.Tensor, lr: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(labels, network(weights, images, run.recipe.dropout or 0.0))
        with tf.name_scope("update"):
            update(tape.gradient(value, weights), lr)
        return value

    return step


def train(run: SameRun) -> list[tf.Variable]:
    """Train a network in a loop of its own; `tf.function` makes the step a static graph."""
    tf.random.set_seed(run.config.seed)  # for dropout
    weights = variables(run)
    step = tf.function(training_step(run, weights))
    images, labels = as_images(run.digits.train), run.digits.train.labels
    taken = 0
    for epoch in range(run.recipe.epochs):
        for batch in run.order(epoch):
            step(images[batch], labels[batch], tf.constant(scheduled_lr(run.recipe, taken / run.steps)))
            taken += 1
    return weights


def logits_of(arch: str, weights: Weights, images: np.ndarray) -> np.ndarray:
    """Return the logits (N, 10) of images (N, 28, 28, 1), computed by 1,000 at a time."""
    parts = [NETWORKS[arch](weights, images[start : start + 1000]) for start in range(0, len(images), 1000)]
    return tf.concat(parts, axis=0).numpy()


if __name__ == "__main__":
    run = same_run("sigmoid_mlp", epochs=1)
    weights = train(run)
    logits = logits_of("sigmoid_mlp", weights, as_images(run.digits.validation))
    print(f"validation accuracy after one epoch: {accuracy(logits, run.digits.validation.labels):.2%}")
