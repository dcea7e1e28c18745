"""The pages of PDF documents are rendered, and broken documents are errors."""

from __future__ import annotations

import errno
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from digitcli.errors import PictureError
from digitcli.imaging import opening, pdf
from digitcli.imaging.opening import open_pages, open_picture
from tests.support.pictures import distance, drawn

DPI = 240


def document(*digits: str, dpi: float = DPI, side_px: int = 300) -> bytes:
    """Return a PDF with a page for each digit, which a scan fills."""
    first, *others = (Image.fromarray(drawn(digit, side_px)) for digit in digits)
    stream = io.BytesIO()
    first.save(stream, "PDF", save_all=True, append_images=others, resolution=dpi, quality=95)
    return stream.getvalue()


def raw_document(*pages: str, trailer: str = "") -> bytes:
    """Return a PDF of pages in PDF's own syntax; object 9 is a drawing that is black at the lower left."""
    kids = " ".join(f"{3 + place} 0 R" for place in range(len(pages)))
    objects = [
        (1, "<< /Type /Catalog /Pages 2 0 R >>"),
        (2, f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>"),
        *enumerate(pages, 3),
        (9, "<< /Length 18 >>\nstream\n0 0 100 50 re f   \nendstream"),
    ]
    body = "".join(f"{number} 0 obj\n{what}\nendobj\n" for number, what in objects)
    return f"%PDF-1.4\n{body}trailer << /Root 1 0 R /Size 10 {trailer} >>\n%%EOF\n".encode()


def page_of(width: float, height: float, more: str = "") -> str:
    return f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 9 0 R {more} >>"


def shows(page: np.ndarray | PictureError, digit: str) -> bool:
    assert isinstance(page, np.ndarray)
    return page.shape == (300, 300) and distance(page * 255, drawn(digit, 300)) < 2


def reason_of(data: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        open_picture(data)
    return caught.value.reason


def test_pages_are_numbered_from_one_and_a_single_page_has_no_number() -> None:
    pages = list(open_pages(document("3", "6", "9")))
    assert [number for number, _ in pages] == [1, 2, 3]
    assert all(shows(page, digit) for (_, page), digit in zip(pages, "369", strict=True))
    ((number, page),) = open_pages(document("5"))
    assert number is None and shows(page, "5")


def test_a_scan_in_strips_is_rendered_in_its_own_resolution() -> None:
    page = page_of(18, 24, "/Resources << /XObject << /I 8 0 R >> >>").replace(
        "/Contents 9 0 R", "/Contents 7 0 R"
    )
    strip = "/Subtype /Image /Width 75 /Height 1 /BitsPerComponent 8 /ColorSpace /DeviceGray"
    drawing = "".join(f"q 18 0 0 0.24 0 {0.24 * row:.2f} cm /I Do Q " for row in range(100))
    more = (
        f"7 0 obj\n<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream\nendobj\n"
        f"8 0 obj\n<< {strip} /Length 75 >>\nstream\n{'a' * 75}\nendstream\nendobj\n"
    )
    assert open_picture(raw_document(page).replace(b"9 0 obj", more.encode() + b"9 0 obj")).shape == (100, 75)


def test_a_scan_is_rendered_in_its_own_resolution_within_limits() -> None:
    for dpi, side_px in ((100, 600), (250, 300), (600, 150)):
        assert open_picture(document("5", dpi=dpi)).shape == (side_px, side_px), dpi


def test_other_pages_are_rendered_upright_in_the_default_resolution_if_they_are_not_huge() -> None:
    page = open_picture(raw_document(page_of(100, 144)))
    assert page.shape == (2 * pdf.DPI, round(100 / 72 * pdf.DPI + 0.5))
    assert page.dtype == np.float32 and page[-20, 20] == 0 and page[20, 20] == 1
    page = open_picture(raw_document(page_of(100, 144, "/Rotate 90")))
    assert page.shape[0] < page.shape[1] and page[20, 20] == 0 and page[20, -20] == 1
    page = open_picture(raw_document(page_of(14_400, 14_400)))
    assert 0.99 * pdf.MAX_PIXELS < page.size < 1.01 * pdf.MAX_PIXELS
    assert open_picture(raw_document(page_of(14_400, 14_400)), max_pixels=10_000).size < 10_300
    for width, height in ((0.0001, 1e8), (1e8, 0.0001)):
        assert max(open_picture(raw_document(page_of(width, height)), max_pixels=10_000).shape) <= 10_001


def test_a_broken_page_is_an_error_and_the_others_are_read() -> None:
    data = raw_document(page_of(72, 72), "(no page at all)", page_of(72, 72))
    (_, first), (number, second), (_, third) = open_pages(data)
    assert isinstance(first, np.ndarray) and isinstance(third, np.ndarray)
    assert number == 2 and isinstance(second, PictureError)
    assert second.reason == "corrupt" and "page 2" in second.cause


def test_broken_and_locked_documents_have_a_reason() -> None:
    locked = (
        f"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{'00' * 32}> /U <{'00' * 32}> >> "
        f"/ID [<{'00' * 16}> <{'00' * 16}>]"
    )
    undecodable = bytearray(document("3"))
    start = undecodable.index(b"\xff\xd8\xff")
    undecodable[start : start + 30] = bytes(30)
    for data, reason in [
        (raw_document(page_of(72, 72), trailer=locked), "encrypted"),
        (bytes(undecodable), "corrupt"),  # and not a blank page
        (b"%PDF-1.7\n", "truncated"),
        (document("3")[:300], "truncated"),
        (b"%PDF-1.7\nnothing\n%%EOF\n", "corrupt"),
        (raw_document(), "corrupt"),
        (raw_document(page_of(72, 72)).replace(b"/Count 1", b"/Count 1000000"), "too_large"),
    ]:
        assert reason_of(data) == reason, data[:40]
    assert np.ptp(open_picture(document("3", side_px=1))) == 0


def test_bytes_before_and_after_a_document_are_ignored() -> None:
    for before in (b"\xef\xbb\xbf\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
        assert isinstance(open_picture(before + document("3") + b"\n" * 50), np.ndarray)
    data = raw_document(page_of(72, 72), "(no page at all)") + b"\n" * 50
    assert [page.reason for _, page in open_pages(data) if isinstance(page, PictureError)] == ["corrupt"]


def test_missing_pdfium_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(PictureError, match="pypdfium2.* is not installed") as caught:
        open_picture(document("3"))
    assert caught.value.reason == "unsupported_format" and "pip install" in caught.value.remedy


def test_a_disk_that_fails_during_reading_is_one_bad_picture(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Failing(io.BytesIO):
        def readinto(self, buffer: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(opening, "_open_source", lambda *_: Failing(document("3")))
    assert reason_of(b"") == "corrupt"
    assert capfd.readouterr() == ("", "")


def test_damaged_documents_raise_only_picture_errors_in_many_threads() -> None:
    whole = document("3", "6", side_px=60)

    def reasons(seed: int) -> set[str]:
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 1 + 9 * (seed % 4)):
            data[at] = rng.integers(0, 256)
        cut = int(rng.integers(20, len(data))) if seed % 5 == 0 else len(data)
        pages = [page for _, page in open_pages(bytes(data[:cut]))]
        return {page.reason if isinstance(page, PictureError) else "read" for page in pages}

    with ThreadPoolExecutor(8) as pool:
        found = set().union(*pool.map(reasons, range(200)))
    assert {"read", "corrupt", "truncated"} <= found <= {"read", "corrupt", "truncated", "not_an_image"}
