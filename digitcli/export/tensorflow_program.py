"""Write a SavedModel from a description of its operations, or run one; a program of its own.

digitcli starts it in a process of its own. It imports nothing of digitcli, and digitcli never imports it.

    python tensorflow_program.py write DESCRIPTION FOLDER
    python tensorflow_program.py run FOLDER IMAGES.npz RESULTS.npz
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

Settings = Mapping[str, Any]
ELEMENTWISE: Mapping[str, Callable[..., Any]] = {
    "abs": tf.abs,
    "add": tf.add,
    "div": tf.divide,
    "logistic": tf.sigmoid,
    "maximum": tf.maximum,
    "minimum": tf.minimum,
    "mul": tf.multiply,
    "relu": tf.nn.relu,
    "round": tf.round,  # half a step to an even number, as PyTorch
    "sqrt": tf.sqrt,
    "sub": tf.subtract,
    "tanh": tf.tanh,
}


def main(command: str, *paths: str) -> None:
    """Run one of the two commands."""
    commands: dict[str, Callable[..., None]] = {"write": write, "run": run}
    commands[command](*map(Path, paths))


def write(description: Path, folder: Path) -> None:
    """Write a SavedModel of the operations in `operations.json` on the arrays in `constants.npz`."""
    operations = json.loads((description / "operations.json").read_text())
    with np.load(description / "constants.npz") as constants:
        variables = {name: tf.Variable(constants[name], name=name) for name in constants}
    module = tf.Module()
    module.weights = variables  # what belongs to the module is saved
    module.logits = tf.function(
        lambda images: {"logits": compute(operations, variables, images)},
        input_signature=[tf.TensorSpec((None, 1, 28, 28), tf.float32, "images")],
    )
    signatures = {"serving_default": module.logits.get_concrete_function()}
    tf.saved_model.save(module, str(folder), signatures=signatures)


def compute(operations: list[dict[str, Any]], variables: Mapping[str, Any], images: Any) -> Any:
    """Return the logits of images (N, 1, 28, 28); each operation lies in the name scope of its layer."""
    values = {**variables, "images": images}
    for operation in operations:
        with tf.name_scope(operation["name"].rpartition("/")[0] or "output"):
            inputs = [values[name] for name in operation["inputs"]]
            settings = {**operation["settings"], "shape": operation["shape"]}
            values[operation["name"]] = apply(operation["kind"], inputs, settings)
    return values[operations[-1]["name"]]


def apply(kind: str, inputs: list[Any], settings: Settings) -> Any:
    """Return the output of one operation."""
    if kind in ELEMENTWISE:
        return ELEMENTWISE[kind](*inputs)
    match kind:
        case "conv_2d":
            return convolve(settings, *inputs)
        case "depthwise_conv_2d":
            return convolve_each_channel(settings, *inputs)
        case "fully_connected":
            return tf.matmul(inputs[0], inputs[1], transpose_b=True) + inputs[2]
        case "max_pool_2d" | "average_pool_2d":
            pool = tf.nn.max_pool2d if kind == "max_pool_2d" else tf.nn.avg_pool2d
            return pool(inputs[0], settings["kernel"], settings["strides"], settings["padding"].upper())
        case "leaky_relu":
            return tf.nn.leaky_relu(inputs[0], settings["slope"])
        case "mean" | "sum":
            reduce = tf.reduce_mean if kind == "mean" else tf.reduce_sum
            return reduce(inputs[0], settings["axes"], keepdims=True)
        case "pad":
            return tf.pad(inputs[0], settings["paddings"], constant_values=settings["value"])
        case "reshape":
            return tf.reshape(inputs[0], settings["shape"])
        case "transpose":
            return tf.transpose(inputs[0], settings["order"])
    raise ValueError(f"There is no operation {kind}.")


def convolve(settings: Settings, maps: Any, filters: Any, biases: Any) -> Any:
    """Convolve maps (N, H, W, C) with filters (M, rows, columns, C of a group).

    TensorFlow has no convolution of groups for a CPU, so that each group is convolved by itself.
    """
    groups, padding = settings["groups"], settings["padding"].upper()
    parts = zip(tf.split(maps, groups, axis=3), tf.split(filters, groups), strict=True)
    outputs = [
        tf.nn.conv2d(part, tf.transpose(each, (1, 2, 3, 0)), settings["strides"], padding)
        for part, each in parts
    ]
    return tf.nn.bias_add(tf.concat(outputs, axis=3) if groups > 1 else outputs[0], biases)


def convolve_each_channel(settings: Settings, maps: Any, filters: Any, biases: Any) -> Any:
    """Convolve each channel of maps (N, H, W, C) with its own of the filters (1, rows, columns, M)."""
    rows, columns = settings["strides"]
    if rows != columns:  # TensorFlow has equal strides only
        return convolve(settings, maps, tf.transpose(filters, (3, 1, 2, 0)), biases)
    _, kernel_rows, kernel_columns, outputs = filters.shape
    channels = maps.shape[3]
    filters = tf.reshape(filters, (kernel_rows, kernel_columns, channels, outputs // channels))
    padding = settings["padding"].upper()
    return tf.nn.bias_add(tf.nn.depthwise_conv2d(maps, filters, (1, rows, columns, 1), padding), biases)


def run(folder: Path, images: Path, results: Path) -> None:
    """Compute the logits of batches of images, and write them."""
    model = tf.saved_model.load(str(folder)).signatures["serving_default"]
    with np.load(images) as batches:
        outputs = {f"{name}_0": model(images=tf.constant(batches[name]))["logits"] for name in batches}
    np.savez(results, **{name: output.numpy() for name, output in outputs.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
