"""Tests of Canny's edge detector; scikit-image is the test oracle."""

import numpy as np
from skimage.feature import canny

from digitcli.data.canny import canny_edges
from digitcli.data.mnist import load_mnist_test


def test_edges_are_those_of_scikit_image() -> None:
    digits = load_mnist_test().images[:50] / 255
    assert np.array_equal(canny_edges(digits), [canny(digit) for digit in digits])


def test_edges_in_noise_are_those_of_scikit_image() -> None:
    noise = np.random.default_rng(0).random((20, 28, 28))
    assert np.array_equal(canny_edges(noise), [canny(image) for image in noise])
