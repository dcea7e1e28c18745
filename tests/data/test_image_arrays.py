"""Arrays in MNIST's format are taken as they are; others are preprocessed or refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from digitcli.data.arrays import digits_from_arrays
from digitcli.data.dataset import Digits
from digitcli.errors import InputError
from digitcli.inference.predictor import load_classifier
from tests.support.digits import are_equal


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_mnist_like_arrays_are_taken_as_they_are(digits: Digits) -> None:
    for shape in ((-1, 28, 28), (-1, 784), (-1, 1, 28, 28), (-1, 28, 28, 1)):
        images = digits.images.reshape(shape)
        for kind, variant in {
            "uint8": images,
            "int64": images.astype(np.int64),
            "float32": images.astype(np.float32),
            "unit": images / 255,
            "inverted": 255 - images,
        }.items():
            read, failures = digits_from_arrays(variant, digits.labels, "x")
            assert are_equal(read, digits) and failures == (), (shape, kind)
            assert read.images.dtype == np.uint8 and read.labels.dtype == np.int64, (shape, kind)


def test_binary_images_become_black_and_white(digits: Digits) -> None:
    read, _ = digits_from_arrays(digits.images > 127, digits.labels, "x")
    assert np.array_equal(read.images, np.where(digits.images > 127, 255, 0))


@pytest.mark.parametrize(
    "form", ["padded", "colour", "channels first", "flat", "faint", "unit", "black on white"]
)
def test_other_arrays_are_preprocessed(few_digits: Digits, form: str) -> None:
    padded = np.pad(few_digits.images, ((0, 0), (6, 6), (6, 6)))
    images = {
        "padded": padded,
        "colour": np.stack([padded] * 3, axis=-1),
        "channels first": np.stack([padded] * 3, axis=1),
        "flat": padded.reshape(10, -1),
        "faint": padded // 16,
        "unit": padded / 127.5 - 1,
        "black on white": 255 - padded,
    }[form]
    read, failures = digits_from_arrays(images, few_digits.labels, "x")
    assert read.images.shape == (10, 28, 28)
    assert failures == ()
    assert all(correlation(a, b) > 0.7 for a, b in zip(read.images, few_digits.images, strict=True))


@pytest.mark.parametrize("paper", [0, 255])
def test_digits_that_fill_their_pictures_are_found(few_digits: Digits, paper: int) -> None:
    """In USPS, each digit fills its image, so that most of the border is ink."""
    tight = []
    for image in few_digits.images:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        ink = Image.fromarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        tight.append(np.asarray(ink.resize((16, 16))))
    images = np.abs(paper - np.minimum(255, 1.5 * np.stack(tight))).astype(np.uint8)
    read, failures = digits_from_arrays(images, few_digits.labels, "x")
    assert not failures and len(read) == len(few_digits)
    answers = load_classifier("cnn").logits(read.images).argmax(axis=-1)
    assert np.mean(answers == read.labels) > 0.9


def test_blank_images_become_failures(few_digits: Digits) -> None:
    images = np.pad(few_digits.images, ((0, 0), (6, 6), (6, 6)))
    images[3] = 0
    read, failures = digits_from_arrays(images, few_digits.labels, "x")
    assert read.labels.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [(failure.file, failure.reason) for failure in failures] == [("x[3]", "blank")]


def test_blank_images_alone_and_empty_arrays_are_refused() -> None:
    for shape, words in (((3, 16, 16), "blank"), ((0, 28, 28), "no images"), ((0, 784), "no images")):
        with pytest.raises(InputError, match=words):
            digits_from_arrays(np.zeros(shape), np.zeros(shape[0]), "x")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(9), "10 images but 9 labels"),
        (np.arange(1, 11), "that are not digits: 1 of 10, the first being 10 of image 9"),
        (np.arange(10) - 1, "-1 of image 0"),
        (np.arange(10) + 0.5, "0.5 of image 0"),
        (np.full(10, np.nan), "nan of image 0"),
        (np.eye(10), r"shape \(10, 10\)"),
        (np.array(list("0123456789")), "<U1"),
    ],
)
def test_labels_that_are_not_one_digit_for_each_image_are_refused(
    few_digits: Digits, labels: np.ndarray, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        digits_from_arrays(few_digits.images, labels, "x")
    assert "label" in caught.value.remedy.lower()


def test_labels_may_be_a_column_of_floats(few_digits: Digits) -> None:
    read, _ = digits_from_arrays(few_digits.images, few_digits.labels[:, None].astype(np.float64), "x")
    assert read.labels.tolist() == list(range(10))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((10, 28, 28), "<U1"), "not a number"),
        (np.zeros((10, 28, 28), complex), "not a number"),
        (np.zeros((10, 785)), r"shape \(10, 785\)"),
        (np.zeros(10), r"shape \(10,\)"),
        (np.zeros((10, 28, 0)), "no pixels"),
        (np.zeros((10, 2, 28, 28)), r"shape \(10, 2, 28, 28\)"),
        (np.full((10, 28, 28), np.nan), "not finite"),
        (np.full((10, 28, 28), 256), "from 256 to 256"),
        (np.full((10, 28, 28), -1.0), "from -1.0 to -1.0"),
    ],
)
def test_arrays_that_are_not_images_are_refused(images: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        digits_from_arrays(images, np.arange(10), "x")
    assert caught.value.remedy
