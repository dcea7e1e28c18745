"""Build and train `sigmoid_mlp` and `cnn` with Keras, by the recipes of digitcli.

Keras hides the loop: `compile` takes the optimizer and the loss, `fit` takes the steps. The layers are those
of `digitcli models sigmoid_mlp` and `digitcli models cnn`, and the last one returns logits.

    python examples/tensorflow/keras_networks.py    # one epoch of sigmoid_mlp
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import layers
from same_run import SameRun, as_images, same_run
from weight_layout import to_tensorflow

from digitcli.architectures.layers import MNIST_DEVIATION, MNIST_MEAN
from digitcli.architectures.recipe import Recipe
from digitcli.evaluation.metrics import accuracy
from digitcli.training.setup import architecture_arguments

ADAM_EPSILON = 1e-8  # the default of PyTorch; that of Keras is 1e-7


def sigmoid_mlp() -> keras.Model:
    """Build a hidden layer of 100 sigmoid units."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(100, activation="sigmoid"),
            layers.Dense(10),
        ]
    )


def cnn(dropout: float = 0.5) -> keras.Model:
    """Build two 5x5 convolutions with max pooling, a hidden layer of 1,024 units and dropout."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Normalization(axis=None, mean=MNIST_MEAN, variance=MNIST_DEVIATION**2),
            layers.Conv2D(32, 5, padding="same", activation="relu"),  # N, 28, 28, 32
            layers.MaxPooling2D(),  # N, 14, 14, 32
            layers.Conv2D(64, 5, padding="same", activation="relu"),  # N, 14, 14, 64
            layers.MaxPooling2D(),  # N, 7, 7, 64
            layers.Flatten(),
            layers.Dense(1024, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(10),
        ]
    )


def squared_error(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return half the squared distance between sigmoid and one-hot label (N,); Keras takes the mean."""
    digits = tf.cast(tf.reshape(labels, [-1]), tf.int32)  # Keras passes labels as a column of floats
    targets = tf.one_hot(digits, 10)
    return 0.5 * tf.reduce_sum(tf.square(tf.sigmoid(logits) - targets), axis=-1)


KERAS_NETWORKS: dict[str, Callable[..., keras.Model]] = {"sigmoid_mlp": sigmoid_mlp, "cnn": cnn}
KERAS_LOSSES = {
    "squared_error": squared_error,
    "cross_entropy": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
}


def build(run: SameRun) -> keras.Model:
    """Build the network of a run with the initial weights that it has in PyTorch."""
    network = KERAS_NETWORKS[run.config.arch](**architecture_arguments(run.recipe))
    network.set_weights(to_tensorflow(run.network.state_dict()))
    return network


def optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer of a recipe, for a run of this many steps."""
    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(recipe.lr)
    adamw = keras.optimizers.AdamW(
        schedule(recipe, steps),
        weight_decay=recipe.weight_decay,
        beta_1=recipe.beta1,
        beta_2=recipe.beta2,
        epsilon=ADAM_EPSILON,
    )
    adamw.exclude_from_weight_decay(var_names=["bias"])
    return adamw


def schedule(recipe: Recipe, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a linear warm-up, then half a cosine down to zero, as the schedule `cosine` of digitcli."""
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=recipe.lr,
        warmup_steps=recipe.warmup * steps,
        decay_steps=(1 - recipe.warmup) * steps,
    )


def train(run: SameRun) -> keras.Model:
    """Train a network with `compile` and `fit`."""
    keras.utils.set_random_seed(run.config.seed)  # for dropout
    network = build(run)
    network.compile(optimizer(run.recipe, run.steps), KERAS_LOSSES[run.recipe.loss])
    images, labels = as_images(run.digits.train), run.digits.train.labels
    for epoch in range(run.recipe.epochs):
        order = run.order(epoch).ravel()
        network.fit(images[order], labels[order], run.recipe.batch_size, shuffle=False, verbose=0)
    return network


def validation_accuracy(network: keras.Model, run: SameRun) -> float:
    """Return the accuracy on the 5,000 validation digits, from 0 to 1."""
    logits = network.predict(as_images(run.digits.validation), verbose=0)
    return accuracy(logits, run.digits.validation.labels)


if __name__ == "__main__":
    run = same_run("sigmoid_mlp", epochs=1)
    network = train(run)
    network.summary()
    print(f"validation accuracy after one epoch: {validation_accuracy(network, run):.2%}")
