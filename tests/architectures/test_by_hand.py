"""Forward passes and gradients against textbook formulas written as NumPy loops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from digitcli.architectures.convnet import Lengths
from digitcli.architectures.layers import CONTRAST_PX, MNIST_DEVIATION, MNIST_MEAN, Deslant, LocalContrast
from digitcli.architectures.patches import Attention
from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.inference.torch_runtime import as_input, load_model
from digitcli.training.digit_task import squared_error

Array = npt.NDArray[np.float64]


def convolution(maps: Array, kernels: Array, biases: Array, padding: int) -> Array:
    """Maps (I, H, W), kernels (O, I, K, K): each output is a sum over a window of all input maps."""
    size = kernels.shape[-1]
    padded = np.pad(maps, ((0, 0), (padding, padding), (padding, padding)))
    height, width = padded.shape[1] - size + 1, padded.shape[2] - size + 1
    output = np.zeros((len(kernels), height, width))
    for kernel in range(len(kernels)):
        for row in range(height):
            for column in range(width):
                window = padded[:, row : row + size, column : column + size]
                output[kernel, row, column] = (window * kernels[kernel]).sum() + biases[kernel]
    return output


def pooling(maps: Array, reduce: str) -> Array:
    """Maps (C, H, W): each output is the maximum or the mean of a 2x2 window."""
    output = np.zeros((maps.shape[0], maps.shape[1] // 2, maps.shape[2] // 2))
    for channel, row, column in np.ndindex(output.shape):
        window = maps[channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        output[channel, row, column] = window.max() if reduce == "max" else window.sum() / 4
    return output


def fully_connected(units: Array, weights: Array, biases: Array) -> Array:
    """Units (I,), weights (O, I): each output is a weighted sum of all inputs."""
    output = np.zeros(len(weights))
    for unit in range(len(weights)):
        output[unit] = (weights[unit] * units).sum() + biases[unit]
    return output


def forward_by_hand(network: nn.Sequential, image: Array) -> Array:
    """The logits of one image (28, 28), layer by layer."""
    values: Array = (image[None] - MNIST_MEAN) / MNIST_DEVIATION
    for layer in list(network)[1:]:
        parameters = [parameter.detach().double().numpy() for parameter in layer.parameters()]
        match layer:
            case nn.Conv2d():
                values = convolution(values, *parameters, padding=layer.padding[0])
            case nn.MaxPool2d():
                values = pooling(values, "max")
            case nn.AvgPool2d():
                values = pooling(values, "mean")
            case nn.Linear():
                values = fully_connected(values, *parameters)
            case nn.ReLU():
                values = np.where(values > 0, values, 0)
            case nn.Tanh():
                values = np.tanh(values)
            case nn.Flatten():
                values = values.reshape(-1)
            case nn.Dropout():
                pass  # nothing is dropped when a network answers
            case _:
                raise AssertionError(f"no formula for {layer}")
    return values


def test_networks_compute_the_formulas_of_the_textbook(digits: Digits) -> None:
    torch.manual_seed(0)
    for network, is_trained in ((load_model("cnn"), True), (create_model("lenet5").eval(), False)):
        by_hand = forward_by_hand(network, digits.images[0] / 255.0)
        with torch.inference_mode():
            logits = network(as_input(torch.from_numpy(digits.images[:1])))[0].numpy()
        np.testing.assert_allclose(logits, by_hand, rtol=1e-4, atol=1e-4)
        assert not is_trained or by_hand.argmax() == digits.labels[0]


def contrast_by_hand(image: Array) -> Array:
    """Jarrett et al. 2009: (H, W) minus its local mean, over its local deviation or the mean of that."""
    rows, columns = np.indices(image.shape)

    def around(values: Array) -> Array:
        means = np.zeros_like(values)
        for row, column in np.ndindex(values.shape):
            weights = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * CONTRAST_PX**2))
            means[row, column] = (weights * values).sum() / weights.sum()
        return means

    contrast = image - around(image)
    deviation = np.sqrt(around(contrast**2))
    result: Array = contrast / np.maximum(deviation, deviation.mean())
    return result


def test_local_contrast_is_that_of_the_paper(digits: Digits) -> None:
    image = as_input(torch.from_numpy(digits.images[:1]))
    expected = contrast_by_hand(image[0, 0].double().numpy())
    np.testing.assert_allclose(LocalContrast()(image)[0, 0], expected, rtol=0, atol=1e-4)


def test_to_local_contrast_one_grey_is_as_good_as_another(digits: Digits) -> None:
    images = as_input(torch.from_numpy(digits.images[:8]))
    contrast = LocalContrast()(images)
    torch.testing.assert_close(LocalContrast()(0.3 + 0.4 * images), contrast, rtol=0, atol=1e-3)
    torch.testing.assert_close(LocalContrast()(1 - images), -contrast, rtol=0, atol=1e-3)
    assert LocalContrast()(torch.full((1, 1, 28, 28), 0.7)).abs().max() < 0.01


def test_attention_is_that_of_the_paper() -> None:
    heads, features = 3, 4
    asked = torch.randn(2, 5, 3 * heads * features)
    answer = Attention(heads)(asked).numpy()
    for image in range(2):
        for head in range(heads):
            place = slice(head * features, (head + 1) * features)
            queries, keys, values = (
                asked[image].numpy()[:, part * heads * features :][:, place] for part in range(3)
            )
            weights = np.exp(queries @ keys.T / np.sqrt(features))
            weights /= weights.sum(axis=1, keepdims=True)
            np.testing.assert_allclose(answer[image][:, place], weights @ values, atol=1e-5)


def test_capsules_of_full_length_have_finite_logits_in_bfloat16() -> None:
    logits = Lengths()(torch.full((1, 10, 16), 0.25, dtype=torch.bfloat16))
    assert logits.isfinite().all() and logits.min() > 5


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def test_gradients_of_the_sigmoid_network_are_those_of_back_propagation(digits: Digits) -> None:
    """The four equations of Rumelhart, Hinton & Williams (1986), for a batch of three digits."""
    torch.manual_seed(0)
    network = create_model("sigmoid_mlp", hidden=30).double()
    images, labels = digits.images[:3] / 255.0, digits.labels[:3]
    squared_error(network(torch.from_numpy(images)[:, None]), torch.from_numpy(labels)).backward()
    parameters = list(network.parameters())
    weights1, biases1, weights2, biases2 = (parameter.detach().numpy() for parameter in parameters)

    inputs = images.reshape(3, -1)  # N, 784
    hidden_units = sigmoid(inputs @ weights1.T + biases1)  # N, H
    output_units = sigmoid(hidden_units @ weights2.T + biases2)  # N, 10
    target = np.eye(10)[labels]
    output_delta = (output_units - target) * output_units * (1 - output_units) / 3  # N, 10
    hidden_delta = (output_delta @ weights2) * hidden_units * (1 - hidden_units)  # N, H
    by_hand = (
        hidden_delta.T @ inputs,
        hidden_delta.sum(0),
        output_delta.T @ hidden_units,
        output_delta.sum(0),
    )

    for parameter, gradient in zip(parameters, by_hand, strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), gradient, rtol=1e-9, atol=1e-12)


def covariance_of_ink(image: torch.Tensor) -> float:
    """Return the covariance of the columns and rows of the ink of an image (28, 28), in square pixels."""
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    share = image / image.sum()
    return float((share * rows * columns).sum() - (share * rows).sum() * (share * columns).sum())


def test_a_slanted_stroke_is_deslanted_and_nothing_else() -> None:
    slanted = torch.zeros(1, 1, 28, 28)
    for row in range(4, 24):
        slanted[0, 0, row, 20 - row // 2 : 23 - row // 2] = 1
    upright = Deslant()(slanted)
    assert covariance_of_ink(slanted[0, 0]) < -10
    assert abs(covariance_of_ink(upright[0, 0])) < 0.2
    assert (upright[0, 0].max(dim=0).values > 0.5).sum() <= 4  # columns; the slanted one fills 12
    assert float(upright.sum()) == pytest.approx(float(slanted.sum()), rel=0.01)
    images = torch.zeros(4, 1, 28, 28)  # without a slant
    images[1, 0, 4:24, 13:15] = 1
    images[2, 0, 13:15, 4:24] = 1
    images[3, 0, 13, 4:24] = 1  # one row, which has no height to tell a slant by
    torch.testing.assert_close(Deslant()(images), images, rtol=0, atol=1e-5)
