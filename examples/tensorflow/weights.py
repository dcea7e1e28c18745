"""Carry a trained network from digitcli to Keras and back, with equal logits.

A checkpoint of digitcli becomes a Keras model, which is saved as a `.keras` file, opened again, and written
as a checkpoint of digitcli. Both ways, the logits for 1,000 test digits are compared.

    python examples/tensorflow/weights.py           # the shipped cnn
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
import torch
from keras_networks import KERAS_NETWORKS
from same_run import as_images
from weight_layout import to_tensorflow, to_torch

from digitcli import create_model, infer, load_model
from digitcli.data.mnist import load_mnist_test
from digitcli.inference.checkpoint import Header, library_versions, read_checkpoint, write_checkpoint
from digitcli.inference.model_resolution import resolve_model

TOLERANCE = 1e-4  # of logits; those of the shipped cnn reach 29, where float32 has steps of 2e-6


def open_in_keras(model: str | Path) -> keras.Model:
    """Return a trained model of digitcli (a shipped name, a checkpoint or a run folder) as one of Keras."""
    header = resolve_model(model).header
    network = KERAS_NETWORKS[header.architecture](**header.arguments)
    network.set_weights(to_tensorflow(load_model(model).state_dict()))
    return network


def save_for_digitcli(network: keras.Model, arch: str, path: Path) -> None:
    """Write a checkpoint that `digitcli evaluate`, `predict` and `export` take."""
    names = list(create_model(arch).state_dict())
    header = Header(architecture=arch, versions=library_versions() | {"keras": keras.__version__})
    write_checkpoint(path, header, to_torch(network.get_weights(), names))


def largest_difference(network: keras.Model, model: str | Path, count: int = 1000) -> float:
    """Return the largest difference between the logits of Keras and of digitcli for some test digits."""
    digits = load_mnist_test().take(np.arange(count))
    by_keras = network.predict(as_images(digits), verbose=0)
    by_torch = infer(load_model(model), digits.images).numpy()
    np.testing.assert_allclose(by_keras, by_torch, atol=TOLERANCE)
    return float(np.abs(by_keras - by_torch).max())


if __name__ == "__main__":
    network = open_in_keras("cnn")
    print(f"PyTorch to Keras: logits differ by {largest_difference(network, 'cnn'):.1e} at most")
    with tempfile.TemporaryDirectory() as folder:
        saved, back = Path(folder, "cnn.keras"), Path(folder, "cnn.safetensors")
        network.save(saved)
        save_for_digitcli(keras.saving.load_model(saved), "cnn", back)
        print(f"Keras to PyTorch: logits differ by {largest_difference(network, back):.1e} at most")
        before, after = read_checkpoint(resolve_model("cnn").path)[1], read_checkpoint(back)[1]
    print("weights equal bit by bit:", all(torch.equal(before[name], after[name]) for name in before))
