"""Recognize the format of a file, and truncated files, by their first and last bytes; nothing is decoded."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from digitcli.errors import PictureError

READABLE = "Give a PNG, JPEG, GIF, BMP, TIFF, WebP, AVIF, HEIC or PPM picture, or a PDF."
DAMAGED = "Copy or download the file again, or save it anew from the program that made it."

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
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_PDF_MARK_BYTES = 1024  # a PDF's marks lie within this distance of the beginning and of the end
_PICTURE_TAIL_BYTES = 16  # a picture's end mark lies within this distance of the end


def is_pdf(stream: BinaryIO) -> bool:
    """Return whether an open file begins like a PDF document."""
    stream.seek(0)
    head = stream.read(_PDF_MARK_BYTES)
    stream.seek(0)
    return b"%PDF-" in head and not head.startswith(_PICTURE_STARTS) and head[4:8] != b"ftyp"


def read_brand(stream: BinaryIO) -> bytes:
    """Return the brand, four bytes, that an AVIF or HEIF picture or a film states; else nothing."""
    stream.seek(0)
    head = stream.read(12)
    stream.seek(0)
    return head[8:] if head[4:8] == b"ftyp" else b""


def is_truncated(stream: BinaryIO) -> bool:
    """Return whether a file is shorter than its header says, or lacks the end mark of its format."""
    size = stream.seek(0, io.SEEK_END)
    pdf = is_pdf(stream)
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


def unidentified_error(stream: BinaryIO, name: str, truncated: bool) -> PictureError:
    """Return the error for a file that Pillow does not recognize, by its first bytes."""
    if read_brand(stream) in (*_AVIF_BRANDS, *HEIF_BRANDS):
        return PictureError("corrupt", f"{name} is damaged and cannot be decoded.", DAMAGED)
    stream.seek(0)
    head = stream.read(512)
    for offset, signature, description in _UNSUPPORTED:
        if head.startswith(signature, offset):
            cause = f"{name} is {description}, a format that cannot be read."
            return PictureError("unsupported_format", cause, READABLE)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if b"<svg" in text.lower():
        cause = f"{name} is an SVG drawing, a format that cannot be read."
        return PictureError("unsupported_format", cause, READABLE)
    if text.startswith(b"<"):
        return PictureError(
            "not_an_image",
            f"{name} is not a picture: it starts with '<', like a web page.",
            "It may be an error page saved under a picture's name; download the picture again.",
        )
    if not head.startswith(_PICTURE_STARTS):
        return PictureError("not_an_image", f"{name} is not a picture.", READABLE)
    if truncated:
        return truncated_error(name)
    return PictureError("not_an_image", f"{name} starts like a picture but does not contain one.", DAMAGED)


def truncated_error(name: str) -> PictureError:
    """Return the error for a file, or a page of it, whose end is missing."""
    return PictureError("truncated", f"{name} ends too early: a part of the file is missing.", DAMAGED)
