"""Open any picture file or bytes and return its pages as upright grey arrays.

A bad file raises `PictureError` and no other exception. Nothing is decoded before its size is known.
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
    is_pdf,
    is_truncated,
    read_brand,
    truncated_error,
    unidentified_error,
)
from digitcli.imaging.grayscale import convert_to_grey
from digitcli.imaging.pdf import MAX_PAGES, Document

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF")
_COLOURS = (3, 4)  # the numbers of values of a pixel: red, green, blue and the opacity
MAX_PIXELS = 64_000_000  # of a page, 256 MB as floats; an A4 page at 600 dpi has 35 million
_SUBFILE_TYPE = 254  # the TIFF tag that marks thumbnails

_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_NOT_FOUND = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_LARGE_PIXELS = 16_000_000  # larger pictures are decoded one at a time, to limit the memory of many threads
_large_picture_lock = threading.Lock()

_warnings_lock = threading.Lock()
_silent_threads = 0
_shared_filter: warnings.catch_warnings[None]

_ARRAYS = "Give uint8 (H, W) or (H, W, 3), or floats (H, W) from 0 to 1."

ReadPage = Callable[[int, str], np.ndarray]  # takes the index of a page, from 0, and its name for errors


def open_picture(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read the first page of a file, or of a file's bytes: float32 (H, W), 0 black to 1 white, upright.

    The EXIF orientation is applied. Transparent pictures are laid on the background that shows the ink. Greys
    of more than 8 bits are scaled by the range that they use.

    Raises:
        PictureError: The page cannot be read. Its `reason` is one of `empty_file not_found permission
            not_regular_file not_an_image unsupported_format truncated corrupt too_large encrypted internal`.
    """
    with contextlib.closing(open_pages(source, max_pixels=max_pixels)) as pages:
        _, first = next(pages)
    if isinstance(first, PictureError):
        raise first
    return first


def open_pages(
    source: Path | bytes, *, max_pixels: int = MAX_PIXELS
) -> Generator[tuple[int | None, np.ndarray | PictureError]]:
    """Yield every page of a file, or of a file's bytes, with its number from 1, or None for the only page.

    Only TIFF and PDF files have several pages; of an animation the first frame is read. For a page that
    cannot be read, a `PictureError` is yielded in its place, and the other pages are read.
    """
    name = "The input" if isinstance(source, bytes) else f"'{source}'"
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(_open_source(source, name))
            open_file = _open_document if is_pdf(stream) else _open_image
            count, read_page = open_file(stream, stack, name, max_pixels)
        except PictureError as error:
            yield None, error
            return
        except OSError as fault:  # the disk or the network fails while the file is read
            yield None, _unreadable_error(fault, name)
            return
        has_several = count > 1
        for number in range(1, count + 1):
            try:
                page: np.ndarray | PictureError
                page = read_page(number - 1, f"{name}, page {number}," if has_several else name)
            except PictureError as error:
                page = error
            yield (number if has_several else None), page


def _open_document(
    stream: BinaryIO, stack: contextlib.ExitStack, name: str, max_pixels: int
) -> tuple[int, ReadPage]:
    truncated = is_truncated(stream)
    try:
        document = stack.enter_context(contextlib.closing(Document(stream, name)))
    except PictureError:
        raise
    except Exception as fault:
        raise _undecodable_error(fault, name, truncated) from fault

    def read_page(index: int, page_name: str) -> np.ndarray:
        try:
            return convert_to_grey(document.render(index, max_pixels))
        except Exception as fault:
            raise _undecodable_error(fault, page_name, truncated) from fault

    return document.pages, read_page


def _open_image(
    stream: BinaryIO, stack: contextlib.ExitStack, name: str, max_pixels: int
) -> tuple[int, ReadPage]:
    truncated = is_truncated(stream)
    image = stack.enter_context(_identify(stream, name, truncated))
    frames = _list_frames(image, name)

    def read_page(index: int, page_name: str) -> np.ndarray:
        frame = frames[index]
        if frame is None:
            raise truncated_error(page_name)
        return _read_frame(image, frame, page_name, max_pixels, truncated)

    return len(frames), read_page


def grey_from_image(image: Image.Image) -> np.ndarray:
    """Return the upright grey of an opened image: float32 (H, W) in [0, 1].

    Raises:
        PictureError: The image is too large or cannot be decoded.
    """
    return _read_frame(image, image.tell(), "The picture", MAX_PIXELS)


def grey_from_array(pixels: np.ndarray) -> np.ndarray:
    """Return the grey, float32 (H, W) in [0, 1], of an array of pixels.

    The array holds integers (H, W) or (H, W, 3 or 4), or floats (H, W) from 0 to 1.

    Raises:
        PictureError: The array has another shape, type or range, or no pixels.
    """
    is_float = pixels.ndim == 2 and pixels.dtype.kind == "f" and pixels.size
    if is_float and np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1:
        return np.ascontiguousarray(pixels, np.float32)
    is_signed = pixels.dtype.kind == "i" and pixels.dtype != np.int8 and pixels.size
    if is_signed and pixels.min() >= 0 and pixels.max() <= 255:
        pixels = pixels.astype(np.uint8)  # NumPy's default integers have 64 bits
    is_integer = pixels.dtype.kind in "bui" and pixels.dtype != np.int8
    is_picture_shape = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in _COLOURS)
    try:
        if not (is_integer and is_picture_shape and pixels.size):
            raise ValueError("Pillow would take it for another mode")
        return grey_from_image(Image.fromarray(np.ascontiguousarray(pixels)))
    except (TypeError, ValueError) as fault:
        cause = f"An array of shape {pixels.shape} and type {pixels.dtype} is not a picture."
        remedy = "Give these several pictures to read_all." if is_stack(pixels) else _ARRAYS
        raise PictureError("not_an_image", cause, remedy) from fault


def is_stack(pixels: np.ndarray) -> bool:
    """Tell whether an array has the shape of several pictures: (N, H, W) or (N, H, W, 3 or 4).

    Three axes of which the last has a length of 3 or 4 are one picture in colours.
    """
    if pixels.ndim == 4:
        return pixels.shape[3] in _COLOURS
    return pixels.ndim == 3 and pixels.shape[2] not in (1, *_COLOURS)


def _open_source(source: Path | bytes, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        if not source:
            raise _empty_error(name)
        return io.BytesIO(source)
    try:
        return _open_regular(source, name)
    except (OSError, ValueError) as fault:
        raise _unreadable_error(fault, name) from fault


def _open_regular(path: Path, name: str) -> BinaryIO:
    """Open a regular file and nothing else; a pipe that replaces the file meanwhile cannot block."""
    _check_regular(path.stat(), name)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    stream = os.fdopen(os.open(path, flags), "rb")
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
        cause = f"{name} is a pipe, a socket or a device."
        raise PictureError("not_regular_file", cause, "Give a picture file.")
    if status.st_size == 0:
        raise _empty_error(name)


def _empty_error(name: str) -> PictureError:
    return PictureError("empty_file", f"{name} is empty (0 bytes).", DAMAGED)


def _unreadable_error(fault: OSError | ValueError, name: str) -> PictureError:
    if not isinstance(fault, OSError) or fault.errno in _NOT_FOUND:
        return PictureError("not_found", f"{name} does not exist.", "Check the path.")
    what = fault.strerror or fault
    if isinstance(fault, PermissionError):
        cause = f"You have no permission to read {name}."
        return PictureError("permission", cause, "Change its permissions.")
    if fault.errno == errno.ELOOP:
        cause = f"{name} is a link that leads back to itself."
        return PictureError("not_found", cause, "Give the file itself.")
    if fault.errno in _OUT_OF_RESOURCES:
        cause = f"{name} cannot be opened: {what}."
        return PictureError("internal", cause, "Close other programs and try again.")
    return PictureError("corrupt", f"{name} cannot be read: {what}.", "Check the disk or the network.")


def _identify(stream: BinaryIO, name: str, truncated: bool) -> Image.Image:
    """Read a file's header without decoding anything."""
    try:
        with _silence_warnings():
            try:
                return Image.open(stream, formats=FORMATS)
            except UnidentifiedImageError:
                if read_brand(stream) not in HEIF_BRANDS:
                    raise
                _register_heif(name)
                return Image.open(stream, formats=["HEIF"])
    except PictureError:
        raise
    except UnidentifiedImageError as fault:
        raise unidentified_error(stream, name, truncated) from fault
    except Exception as fault:  # Pillow's parsers raise far more than OSError
        raise _undecodable_error(fault, name, truncated) from fault


def _register_heif(name: str) -> None:
    """Register the optional HEIF decoder with Pillow; that decoder turns pictures upright itself."""
    try:
        import pillow_heif
    except ImportError as error:
        cause = f"{name} is a HEIC picture, and pillow-heif, which decodes HEIC, is not installed."
        raise PictureError("unsupported_format", cause, "Install it with: pip install pillow-heif") from error
    pillow_heif.register_heif_opener()


def _list_frames(image: Image.Image, name: str) -> list[int | None]:
    """Return the frames that are pages: all frames of a TIFF except thumbnails; else the current frame.

    None at the end stands for the rest of a TIFF whose chain of pages is broken.

    Raises:
        PictureError: There are too many pages.
    """
    frames: list[int | None] = []
    try:
        for index in itertools.count() if image.format == "TIFF" else [image.tell()]:
            with _silence_warnings():
                image.seek(index)
                if not int(getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0)) & 1:
                    frames.append(index)
            if index == MAX_PAGES:
                cause = f"{name} has more than {MAX_PAGES:,} pages."
                raise PictureError("too_large", cause, "Split it into smaller files.")
    except PictureError:
        raise
    except EOFError:  # there are no more frames
        pass
    except Exception:  # Pillow's parsers raise any exception
        frames.append(None)
    return frames if frames not in ([], [None]) else [0]


def _read_frame(
    image: Image.Image, frame: int, name: str, max_pixels: int, truncated: bool = False
) -> np.ndarray:
    """Decode one frame and turn it upright."""
    try:
        with _silence_warnings():
            image.seek(frame)
            _check_size(image, name, max_pixels)
            is_large = image.width * image.height > _LARGE_PIXELS
            with _large_picture_lock if is_large else contextlib.nullcontext():
                image.load()
                return np.ascontiguousarray(_turn_upright(convert_to_grey(image), _read_orientation(image)))
    except PictureError:
        raise
    except Exception as fault:  # Pillow's decoders raise far more than OSError
        raise _undecodable_error(fault, name, truncated) from fault


@contextlib.contextmanager
def _silence_warnings() -> Iterator[None]:
    """Suppress warnings in all threads: Pillow warns about files whose faults are reported as errors.

    Python's `catch_warnings` is not safe between threads, so all threads share one.
    """
    global _silent_threads, _shared_filter
    with _warnings_lock:
        if _silent_threads == 0:
            _shared_filter = warnings.catch_warnings()
            _shared_filter.__enter__()
            warnings.simplefilter("ignore")
        _silent_threads += 1
    try:
        yield
    finally:
        with _warnings_lock:
            _silent_threads -= 1
            if _silent_threads == 0:
                _shared_filter.__exit__(None, None, None)


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    if not image.width * image.height:
        raise PictureError("not_an_image", f"{name} has no pixels.", READABLE)
    if image.width * image.height > max_pixels:
        cause = f"{name} has {image.width} x {image.height} pixels; the limit is {max_pixels:,}."
        raise PictureError("too_large", cause, "Make the picture smaller.")


def _undecodable_error(fault: Exception, name: str, truncated: bool) -> PictureError:
    if isinstance(fault, Image.DecompressionBombError | MemoryError):
        cause = f"{name} has too many pixels to be read."
        return PictureError("too_large", cause, "Make the picture smaller.")
    if truncated or isinstance(fault, EOFError | struct.error) or "truncated" in str(fault).lower():
        return truncated_error(name)
    return PictureError("corrupt", f"{name} is damaged and cannot be decoded.", DAMAGED)


def _read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none or if it cannot be read."""
    with contextlib.suppress(Exception):
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _turn_upright(grey: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the rotation and the reflection that EXIF orientations 2 to 8 stand for."""
    if orientation in (5, 6, 7, 8):
        grey = cv2.transpose(grey)
    if orientation in (2, 3, 6, 7):
        grey = grey[:, ::-1]
    if orientation in (3, 4, 7, 8):
        grey = grey[::-1]
    return grey
