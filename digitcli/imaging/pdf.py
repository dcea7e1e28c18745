"""Render the pages of PDF documents with PDFium, an optional package, as a scanner would deliver them."""

from __future__ import annotations

import logging
import math
import threading
from typing import Any, BinaryIO

from PIL import Image

from digitcli.errors import PictureError

DPI = 200  # resolution of a page without scans; the least for a page with scans
MAX_DPI = 300  # the most for a page with scans; more pixels do not help to read it
MAX_PIXELS = 16_000_000  # of a page; it keeps the memory bounded
MAX_PAGES = 10_000  # of a file; a damaged file may announce any number
_POINTS_PER_INCH = 72  # the unit of PDF
_SCANNED_SHARE = 0.5  # a page is scanned if images fill at least this share of it
_MAX_OBJECTS = 1000  # a page with more objects is not scanned; listing them would take long

_pdfium_lock = threading.RLock()  # PDFium takes one call at a time; the garbage collector may call it, too
logging.getLogger("pypdfium2").addHandler(logging.NullHandler())  # it warns about forms that are harmless


class Document:
    """An open PDF document, whose file must stay open as long. Several threads may each have one.

    Raises:
        PictureError: The document is encrypted or has too many pages, or PDFium is not installed.
        RuntimeError: The document is damaged or has no pages.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        try:
            import pypdfium2
            import pypdfium2.raw
        except ImportError as error:
            cause = f"{name} is a PDF document, and pypdfium2, which renders PDF, is not installed."
            remedy = "Install it with: pip install pypdfium2"
            raise PictureError("unsupported_format", cause, remedy) from error
        with _pdfium_lock:
            try:
                self._pdf: Any = pypdfium2.PdfDocument(_FaultTolerantFile(stream))
            except pypdfium2.PdfiumError as fault:
                if fault.err_code in (pypdfium2.raw.FPDF_ERR_PASSWORD, pypdfium2.raw.FPDF_ERR_SECURITY):
                    cause = f"{name} is locked with a password."
                    raise PictureError("encrypted", cause, "Save it without a password.") from fault
                raise
            try:
                self._pdf.init_forms()  # PDFium requires this before a page is opened
                self.pages: int = len(self._pdf)
                if self.pages > MAX_PAGES:
                    cause = f"{name} has {self.pages:,} pages; the limit is {MAX_PAGES:,}."
                    raise PictureError("too_large", cause, "Split it into smaller files.")
            except Exception:
                self._pdf.close()
                raise

    def render(self, index: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """Return one page, the first at 0, upright and in colour.

        Raises:
            RuntimeError: The page is damaged.
            ValueError: The page has no size.
        """
        from pypdfium2 import raw

        with _pdfium_lock:
            page = self._pdf[index]
            try:
                width, height = page.get_size()
                if not (0 < width < math.inf and 0 < height < math.inf):
                    raise ValueError("a page without size")
                limit = min(max_pixels, MAX_PIXELS)
                fitting_scale = min(math.sqrt(limit / (width * height)), limit / max(width, height))
                bitmap = page.render(min(_choose_dpi(page) / _POINTS_PER_INCH, fitting_scale))
                picture: Image.Image = bitmap.to_pil().copy()
                bitmap.close()
                is_small = raw.FPDFPage_CountObjects(page) <= _MAX_OBJECTS
                if picture.getcolors(maxcolors=1) and is_small:
                    for image in page.get_objects([raw.FPDF_PAGEOBJ_IMAGE]):
                        image.get_bitmap()  # an error if rendering has skipped a damaged scan
                return picture
            finally:
                page.close()

    def close(self) -> None:
        """Close the document; its file stays open."""
        with _pdfium_lock:
            self._pdf.close()


class _FaultTolerantFile:
    """A file for PDFium that ends where the disk fails; Python would print a traceback from its callback."""

    def __init__(self, stream: BinaryIO) -> None:
        self.seek, self.tell, self.read = stream.seek, stream.tell, stream.read
        self._readinto = stream.readinto  # type: ignore[attr-defined]

    def readinto(self, buffer: Any) -> int:
        try:
            return int(self._readinto(buffer))
        except OSError:
            return 0


def _choose_dpi(page: Any) -> float:
    """Return the resolution of the finest scan on a scanned page, within limits, else the default."""
    from pypdfium2 import raw

    if raw.FPDFPage_CountObjects(page) > _MAX_OBJECTS:
        return DPI
    width, height = page.get_size()
    scanned_area, finest_dpi = 0.0, float(DPI)
    for image in page.get_objects([raw.FPDF_PAGEOBJ_IMAGE], max_depth=1):
        left, bottom, right, top = image.get_bounds()
        area = (right - left) * (top - bottom)
        if area > 0:
            scanned_area += area
            finest_dpi = max(finest_dpi, _POINTS_PER_INCH * math.sqrt(math.prod(image.get_px_size()) / area))
    return min(finest_dpi, MAX_DPI) if scanned_area >= _SCANNED_SHARE * width * height else DPI
