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

_READABLE = "Give a PNG, JPEG, GIF, BMP, TIFF, WebP, AVIF, HEIC or PPM picture, or a PDF."
_DAMAGED = "Copy or download the file again, or save it anew from the program that made it."

# The first bytes of readable formats, to tell a broken picture from a file that is not a picture.
_PICTURE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
# The last bytes of a complete file, for the formats that have an end mark.
_PICTURE_ENDS = {b"\x89PNG": b"IEND\xaeB`\x82", b"\xff\xd8\xff": b"\xff\xd9", b"GIF8": b"\x3b"}

# Formats that are recognized but not read: the offset of their signature, the signature, a description.
_UNSUPPORTED = (
    (0, b"%!PS", "an EPS or PostScript file"),
    (0, b"\xc5\xd0\xd3\xc6", "an EPS file"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\0\0\1\0", "an icon file"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"gimp xcf", "a GIMP file"),
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"II+\0", "a BigTIFF picture"),
    (0, b"MM\0+", "a BigTIFF picture"),
    (0, b"AT&TFORM", "a DjVu document"),
    (4, b"ftyp", "a film, or a rare kind of HEIF picture"),
)
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_PDF_MARK_BYTES = 1024  # a PDF's marks lie within this distance of the beginning and of the end
_PICTURE_TAIL_BYTES = 16  # a picture's end mark lies within this distance of the end

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
    source: Path | bytes, *, max_pixels: int = MAX_PIXELS, name: str = ""
) -> Generator[tuple[int | None, np.ndarray | PictureError]]:
    """Yield every page of a file, or of a file's bytes, with its number from 1, or None for the only page.

    Only TIFF and PDF files have several pages; of an animation the first frame is read. For a page that
    cannot be read, a `PictureError` is yielded in its place, and the other pages are read.

    name: how errors call bytes.
    """
    name = f"'{name or source!s}'" if name or isinstance(source, Path) else "The input"
    with contextlib.ExitStack() as stack:
        try:
            stream = _open_source(source, stack, name)
            open_file = _open_document if _is_pdf(stream) else _open_image
            count, read_page = open_file(stream, stack, name, max_pixels)
        except PictureError as error:
            yield None, error
            return
        except OSError as fault:  # the disk or the network fails while the file is read
            yield None, _unreadable_error(fault, name)
            return
        for number in range(1, count + 1) if count > 1 else (None,):
            try:
                page = read_page(number - 1, f"{name}, page {number},") if number else read_page(0, name)
            except PictureError as error:
                yield number, error
            else:
                yield number, page


def _open_document(
    stream: BinaryIO, stack: contextlib.ExitStack, name: str, max_pixels: int
) -> tuple[int, ReadPage]:
    truncated = _is_truncated(stream)
    with _faults_of(name, truncated):
        document = stack.enter_context(contextlib.closing(Document(stream, name)))

    def read_page(index: int, page_name: str) -> np.ndarray:
        with _faults_of(page_name, truncated):
            return convert_to_grey(document.render(index, max_pixels))

    return document.pages, read_page


def _open_image(
    stream: BinaryIO, stack: contextlib.ExitStack, name: str, max_pixels: int
) -> tuple[int, ReadPage]:
    truncated = _is_truncated(stream)
    image = stack.enter_context(_identify(stream, name, truncated))
    frames = _list_frames(image, name)

    def read_page(index: int, page_name: str) -> np.ndarray:
        frame = frames[index]
        if frame is None:
            raise _truncated_error(page_name)
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


def _open_source(source: Path | bytes, stack: contextlib.ExitStack, name: str) -> BinaryIO:
    """Open bytes or a regular file, and nothing else."""
    if isinstance(source, bytes):
        if not source:
            raise _empty_error(name)
        return io.BytesIO(source)
    try:
        _check_regular(source.stat(), name)
        # A pipe that replaces the file meanwhile cannot block.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        stream = stack.enter_context(os.fdopen(os.open(source, flags), "rb"))
        _check_regular(os.fstat(stream.fileno()), name)
        return stream
    except (OSError, ValueError) as fault:
        raise _unreadable_error(fault, name) from fault


def _check_regular(status: os.stat_result, name: str) -> None:
    if status.st_size == 0 and stat.S_ISREG(status.st_mode):
        raise _empty_error(name)
    if not stat.S_ISREG(status.st_mode):
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "pipe, a socket or a device"
        remedy = "Give the pictures in it." if kind == "folder" else "Give a picture file."
        raise PictureError("not_regular_file", f"{name} is a {kind}.", remedy)


def _empty_error(name: str) -> PictureError:
    return PictureError("empty_file", f"{name} is empty (0 bytes).", _DAMAGED)


def _unreadable_error(fault: OSError | ValueError, name: str) -> PictureError:
    if not isinstance(fault, OSError) or fault.errno in _NOT_FOUND:
        return PictureError("not_found", f"{name} does not exist.", "Check the path.")
    if isinstance(fault, PermissionError):
        cause = f"You have no permission to read {name}."
        return PictureError("permission", cause, "Change its permissions.")
    if fault.errno == errno.ELOOP:
        cause = f"{name} is a link that leads back to itself."
        return PictureError("not_found", cause, "Give the file itself.")
    what = fault.strerror or fault
    if fault.errno in _OUT_OF_RESOURCES:
        cause = f"{name} cannot be opened: {what}."
        return PictureError("internal", cause, "Close other programs and try again.")
    return PictureError("corrupt", f"{name} cannot be read: {what}.", "Check the disk or the network.")


def _identify(stream: BinaryIO, name: str, truncated: bool) -> Image.Image:
    """Read a file's header without decoding anything."""
    with _faults_of(name, truncated), _silence_warnings():
        try:
            return Image.open(stream, formats=FORMATS)
        except UnidentifiedImageError as fault:
            if _read_brand(stream) not in _HEIF_BRANDS:
                raise _unidentified_error(stream, name, truncated) from fault
        try:
            import pillow_heif
        except ImportError as error:
            cause = f"{name} is a HEIC picture, and pillow-heif, which decodes HEIC, is not installed."
            remedy = "Install it with: pip install pillow-heif"
            raise PictureError("unsupported_format", cause, remedy) from error
        pillow_heif.register_heif_opener()  # it turns pictures upright itself
        try:
            return Image.open(stream, formats=["HEIF"])
        except UnidentifiedImageError as fault:
            raise _unidentified_error(stream, name, truncated) from fault


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
    with _faults_of(name, truncated), _silence_warnings():
        image.seek(frame)
        pixels = image.width * image.height
        if not pixels:
            raise PictureError("not_an_image", f"{name} has no pixels.", _READABLE)
        if pixels > max_pixels:
            cause = f"{name} has {image.width} x {image.height} pixels; the limit is {max_pixels:,}."
            raise PictureError("too_large", cause, "Make the picture smaller.")
        with _large_picture_lock if pixels > _LARGE_PIXELS else contextlib.nullcontext():
            image.load()
            grey = convert_to_grey(image)
        orientation = 1
        with contextlib.suppress(Exception):  # the EXIF data may be damaged
            orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        # Undo the rotation and the reflection that orientations 2 to 8 stand for.
        if orientation in (5, 6, 7, 8):
            grey = cv2.transpose(grey)
        if orientation in (2, 3, 6, 7):
            grey = grey[:, ::-1]
        return np.ascontiguousarray(grey[::-1] if orientation in (3, 4, 7, 8) else grey)


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


@contextlib.contextmanager
def _faults_of(name: str, truncated: bool) -> Iterator[None]:
    """Raise a `PictureError` for whatever Pillow or PDFium raise, which is far more than OSError."""
    try:
        yield
    except PictureError:
        raise
    except (Image.DecompressionBombError, MemoryError) as fault:
        cause = f"{name} has too many pixels to be read."
        raise PictureError("too_large", cause, "Make the picture smaller.") from fault
    except Exception as fault:
        is_cut = isinstance(fault, EOFError | struct.error) or "truncated" in str(fault).lower()
        if truncated or is_cut:
            raise _truncated_error(name) from fault
        raise PictureError("corrupt", f"{name} is damaged and cannot be decoded.", _DAMAGED) from fault


def _is_pdf(stream: BinaryIO) -> bool:
    """Return whether an open file begins like a PDF document."""
    stream.seek(0)
    head = stream.read(_PDF_MARK_BYTES)
    stream.seek(0)
    return b"%PDF-" in head and not head.startswith(_PICTURE_STARTS) and head[4:8] != b"ftyp"


def _read_brand(stream: BinaryIO) -> bytes:
    """Return the brand, four bytes, that an AVIF or HEIF picture or a film states; else nothing."""
    stream.seek(0)
    head = stream.read(12)
    stream.seek(0)
    return head[8:] if head[4:8] == b"ftyp" else b""


def _is_truncated(stream: BinaryIO) -> bool:
    """Return whether a file is shorter than its header says, or lacks the end mark of its format."""
    size = stream.seek(0, io.SEEK_END)
    pdf = _is_pdf(stream)
    stream.seek(-min(_PDF_MARK_BYTES if pdf else _PICTURE_TAIL_BYTES, size), io.SEEK_END)
    tail = stream.read()
    stream.seek(0)
    head = stream.read(8)
    try:
        if head.startswith(b"RIFF"):  # WebP states its length
            return int(struct.unpack("<I", head[4:])[0]) + 8 > size
        if head.startswith((b"II*\0", b"MM\0*")):  # TIFF states where the description of its first page lies
            order = "<" if head.startswith(b"II") else ">"
            stream.seek(at := int(struct.unpack(order + "I", head[4:])[0]))
            return at + 2 + 12 * int(struct.unpack(order + "H", stream.read(2))[0]) + 4 > size
    except struct.error:
        return True
    finally:
        stream.seek(0)
    if pdf:
        return b"%%EOF" not in tail
    return any(head.startswith(start) and end not in tail for start, end in _PICTURE_ENDS.items())


def _unidentified_error(stream: BinaryIO, name: str, truncated: bool) -> PictureError:
    """Return the error for a file that Pillow does not recognize, by its first bytes."""
    if _read_brand(stream) in (*_AVIF_BRANDS, *_HEIF_BRANDS):
        return PictureError("corrupt", f"{name} is damaged and cannot be decoded.", _DAMAGED)
    stream.seek(0)
    head = stream.read(512)
    kinds = [kind for offset, signature, kind in _UNSUPPORTED if head.startswith(signature, offset)]
    kinds += ["an SVG drawing"] if b"<svg" in head.lower() else []
    if kinds:
        cause = f"{name} is {kinds[0]}, a format that cannot be read."
        return PictureError("unsupported_format", cause, _READABLE)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        cause = f"{name} is not a picture: it starts with '<', like a web page."
        remedy = "It may be an error page saved under a picture's name; download the picture again."
        return PictureError("not_an_image", cause, remedy)
    if not head.startswith(_PICTURE_STARTS):
        return PictureError("not_an_image", f"{name} is not a picture.", _READABLE)
    if truncated:
        return _truncated_error(name)
    return PictureError("not_an_image", f"{name} starts like a picture but does not contain one.", _DAMAGED)


def _truncated_error(name: str) -> PictureError:
    """Return the error for a file, or a page of it, whose end is missing."""
    return PictureError("truncated", f"{name} ends too early: a part of the file is missing.", _DAMAGED)
