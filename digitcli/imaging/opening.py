"""Opening a picture: any file or bytes in, its pages out as upright grey arrays.

Nothing but `PictureError` comes out of a bad file, and nothing is decoded before its size is known.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from digitcli.errors import PictureError
from digitcli.imaging.file_signatures import (
    DAMAGED,
    HEIF_BRANDS,
    READABLE,
    brand,
    is_cut_off,
    is_pdf,
    truncated,
    unidentified,
)
from digitcli.imaging.grayscale import grey_of
from digitcli.imaging.pdf import MOST_PAGES, Document

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF")
MAX_PIXELS = 64_000_000
_SUBFILE_TYPE = 254  # the TIFF tag that marks thumbnails

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_LARGE_PIXELS = 16_000_000  # pictures above it are decoded one at a time, lest many threads fill the memory
_large_lock = threading.Lock()

_quiet_lock = threading.Lock()
_quiet_threads = 0
_shared_quiet: warnings.catch_warnings[None]


def open_picture(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read the first page of a file, or of a file's bytes: float32 (H, W), 0 black to 1 white, upright.

    EXIF orientation is applied, transparency is laid on the background that shows the ink, deep greys
    are scaled by the range they use. Raises `PictureError`, its `reason` one of `empty_file not_found
    permission not_regular_file not_an_image unsupported_format truncated corrupt too_large encrypted`.
    """
    with contextlib.closing(open_pages(source, max_pixels=max_pixels)) as pages:
        _, first = next(pages)
    if isinstance(first, PictureError):
        raise first
    return first


def open_pages(
    source: Path | bytes, *, max_pixels: int = MAX_PIXELS
) -> Generator[tuple[int | None, np.ndarray | PictureError]]:
    """Every page of a file, or of a file's bytes, with its number from 1; None where there is but one.

    Only a TIFF and a PDF have pages; of an animation the first frame is read. What cannot be read is a
    `PictureError` in the place of its picture, and loses no other page.
    """
    name = "The picture" if isinstance(source, bytes) else f"'{source}'"
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(_open_source(source, name))
            opened = _open_document if is_pdf(stream) else _open_image
            count, read = opened(stream, stack, name, max_pixels)
        except PictureError as error:
            yield None, error
            return
        except OSError as fault:  # a disk or a network that fails while it is read
            yield None, _unreachable(fault, name)
            return
        several = count > 1
        for number in range(1, count + 1):
            try:
                page: np.ndarray | PictureError
                page = read(number - 1, f"{name}, page {number}," if several else name)
            except PictureError as error:
                page = error
            yield (number if several else None), page


ReadPage = Callable[[int, str], np.ndarray]  # by its place, the first 0, and what it is called


def _open_document(
    stream: BinaryIO, stack: contextlib.ExitStack, name: str, max_pixels: int
) -> tuple[int, ReadPage]:
    cut_off = is_cut_off(stream)
    try:
        document = stack.enter_context(contextlib.closing(Document(stream, name)))
    except PictureError:
        raise
    except Exception as fault:
        raise _undecodable(fault, name, cut_off) from fault

    def read(place: int, of_page: str) -> np.ndarray:
        try:
            return grey_of(document.draw(place, max_pixels))
        except Exception as fault:
            raise _undecodable(fault, of_page, cut_off) from fault

    return document.pages, read


def _open_image(
    stream: BinaryIO, stack: contextlib.ExitStack, name: str, max_pixels: int
) -> tuple[int, ReadPage]:
    cut_off = is_cut_off(stream)
    image = stack.enter_context(_identify(stream, name, cut_off))
    frames = _frames(image, name)

    def read(place: int, of_page: str) -> np.ndarray:
        index = frames[place]
        if index is None:
            raise truncated(of_page)
        return _read(image, index, of_page, max_pixels, cut_off)

    return len(frames), read


def grey_from_image(image: Image.Image) -> np.ndarray:
    """The upright grey of an opened image: float32 (H, W) in [0, 1].

    Raises:
        PictureError: it is too large or cannot be decoded.
    """
    return _read(image, image.tell(), "The picture", MAX_PIXELS)


def grey_from_array(pixels: np.ndarray) -> np.ndarray:
    """The grey, float32 (H, W), of an array: whole numbers (H, W) or (H, W, 3 or 4), or fractions (H, W).

    Raises:
        PictureError: it has another shape or type, or no pixels.
    """
    fractions = pixels.ndim == 2 and pixels.dtype.kind == "f" and pixels.size
    if fractions and np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1:
        return np.ascontiguousarray(pixels, np.float32)
    wide = pixels.dtype.kind == "i" and pixels.dtype != np.int8 and pixels.size
    if wide and pixels.min() >= 0 and pixels.max() <= 255:
        pixels = pixels.astype(np.uint8)  # NumPy's own whole numbers are of 64 bits
    whole = pixels.dtype.kind in "bui" and pixels.dtype != np.int8
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    try:
        if not (whole and shaped and pixels.size):
            raise ValueError("Pillow would take it for something else")
        return grey_from_image(Image.fromarray(np.ascontiguousarray(pixels)))
    except (TypeError, ValueError) as fault:
        cause = f"An array of shape {pixels.shape} and type {pixels.dtype} is no picture."
        remedy = "Give uint8 (H, W) or (H, W, 3), or floats (H, W) from 0 to 1."
        raise PictureError("not_an_image", cause, remedy) from fault


def _open_source(source: Path | bytes, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        if not source:
            raise _empty(name)
        return io.BytesIO(source)
    try:
        return _open_regular(source, name)
    except (OSError, ValueError) as fault:
        raise _unreachable(fault, name) from fault


def _open_regular(path: Path, name: str) -> BinaryIO:
    """Open a regular file, and only that; a FIFO put in its place meanwhile cannot block."""
    _check_regular(path.stat(), name)
    stream = os.fdopen(
        os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb"
    )
    try:
        _check_regular(os.fstat(stream.fileno()), name)
    except PictureError:
        stream.close()
        raise
    return stream


def _check_regular(status: os.stat_result, name: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise PictureError("not_regular_file", f"{name} is a folder.", "Give a picture file.")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(
            "not_regular_file", f"{name} is a pipe, a socket or a device.", "Give a picture file."
        )
    if status.st_size == 0:
        raise _empty(name)


def _empty(name: str) -> PictureError:
    return PictureError("empty_file", f"{name} is empty (0 bytes).", DAMAGED)


def _unreachable(fault: OSError | ValueError, name: str) -> PictureError:
    if isinstance(fault, PermissionError):
        return PictureError("permission", f"{name} may not be read by you.", "Change its permissions.")
    if isinstance(fault, OSError) and fault.errno == errno.ELOOP:
        return PictureError(
            "not_found", f"{name} is a link that leads back to itself.", "Give the file itself."
        )
    if isinstance(fault, OSError) and fault.errno in _NO_ROOM:
        return PictureError("internal", f"{name} cannot be opened: {fault.strerror}.", "Try it again.")
    if isinstance(fault, OSError) and fault.errno not in _ABSENT:
        cause = f"{name} cannot be read: {fault.strerror or fault}."
        return PictureError("corrupt", cause, "Check the disk or the network it lies on.")
    return PictureError("not_found", f"{name} does not exist.", "Check the path.")


def _identify(stream: BinaryIO, name: str, cut_off: bool) -> Image.Image:
    """Look at a file's header: nothing is decoded yet."""
    try:
        with _silenced():
            try:
                return Image.open(stream, formats=FORMATS)
            except UnidentifiedImageError:
                if brand(stream) not in HEIF_BRANDS:
                    raise
                _register_heif(name)
                return Image.open(stream, formats=["HEIF"])
    except PictureError:
        raise
    except UnidentifiedImageError as fault:
        raise unidentified(stream, name, cut_off) from fault
    except Exception as fault:  # Pillow's parsers raise far more than OSError
        raise _undecodable(fault, name, cut_off) from fault


def _register_heif(name: str) -> None:
    """Let Pillow know of HEIF by an extra, which turns such pictures upright itself."""
    try:
        import pillow_heif
    except ImportError as error:
        cause = f"{name} is a HEIC picture, and pillow-heif, which decodes those, is not installed."
        raise PictureError("unsupported_format", cause, "Install it with: pip install pillow-heif") from error
    pillow_heif.register_heif_opener()


def _frames(image: Image.Image, name: str) -> list[int | None]:
    """The frames that are pages: those of a TIFF, but for reduced copies of another; else one alone.

    None stands for what should follow where the chain of pages breaks off.

    Raises:
        PictureError: they are too many.
    """
    frames: list[int | None] = []
    try:
        for index in itertools.count() if image.format == "TIFF" else [image.tell()]:
            with _silenced():
                image.seek(index)
                if not int(getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0)) & 1:
                    frames.append(index)
            if index == MOST_PAGES:
                cause = f"{name} has more than {MOST_PAGES:,} pages."
                raise PictureError("too_large", cause, "Split it.")
    except PictureError:
        raise
    except EOFError:  # after the last
        pass
    except Exception:  # Pillow's parsers raise anything
        frames.append(None)
    return frames if frames not in ([], [None]) else [0]


def _read(image: Image.Image, index: int, name: str, max_pixels: int, cut_off: bool = False) -> np.ndarray:
    """One page, decoded and upright."""
    try:
        with _silenced():
            image.seek(index)
            _check_size(image, name, max_pixels)
            with _large_lock if image.width * image.height > _LARGE_PIXELS else contextlib.nullcontext():
                image.load()
                return np.ascontiguousarray(_upright(grey_of(image), _orientation(image)))
    except PictureError:
        raise
    except Exception as fault:  # Pillow's decoders raise far more than OSError
        raise _undecodable(fault, name, cut_off) from fault


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Within it no warnings are shown: Pillow's are about files, and become errors or nothing.

    Python's own `catch_warnings` is not safe between threads, so all threads share one.
    """
    global _quiet_threads, _shared_quiet
    with _quiet_lock:
        if _quiet_threads == 0:
            _shared_quiet = warnings.catch_warnings()
            _shared_quiet.__enter__()
            warnings.simplefilter("ignore")
        _quiet_threads += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_threads -= 1
            if _quiet_threads == 0:
                _shared_quiet.__exit__(None, None, None)


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    if not image.width * image.height:
        raise PictureError("not_an_image", f"{name} has no pixels.", READABLE)
    if image.width * image.height > max_pixels:
        raise PictureError(
            "too_large",
            f"{name} has {image.width} x {image.height} pixels; the limit is {max_pixels:,}.",
            "Make the picture smaller.",
        )


def _undecodable(fault: Exception, name: str, cut_off: bool) -> PictureError:
    if isinstance(fault, Image.DecompressionBombError | MemoryError):
        return PictureError(
            "too_large", f"{name} has more pixels than can be read.", "Make the picture smaller."
        )
    if cut_off or isinstance(fault, EOFError | struct.error) or "truncated" in str(fault).lower():
        return truncated(name)
    return PictureError("corrupt", f"{name} is damaged and cannot be decoded.", DAMAGED)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it makes no sense."""
    with contextlib.suppress(Exception):
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _upright(grey: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the turn and the mirror that EXIF orientation 2 to 8 stands for."""
    if orientation in (5, 6, 7, 8):
        grey = cv2.transpose(grey)
    if orientation in (2, 3, 6, 7):
        grey = grey[:, ::-1]
    if orientation in (3, 4, 7, 8):
        grey = grey[::-1]
    return grey
