"""Whatever bytes a data file contains, its reader returns digits or raises an InputError.

Valid arrays come back unchanged from every format.
"""

from __future__ import annotations

import gzip
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from digitcli.data.arrays import load_csv, load_npz
from digitcli.data.dataset import Dataset, Digits
from digitcli.data.mnist import parse_idx, read_idx
from digitcli.errors import InputError
from tests.support.digits import are_equal
from tests.support.property_based import damaged, few_examples


def encode_idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def encode_npz(digits: Digits, compressed: bool = True) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, images=digits.images, labels=digits.labels)
    return stream.getvalue()


def encode_csv(digits: Digits, header: bool = True) -> bytes:
    table = np.column_stack([digits.labels, digits.images.reshape(len(digits), -1)]).tolist()
    names = ["label", *(f"pixel{index}" for index in range(784))]
    return "".join(",".join(map(str, row)) + "\n" for row in ([names] if header else []) + table).encode()


@st.composite
def digits(draw: st.DrawFn) -> Digits:
    """Draw one to three digits with dark paper, as MNIST's."""
    count = draw(st.integers(1, 3))
    images = draw(arrays.arrays(np.uint8, (count, 28, 28), elements=st.integers(0, 127)))
    images[0, 0, 0] = 127  # an image of zeros and ones alone would be scaled to 0 and 255
    labels = draw(arrays.arrays(np.int64, count, elements=st.integers(0, 9)))
    return Digits(images, labels)


EXAMPLE = Digits(np.arange(784, dtype=np.uint8).reshape(1, 28, 28) % 120, np.array([7]))


def read_file(load: Callable[[Path], Any], name: str, content: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return load(path)


@few_examples
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=4, max_side=5)), st.booleans())
def test_an_idx_file_returns_the_array_that_was_written(array: np.ndarray, compressed: bool) -> None:
    content = gzip.compress(encode_idx(array)) if compressed else encode_idx(array)
    read = read_file(read_idx, "array.gz" if compressed else "array", content)
    assert read.dtype == np.uint8 and np.array_equal(read, array) and read.shape == array.shape


@few_examples
@given(digits())
def test_an_npz_file_returns_the_digits_that_were_written(written: Digits) -> None:
    assert are_equal(read_file(load_npz, "digits.npz", encode_npz(written)).train, written)


@few_examples
@given(digits(), st.booleans())
def test_a_csv_file_returns_the_digits_that_were_written(written: Digits, header: bool) -> None:
    assert are_equal(read_file(load_csv, "digits.csv", encode_csv(written, header)).train, written)


@few_examples
@given(st.one_of(st.binary(max_size=60), damaged(encode_idx(EXAMPLE.images))))
def test_any_bytes_of_an_idx_file_are_an_array_or_an_input_error(content: bytes) -> None:
    try:
        array = parse_idx(content, "digits")
    except InputError as error:
        assert error.cause and error.remedy
    else:
        assert array.dtype == np.uint8 and 1 <= array.ndim <= 4


FILES = {
    "digits.npz": (load_npz, encode_npz(EXAMPLE)),
    "stored.npz": (load_npz, encode_npz(EXAMPLE, compressed=False)),
    "digits.csv": (load_csv, encode_csv(EXAMPLE)),
    "digits.csv.gz": (load_csv, gzip.compress(encode_csv(EXAMPLE, header=False))),
}


@pytest.mark.parametrize("name", FILES)
def test_any_bytes_of_a_data_file_are_digits_or_an_input_error(name: str) -> None:
    load, whole = FILES[name]

    @few_examples
    @given(st.one_of(st.binary(max_size=60), damaged(whole)))
    def check(content: bytes) -> None:
        try:
            dataset = read_file(load, name, content)
        except InputError as error:
            assert error.cause and error.remedy
        else:
            assert isinstance(dataset, Dataset) and len(dataset.train)

    check()


@few_examples
@given(st.text('0123456789,.-"\n\r\t labe;é\0', max_size=200))
def test_any_text_of_a_csv_file_is_digits_or_an_input_error(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_file(load_csv, "digits.csv", text.encode())
    assert caught.value.cause and caught.value.remedy
