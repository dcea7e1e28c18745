"""What a file is by its first and last bytes, before anything is decoded."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from digitcli.errors import PictureError

READABLE = "Give a PNG, JPEG, GIF, BMP, TIFF, WebP, AVIF, HEIC or PPM picture, or a PDF."
DAMAGED = "Copy or download the file again, or save it anew from the program that made it."

# How readable pictures begin, to tell a broken picture from a file that is none.
_PICTURE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
# The last bytes of a whole file, for the formats that have such.
_PICTURE_ENDS = {b"\x89PNG": b"IEND\xaeB`\x82", b"\xff\xd8\xff": b"\xff\xd9", b"GIF8": b"\x3b"}

# Known, but refused: (offset, bytes, name).
_REFUSED = (
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
_AVIF_BRANDS = (b"avif", b"avis")  # after b"ftyp"
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_PDF_WITHIN = 1024  # bytes from the beginning it begins, and ends before the end


def is_pdf(stream: BinaryIO) -> bool:
    """Whether an open file is a PDF document, by its beginning."""
    stream.seek(0)
    head = stream.read(_PDF_WITHIN)
    stream.seek(0)
    return b"%PDF-" in head and not head.startswith(_PICTURE_STARTS) and head[4:8] != b"ftyp"


def brand(stream: BinaryIO) -> bytes:
    """What an AVIF or HEIF picture, or a film, says that it is; of other files nothing."""
    stream.seek(0)
    head = stream.read(12)
    stream.seek(0)
    return head[8:] if head[4:8] == b"ftyp" else b""


def is_cut_off(stream: BinaryIO) -> bool:
    """Whether a file ends before it should, by what its beginning says or the end that its format has."""
    size = stream.seek(0, io.SEEK_END)
    pdf = is_pdf(stream)
    stream.seek(-min(_PDF_WITHIN if pdf else 16, size), io.SEEK_END)
    tail = stream.read()
    stream.seek(0)
    head = stream.read(8)
    try:
        if head.startswith(b"RIFF"):  # WebP says its length
            return int(struct.unpack("<I", head[4:])[0]) + 8 > size
        if head.startswith((b"II*\0", b"MM\0*")):  # TIFF says where its first page is described
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


def unidentified(stream: BinaryIO, name: str, cut_off: bool) -> PictureError:
    """What a file is that Pillow knows nothing about, by its first and last bytes."""
    if brand(stream) in (*_AVIF_BRANDS, *HEIF_BRANDS):
        return PictureError("corrupt", f"{name} is damaged and cannot be decoded.", DAMAGED)
    stream.seek(0)
    head = stream.read(512)
    for offset, magic, what in _REFUSED:
        if head.startswith(magic, offset):
            return PictureError("unsupported_format", f"{name} is {what}, which is not read here.", READABLE)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if b"<svg" in text.lower():
        return PictureError(
            "unsupported_format", f"{name} is an SVG drawing, which is not read here.", READABLE
        )
    if text.startswith(b"<"):
        return PictureError(
            "not_an_image",
            f"{name} is not a picture: it starts with '<', like a web page.",
            "It may be an error page saved under a picture's name; download the picture again.",
        )
    if not head.startswith(_PICTURE_STARTS):
        return PictureError("not_an_image", f"{name} is not a picture.", READABLE)
    if cut_off:
        return truncated(name)
    return PictureError("not_an_image", f"{name} starts like a picture but holds none.", DAMAGED)


def truncated(name: str) -> PictureError:
    """A file, or a page of it, whose end is missing."""
    return PictureError("truncated", f"{name} breaks off: its end is missing.", DAMAGED)
