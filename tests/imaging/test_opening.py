"""Pictures of every format are read upright, and every bad file raises a PictureError with its reason."""

from __future__ import annotations

import errno
import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, PngImagePlugin

from digitcli.errors import PictureError
from digitcli.imaging import opening
from digitcli.imaging.opening import grey_from_array, grey_from_image, open_pages, open_picture
from tests.support.pictures import distance, drawn, encoded, flipped, grey_of, png
from tests.support.processes import modules_loaded_by

pillow_heif.register_heif_opener()  # the tests write HEIF pictures with it; the package registers it itself
REASONS = {
    *("empty_file", "not_found", "permission", "not_regular_file", "not_an_image"),
    *("unsupported_format", "truncated", "corrupt", "too_large", "encrypted"),
}
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
NOISY = encoded(NOISE)
WIDE = Image.fromarray(drawn("3")).crop((10, 0, 110, 120))


def reason_of(source: Path | bytes) -> str:
    with pytest.raises(PictureError) as caught:
        open_picture(source)
    assert caught.value.cause.endswith(".") and caught.value.remedy.endswith(".")
    return caught.value.reason


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def frames(*pictures: np.ndarray, form: str = "TIFF", **options: object) -> bytes:
    """Return a file with a page or a frame for each picture."""
    first, *others = map(Image.fromarray, pictures)
    stream = io.BytesIO()
    first.save(stream, form, save_all=True, append_images=others, **options)
    return stream.getvalue()


def tiff(*digits: str) -> bytes:
    return frames(*(drawn(digit) for digit in digits))


def shows(page: np.ndarray | PictureError, digit: str) -> bool:
    return isinstance(page, np.ndarray) and distance(page * 255, drawn(digit)) < 1


def test_bad_bytes_have_a_reason() -> None:
    bomb = PngImagePlugin.PngInfo()
    bomb.add_text("Comment", "a" * 80_000_000, zip=True)
    for data, reason in [
        (b"", "empty_file"),
        (b"hello there, this is text", "not_an_image"),
        (b"\0" * 100, "not_an_image"),
        (b"<!DOCTYPE html><html>404</html>", "not_an_image"),
        (png(0, 10), "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (b"<?xml version='1.0'?>\n<!-- drawn --><svg/>", "unsupported_format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "corrupt"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "corrupt"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", "unsupported_format"),
        (b"8BPS\0\1", "unsupported_format"),
        (encoded(Image.new("L", (32, 32)), "ICO"), "unsupported_format"),
        (encoded(Image.new("L", (32, 32)), "EPS"), "unsupported_format"),
        (encoded(Image.new("L", (9, 9)), "PNG", pnginfo=bomb), "corrupt"),
        (encoded(drawn(), "JPEG")[:1200], "truncated"),
        (flipped(NOISY, 1000), "corrupt"),
        (png(100, 100, b"not zlib at all"), "corrupt"),
        (png(100_000, 100_000), "too_large"),
        (png(11_000, 11_000), "too_large"),
        (png(0x7FFFFFFF, 0x7FFFFFFF), "too_large"),
        (png(0xFFFFFFFF, 0xFFFFFFFF), "too_large"),
    ]:
        assert reason_of(data) == reason, data[:30]
    with pytest.raises(PictureError, match="web page"):
        open_picture(b"  <html></html>")


def test_a_picture_cut_off_anywhere_is_truncated() -> None:
    for form in ("WEBP", "TIFF", "PNG", "JPEG", "GIF"):
        whole = encoded(NOISE, form, **({"compression": "tiff_lzw"} if form == "TIFF" else {}))
        for length in (20, 100, len(whole) // 2, len(whole) - 30):
            assert reason_of(whole[:length]) == "truncated", (form, length)


def test_the_pixel_limit_is_checked_before_decoding() -> None:
    with pytest.raises(PictureError) as caught:
        open_picture(png(40, 40, b"undecodable"), max_pixels=1599)
    assert caught.value.reason == "too_large"
    assert open_picture(encoded(drawn(side_px=40)), max_pixels=1600).shape == (40, 40)


def test_bad_paths_have_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert reason_of(tmp_path / "empty.png") == "empty_file"
    for name in (
        "loop.png",
        "dangling.png",
        "missing.png",
        "empty.png/below.png",
        "x" * 5000,
        "nul\0byte.png",
    ):
        assert reason_of(tmp_path / name) == "not_found", name[:20]
    for path in (tmp_path, tmp_path / "pipe.png", Path("/dev/null")):
        assert reason_of(path) == "not_regular_file", path
    strange = tmp_path / os.fsdecode(b"[red]\n\xff.png")
    strange.write_bytes(encoded(drawn(), "JPEG"))
    assert open_picture(strange).shape == (120, 120)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert reason_of(strange) == "permission"


def test_a_disk_that_fails_during_reading_is_one_bad_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (errno.EIO, errno.ESTALE, errno.EINVAL):

        class Failing(io.BytesIO):
            def read(self, size: int | None = -1, number: int = number) -> bytes:
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(opening, "_open_source", lambda *_, made=Failing: made(encoded(drawn())))
        [(page, error)] = open_pages(Path("bad.png"))
        assert page is None and isinstance(error, PictureError) and error.reason == "corrupt"
        assert os.strerror(number) in error.cause


def test_damaged_exif_is_ignored() -> None:
    for orientation in (0, 99, 65535):
        data = encoded(drawn(), "PNG", exif=exif_of(orientation))
        assert np.allclose(open_picture(data), drawn() / 255), orientation
    data = encoded(drawn(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff rubbish")
    assert open_picture(data).shape == (120, 120)


def check_pages(content: bytes) -> None:
    pages = list(open_pages(content, max_pixels=1_000_000))
    assert pages
    for _, page in pages:
        if isinstance(page, PictureError):
            assert page.reason in REASONS and page.cause and page.remedy
        else:
            assert page.dtype == np.float32 and page.ndim == 2 and page.size <= 1_000_000
            assert page.min() >= 0 and page.max() <= 1


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "HEIF"])
def test_damaged_pictures_raise_only_picture_errors(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(7)
    whole = encoded(drawn(side_px=48), form)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for trial in range(120):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), trial % 4 + 1):
                data[at] = rng.integers(0, 256)
            cut = int(rng.integers(1, len(data))) if trial % 2 else len(data)
            check_pages(bytes(data[:cut]))
        for start in (b"", whole[:8], b"%PDF-1.7\n"):
            check_pages(start + rng.bytes(80))
    assert capfd.readouterr().out == ""


def test_pages_of_a_tiff_are_numbered_and_read_lazily_and_files_are_closed(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(tiff("3", "6", "9"))
    (tmp_path / "bad.png").write_bytes(NOISY[:1500])
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for source in (tmp_path / "scan.tif", tiff("3", "6", "9")):
        pages = list(open_pages(source))
        assert [number for number, _ in pages] == [1, 2, 3]
        assert all(shows(page, digit) for (_, page), digit in zip(pages, "369", strict=True))
        assert all(page.dtype == np.float32 and page.flags["C_CONTIGUOUS"] for _, page in pages)
    lazy = open_pages(tmp_path / "scan.tif")
    next(lazy)
    lazy.close()
    for _ in range(9):
        reason_of(tmp_path / "bad.png")
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_a_single_page_and_an_animation_have_no_number() -> None:
    for form in ("TIFF", "PNG", "JPEG", "GIF"):
        data = encoded(drawn("3"), form, **({"quality": 100} if form == "JPEG" else {}))
        ((number, page),) = open_pages(data)
        assert number is None and shows(page, "3"), form
    for form in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if form == "WEBP" else {}
        data = frames(*(drawn(digit) for digit in "579"), form=form, duration=50, **options)
        ((number, page),) = open_pages(data)
        assert number is None and shows(page, "5"), form
    for source in (b"", b"text", Path("missing.png")):
        ((number, page),) = open_pages(source)
        assert number is None and isinstance(page, PictureError)


def test_thumbnails_and_endless_pages_of_a_tiff_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    small, first, second = (
        Image.fromarray(drawn(digit, side)) for digit, side in (("3", 40), ("3", 120), ("6", 120))
    )
    small.encoderinfo, second.encoderinfo = {"tiffinfo": {254: 1}}, {}
    stream = io.BytesIO()
    first.save(stream, "TIFF", save_all=True, append_images=[small, second])
    pages = list(open_pages(stream.getvalue()))
    assert [number for number, _ in pages] == [1, 2]
    assert shows(pages[0][1], "3") and shows(pages[1][1], "6")
    monkeypatch.setattr(opening, "MAX_PAGES", 2)
    assert [number for number, _ in open_pages(tiff("3", "6"))] == [1, 2]
    ((number, page),) = open_pages(tiff("3", "6", "9"))
    assert number is None and isinstance(page, PictureError) and page.reason == "too_large"


def test_a_broken_page_is_an_error_and_the_others_are_read() -> None:
    whole = frames(*(drawn(digit) for digit in "369"), compression="tiff_deflate")
    with Image.open(io.BytesIO(whole)) as image:
        image.seek(1)
        offset = image.tag_v2[273][0]
    (_, first), (number, second), (_, third) = open_pages(
        whole[:offset] + b"\xff" * 20 + whole[offset + 20 :]
    )
    assert shows(first, "3") and shows(third, "9")
    assert number == 2 and isinstance(second, PictureError) and second.reason in REASONS
    assert "page 2" in str(second)
    large = frames(drawn("3", 40), drawn("6", 120), drawn("3", 40))
    pages = [page for _, page in open_pages(large, max_pixels=1600)]
    assert [isinstance(page, PictureError) for page in pages] == [False, True, False]
    noise = np.random.default_rng(0).integers(0, 256, (4, 90, 90), np.uint8)
    for compression in (None, "tiff_lzw", "tiff_deflate", "jpeg"):
        whole = frames(*noise, compression=compression)
        for share in (0.3, 0.6, 0.9):
            *_, (_, last) = open_pages(whole[: int(share * len(whole))])
            assert isinstance(last, PictureError) and last.reason == "truncated", (compression, share)


def test_many_threads_show_no_warning_and_leave_the_filters_as_they_were() -> None:
    warned_of = png(10_000, 9_000)
    files = [warned_of, encoded(drawn("3"), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff"), b"", tiff("3", "6")]
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(warned_of)).close()
        assert shown, "it should be a picture that Pillow warns of"
        shown.clear()
        before, show = list(warnings.filters), warnings.showwarning
        with ThreadPoolExecutor(8) as pool:
            pages = list(pool.map(lambda number: len(list(open_pages(files[number % 4]))), range(200)))
        assert pages == [1, 1, 1, 2] * 50
        assert shown == []
        assert warnings.filters == before and warnings.showwarning is show
        warnings.warn("still heard", stacklevel=1)
        assert len(shown) == 1


def test_arrays_of_every_kind_are_the_same_picture_and_are_not_changed() -> None:
    three = drawn("3")
    for pixels in (
        three,
        np.dstack([three] * 3),
        np.dstack([*[three] * 3, np.full((120, 120), 255, np.uint8)]),
        three.astype(np.uint16) * 257,
        (three.astype(np.uint16) * 257).astype(">u2"),
        three.astype(np.int32),
        three.astype(np.int64),
        grey_of(three).astype(np.float16),
        grey_of(three),
        grey_of(three).astype(np.float64),
        np.ascontiguousarray(three.T).T,
        np.ascontiguousarray(three[:, ::-1])[:, ::-1],
    ):
        before = pixels.copy()
        grey = grey_from_array(pixels)
        assert grey.dtype == np.float32 and grey.flags["C_CONTIGUOUS"]
        np.testing.assert_allclose(grey, grey_of(three), atol=0.005)
        assert np.array_equal(pixels, before)
    assert np.array_equal(grey_from_array(three > 128), (three > 128).astype(np.float32))


def test_an_array_that_is_not_a_picture_is_an_error() -> None:
    shapes = ((9, 9, 1), (9, 9, 2), (9, 9, 5), (2, 9, 9, 3), (9,), (0, 9))
    for pixels in (
        *(np.zeros(shape, np.uint8) for shape in shapes),
        *(np.zeros((9, 9), kind) for kind in (complex, np.int8, "M8[s]")),
        *(np.full((9, 9), level) for level in (2.0, -0.1, np.nan)),
        np.where(np.eye(9) > 0, np.inf, 0.5),
        np.zeros((9, 9, 3)),
        np.zeros((9, 9, 3), np.uint16),
        np.array([["a", "b"]]),
        np.array([[None, 1]]),
        np.array(0.5),
        np.zeros((9, 0)),
    ):
        with pytest.raises(PictureError) as caught:
            grey_from_array(pixels)
        assert caught.value.reason == "not_an_image" and str(pixels.shape) in caught.value.cause


def test_opened_images_are_read_at_their_current_frame_and_upright() -> None:
    turned = encoded(WIDE.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif_of(6))
    with Image.open(io.BytesIO(turned)) as image:
        assert np.abs(grey_from_image(image) - np.asarray(WIDE) / 255).mean() < 0.01
    with Image.open(io.BytesIO(tiff("3", "6"))) as image:
        image.seek(1)
        assert shows(grey_from_image(image), "6")
    assert shows(grey_from_image(Image.fromarray(drawn("3"))), "3")
    with Image.open(io.BytesIO(NOISY[:2000])) as image, pytest.raises(PictureError) as caught:
        grey_from_image(image)
    assert caught.value.reason == "truncated"
    with pytest.raises(PictureError, match="no pixels"):
        grey_from_image(Image.new("L", (0, 0)))


def test_photographs_of_telephones_are_read_upright() -> None:
    for form in ("AVIF", "HEIF"):
        exif = exif_of(6).tobytes()
        turned = encoded(WIDE.transpose(Image.Transpose.ROTATE_90), form, exif=exif)
        assert np.abs(open_picture(turned) - np.asarray(WIDE) / 255).mean() < 0.02, form
    pictures = drawn("3"), drawn("6")
    data = frames(*pictures, form="HEIF", primary_index=1, quality=-1)
    ((number, page),) = open_pages(data)
    assert number is None and shows(page, "6")


def test_heif_without_its_package_names_it_and_avif_needs_none(tmp_path: Path) -> None:
    avif = encoded(drawn(), "AVIF", quality=100)
    (tmp_path / "a.avif").write_bytes(avif[:8] + b"mif1" + avif[12:])  # under any brand
    (tmp_path / "a.heic").write_bytes(encoded(drawn(), "HEIF"))
    code = (
        "sys.modules['pillow_heif'] = None\n"
        "from pathlib import Path\n"
        "from digitcli.imaging.opening import open_pages\n"
        f"[(_, page)] = open_pages(Path({str(tmp_path / 'a.avif')!r}))\n"
        f"[(_, error)] = open_pages(Path({str(tmp_path / 'a.heic')!r}))\n"
        "assert page.shape == (120, 120) and error.reason == 'unsupported_format'\n"
        "assert error.remedy == 'Install it with: pip install pillow-heif'"
    )
    assert "digitcli.imaging.opening" in modules_loaded_by(code)
