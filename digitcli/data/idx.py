"""The IDX format, in which MNIST and its family are published. NumPy only.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.data.decompression import MAX_BYTES, opened
from digitcli.errors import InputError

UINT8 = 0x08
MAX_DIMENSIONS = 4
LONGEST_HEADER = 4 + 4 * MAX_DIMENSIONS


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes, plain or compressed (.gz, .xz, .bz2).

    Raises:
        InputError: the file is missing, damaged or not IDX.
    """
    with opened(path) as file:
        content = file.read(LONGEST_HEADER)
        start, shape = _parse_header(content, path.name)
        missing = start + math.prod(shape) - len(content)
        content += file.read(max(missing, 0) + 1)  # one byte too many: a checksum is held at the very end
    return parse_idx(content, path.name)


def parse_idx(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """The array in the bytes of an IDX file of unsigned bytes.

    Raises:
        InputError: the bytes are not IDX, or fewer or more than the header says.
    """
    start, shape = _parse_header(content, name)
    expected = start + math.prod(shape)
    if len(content) != expected:
        found = f"more than {expected}" if len(content) > expected else str(len(content))
        raise InputError(
            f"{name} is damaged: {found} bytes, where its header asks for {expected}.",
            "Fetch the file again.",
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _parse_header(content: bytes, name: str) -> tuple[int, tuple[int, ...]]:
    """Where the array begins, and its shape."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UINT8:
        raise InputError(f"{name} is not an IDX file of unsigned bytes.", "Fetch the file again.")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if not 1 <= dimensions <= MAX_DIMENSIONS or len(content) < start:
        raise InputError(
            f"{name} is damaged: its header is cut short or not sensible.", "Fetch the file again."
        )
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    if math.prod(shape) > MAX_BYTES:
        raise InputError(
            f"{name} is damaged or too large: its header asks for {math.prod(shape)} bytes.",
            "Fetch the file again.",
        )
    return start, shape
