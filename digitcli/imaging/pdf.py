"""PDF documents, each page as the picture that a scanner would give. PDFium draws them; it is an extra."""

from __future__ import annotations

import logging
import math
import threading
from typing import Any, BinaryIO

from PIL import Image

from digitcli.errors import PictureError

DPI = 200  # of a page, or as many as the scans have that fill it,
MOST_DPI = 300  # up to these,
MOST_PIXELS = 16_000_000  # and no more in all
MOST_PAGES = 10_000  # of a file
_POINTS = 72  # an inch
_FILLING = 0.5  # of the page
_MOST_OBJECTS = 1000  # of a page that is scanned

_pdfium_lock = threading.RLock()  # PDFium takes one call at a time; what is collected meanwhile closes too
logging.getLogger("pypdfium2").addHandler(logging.NullHandler())  # what it misses in a form is no news


class Document:
    """An open PDF, whose file stays open as long. Several threads may each have one.

    Raises:
        PictureError: it is locked or too long, or there is no PDFium.
        RuntimeError: it is damaged, or has no pages.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        try:
            import pypdfium2
            import pypdfium2.raw
        except ImportError as error:
            cause = f"{name} is a PDF document, and pypdfium2, which draws them, is not installed."
            remedy = "Install it with: pip install pypdfium2"
            raise PictureError("unsupported_format", cause, remedy) from error
        with _pdfium_lock:
            try:
                self._pdf: Any = pypdfium2.PdfDocument(_Steady(stream))
            except pypdfium2.PdfiumError as fault:
                if fault.err_code in (pypdfium2.raw.FPDF_ERR_PASSWORD, pypdfium2.raw.FPDF_ERR_SECURITY):
                    cause = f"{name} is locked with a password."
                    raise PictureError("encrypted", cause, "Save it without one.") from fault
                raise
            try:
                self._pdf.init_forms()  # before any page is opened
                self.pages: int = len(self._pdf)
                if self.pages > MOST_PAGES:
                    cause = f"{name} has {self.pages:,} pages; the limit is {MOST_PAGES:,}."
                    raise PictureError("too_large", cause, "Split it.")
            except Exception:
                self._pdf.close()
                raise

    def draw(self, index: int, max_pixels: int = MOST_PIXELS) -> Image.Image:
        """One page, the first at 0, upright and in colour.

        Raises:
            RuntimeError: it is damaged.
            ValueError: it has no size.
        """
        with _pdfium_lock:
            page = self._pdf[index]
            try:
                width, height = page.get_size()
                if not (0 < width < math.inf and 0 < height < math.inf):
                    raise ValueError("a page without size")
                most = min(max_pixels, MOST_PIXELS)
                fitting = min(math.sqrt(most / (width * height)), most / max(width, height))
                bitmap = page.render(min(_dpi(page) / _POINTS, fitting))
                picture: Image.Image = bitmap.to_pil().copy()
                bitmap.close()
                if picture.getcolors(maxcolors=1):  # it shows nothing
                    _decode_scans(page)
                return picture
            finally:
                page.close()

    def close(self) -> None:
        """Let go of it; its file stays open."""
        with _pdfium_lock:
            self._pdf.close()


class _Steady:
    """A file as PDFium takes it: a disk that fails has no more to give, where Python would print a fault."""

    def __init__(self, stream: BinaryIO) -> None:
        self.seek, self.tell, self.read = stream.seek, stream.tell, stream.read
        self._readinto = stream.readinto  # type: ignore[attr-defined]

    def readinto(self, buffer: Any) -> int:
        try:
            return int(self._readinto(buffer))
        except OSError:
            return 0


def _decode_scans(page: Any) -> None:
    """An empty page may have a scan that PDFium could not decode, which it passes over in silence."""
    from pypdfium2 import raw

    if raw.FPDFPage_CountObjects(page) <= _MOST_OBJECTS:
        for image in page.get_objects([raw.FPDF_PAGEOBJ_IMAGE]):
            image.get_bitmap()


def _dpi(page: Any) -> float:
    """How finely a page is drawn: as finely as the finest of the scans that fill it, within limits."""
    from pypdfium2 import raw

    if raw.FPDFPage_CountObjects(page) > _MOST_OBJECTS:
        return DPI
    width, height = page.get_size()
    filled, finest = 0.0, float(DPI)
    for image in page.get_objects([raw.FPDF_PAGEOBJ_IMAGE], max_depth=1):
        left, bottom, right, top = image.get_bounds()
        area = (right - left) * (top - bottom)
        if area > 0:
            filled += area
            finest = max(finest, _POINTS * math.sqrt(math.prod(image.get_px_size()) / area))
    return min(finest, MOST_DPI) if filled >= _FILLING * width * height else DPI
