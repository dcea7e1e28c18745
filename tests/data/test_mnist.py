"""IDX files are read, plain or compressed, and damaged ones are refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.data.mnist import parse_idx, read_idx
from digitcli.errors import InputError

AsIdx = Callable[[np.ndarray], bytes]
COMPRESSORS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_plain_and_compressed_files_are_read(
    tmp_path: Path, digits: Digits, idx_bytes: AsIdx, suffix: str
) -> None:
    path = tmp_path / f"images{suffix}"
    path.write_bytes(COMPRESSORS[suffix](idx_bytes(digits.images)))
    assert np.array_equal(read_idx(path), digits.images)


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("change", ["shorter", "longer", "empty", "other"])
def test_damaged_files_are_refused(
    tmp_path: Path, few_digits: Digits, idx_bytes: AsIdx, suffix: str, change: str
) -> None:
    content = COMPRESSORS[suffix](idx_bytes(few_digits.images))
    damaged = {
        "shorter": content[:-9],
        "longer": COMPRESSORS[suffix](idx_bytes(few_digits.images) + b"more"),
        "empty": b"",
        "other": b"<html>no</html>",
    }
    path = tmp_path / f"images{suffix}"
    path.write_bytes(damaged[change])
    with pytest.raises(InputError, match="images") as caught:
        read_idx(path)
    assert caught.value.remedy


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2"])
def test_a_flipped_bit_in_a_compressed_file_is_found(
    tmp_path: Path, few_digits: Digits, idx_bytes: AsIdx, suffix: str
) -> None:
    content = bytearray(COMPRESSORS[suffix](idx_bytes(few_digits.images)))
    content[len(content) // 2] ^= 16
    path = tmp_path / f"images{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_idx(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\x08\x03\0\0",  # cut within the header
        b"\0\0\x08\0\0",  # no dimensions
        b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"\0",  # more dimensions than NumPy has
        b"\0\0\x08\x03" + b"\xff" * 12,  # 2 ** 96 bytes
        b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0",  # floats
    ],
)
def test_refuses_headers_that_make_no_sense(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="images"):
        parse_idx(content, "images")
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(InputError, match="images"):
        read_idx(path)


def test_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent cannot be read"):
        read_idx(tmp_path / "absent")
