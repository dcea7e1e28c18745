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


def test_plain_and_compressed_files_are_read(tmp_path: Path, digits: Digits, idx_bytes: AsIdx) -> None:
    for suffix, compress in COMPRESSORS.items():
        path = tmp_path / f"images{suffix}"
        path.write_bytes(compress(idx_bytes(digits.images)))
        assert np.array_equal(read_idx(path), digits.images), suffix


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_damaged_files_are_refused(tmp_path: Path, few_digits: Digits, idx_bytes: AsIdx, suffix: str) -> None:
    compress, whole = COMPRESSORS[suffix], idx_bytes(few_digits.images)
    content, path = compress(whole), tmp_path / f"images{suffix}"
    damaged = [content[:-9], compress(whole + b"more"), b"", b"<html>no</html>"]
    if suffix:
        middle = len(content) // 2
        damaged.append(content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :])
    for number, wrong in enumerate(damaged):
        path.write_bytes(wrong)
        with pytest.raises(InputError, match="images") as caught:
            read_idx(path)
        assert caught.value.remedy, number


def test_refuses_headers_that_make_no_sense(tmp_path: Path) -> None:
    for content in (
        b"\0\0\x08\x03\0\0",  # cut within the header
        b"\0\0\x08\0\0",  # no dimensions
        b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"\0",  # more dimensions than NumPy has
        b"\0\0\x08\x03" + b"\xff" * 12,  # 2 ** 96 bytes
        b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0",  # floats
    ):
        with pytest.raises(InputError, match="images"):
            parse_idx(content, "images")
        path = tmp_path / "images"
        path.write_bytes(content)
        with pytest.raises(InputError, match="images"):
            read_idx(path)


def test_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent cannot be read"):
        read_idx(tmp_path / "absent")
