"""The examples hold what they say: equal digits, logits, gradients, steps and weights in both frameworks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import gradients
import graph_and_eager
import keras
import keras_networks
import low_level_networks
import name_scopes
import numpy as np
import pytest
import seeds
import tensorflow as tf
import torch
import weights
from same_run import SameRun, as_images, same_run
from weight_layout import to_tensorflow, to_torch

import digitcli
from digitcli.inference.checkpoint import Header, read_checkpoint, write_checkpoint
from digitcli.training.digit_task import loss_function
from digitcli.training.optimization import create_optimizer, scheduled_lr

# Keras reads its variables in a form that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ARCHITECTURES = sorted(low_level_networks.NETWORKS)
TakeSteps = Callable[[SameRun, graph_and_eager.Batches], list[np.ndarray]]


def steps_by_pytorch(run: SameRun, batches: graph_and_eager.Batches) -> list[np.ndarray]:
    network = copy.deepcopy(run.network)
    optimizer, loss = create_optimizer(network, run.recipe), loss_function(run.recipe)
    for images, labels in batches:
        loss(network(torch.from_numpy(images).permute(0, 3, 1, 2)), torch.from_numpy(labels)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return to_tensorflow(network.state_dict())


def steps_by_keras(run: SameRun, batches: graph_and_eager.Batches) -> list[np.ndarray]:
    network = keras_networks.build(run)
    optimizer = keras_networks.optimizer(run.recipe, run.steps)
    network.compile(optimizer, keras_networks.KERAS_LOSSES[run.recipe.loss])
    for images, labels in batches:
        network.train_on_batch(images, labels)
    return network.get_weights()


def steps_by_low_level(run: SameRun, batches: graph_and_eager.Batches) -> list[np.ndarray]:
    variables = low_level_networks.variables(run)
    step = tf.function(low_level_networks.training_step(run, variables))
    for images, labels in batches:
        step(images, labels, run.recipe.lr)
    return [variable.numpy() for variable in variables]


def test_the_digits_are_split_as_in_digitcli() -> None:
    digits = same_run("sigmoid_mlp").digits
    assert [len(part) for part in (digits.train, digits.validation, digits.test)] == [55_000, 5_000, 10_000]
    images = as_images(digits.test)
    assert images.shape == (10_000, 28, 28, 1) and images.dtype == np.float32 and images.max() == 1


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_equal_weights_give_equal_logits(arch: str) -> None:
    run = same_run(arch)
    digits = run.digits.validation.take(np.arange(100))
    expected = digitcli.infer(run.network, digits.images).numpy()
    by_keras = keras_networks.build(run).predict(as_images(digits), verbose=0)
    by_low_level = low_level_networks.logits_of(arch, low_level_networks.variables(run), as_images(digits))
    np.testing.assert_allclose(by_keras, expected, atol=1e-5)
    np.testing.assert_allclose(by_low_level, expected, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_weights_survive_the_way_to_keras_and_back(arch: str, tmp_path: Path) -> None:
    start, back = tmp_path / "start.safetensors", tmp_path / "back.safetensors"
    tensors = digitcli.create_model(arch).state_dict()
    write_checkpoint(start, Header(architecture=arch), tensors)
    network = weights.open_in_keras(start)
    assert weights.largest_difference(network, start, count=100) < weights.TOLERANCE
    network.save(tmp_path / "network.keras")
    weights.save_for_digitcli(keras.saving.load_model(tmp_path / "network.keras"), arch, back)
    returned = read_checkpoint(back)[1]
    assert all(torch.equal(tensors[name], returned[name]) for name in tensors)


def test_the_inputs_behind_the_convolutions_stand_in_another_order() -> None:
    tensors = digitcli.create_model("cnn").state_dict()
    arrays = to_tensorflow(tensors)
    assert not np.array_equal(arrays[4], tensors["8.weight"].numpy().T)
    assert np.array_equal(arrays[6], tensors["11.weight"].numpy().T)
    back = to_torch(arrays, list(tensors))
    assert all(torch.equal(tensors[name], back[name]) for name in tensors)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gradients_by_hand_by_tape_and_by_autograd_are_equal(arch: str) -> None:
    differences = gradients.compare(arch)
    assert set(differences) == {"by tape"} | ({"by hand"} if arch == "sigmoid_mlp" else set())
    assert max(differences.values()) < gradients.TOLERANCE


def test_keras_and_digitcli_have_the_same_schedule() -> None:
    run = same_run("cnn", epochs=1)
    rates = keras_networks.schedule(run.recipe, run.steps)
    expected = [scheduled_lr(run.recipe, step / run.steps) for step in range(1, run.steps)]
    np.testing.assert_allclose([rates(step) for step in range(1, run.steps)], expected, rtol=1e-4, atol=1e-9)


def test_the_same_run_of_sigmoid_mlp_gives_equal_logits() -> None:
    run = same_run("sigmoid_mlp", epochs=2, batch_size=5500)
    expected = seeds.by_pytorch(run)
    assert np.abs(expected - digitcli.infer(run.network, run.digits.test.images).numpy()).max() > 0.1
    np.testing.assert_allclose(seeds.by_keras(run), expected, atol=1e-4)
    np.testing.assert_allclose(seeds.by_low_level(run), expected, atol=1e-4)


@pytest.mark.parametrize("take_steps", [steps_by_keras, steps_by_low_level])
def test_steps_of_adamw_are_equal(take_steps: TakeSteps) -> None:
    """No random numbers, and a decay that shows after one step; biases do not decay."""
    run = same_run("cnn", batch_size=32, dropout=0.0, warmup=0.0, weight_decay=5.0)
    batches = graph_and_eager.first_batches(run, 5)
    initial = to_tensorflow(run.network.state_dict())
    by_torch, by_tensorflow = steps_by_pytorch(run, batches), take_steps(run, batches)
    for actual, expected, before in zip(by_tensorflow, by_torch, initial, strict=True):
        assert np.abs(actual - expected).mean() < 0.02 * np.abs(expected - before).mean()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_all_ways_take_the_same_steps(arch: str) -> None:
    seconds = graph_and_eager.seconds_per_step(arch, steps=3, rounds=1)
    assert set(seconds) == set(graph_and_eager.WAYS)


def test_a_python_number_is_traced_anew_and_a_tensor_is_not() -> None:
    run = same_run("sigmoid_mlp")
    step = tf.function(low_level_networks.training_step(run, low_level_networks.variables(run)))
    ((images, labels),) = graph_and_eager.first_batches(run, 1)
    for lr in (0.1, 0.2):
        step(images, labels, tf.constant(lr))
    assert step.experimental_get_tracing_count() == 1
    for lr in (0.1, 0.2):
        step(images, labels, lr)
    assert step.experimental_get_tracing_count() == 3


def test_name_scopes_are_in_the_graph_of_tensorboard(tmp_path: Path) -> None:
    operations = name_scopes.write_graph(same_run("cnn", batch_size=8), tmp_path, steps=2)
    scopes = {"normalization", "convolution1", "convolution2", "hidden", "output", "update"}
    assert scopes <= set(operations)
    (events,) = tmp_path.iterdir()
    content = events.read_bytes()
    assert b"convolution2/Conv2D" in content and b"loss" in content
