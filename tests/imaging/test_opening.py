"""Pictures of every format are read upright, and every bad file raises a PictureError with its reason."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
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

pillow_heif.register_heif_opener()  # the tests write HEIF pictures with it; the package registers it itself
REASONS = {
    *("empty_file", "not_found", "permission", "not_regular_file", "not_an_image"),
    *("unsupported_format", "truncated", "corrupt", "too_large", "encrypted"),
}


def reason_of(source: Path | bytes) -> str:
    with pytest.raises(PictureError) as caught:
        open_picture(source)
    assert caught.value.cause.endswith(".") and caught.value.remedy.endswith(".")
    return caught.value.reason


def noisy_png() -> bytes:
    return encoded(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
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
        (noisy_png()[:2000], "truncated"),
        (noisy_png()[:20], "truncated"),
        (encoded(drawn(), "JPEG")[:1200], "truncated"),
        (flipped(noisy_png(), 1000), "corrupt"),
        (png(100, 100, b"not zlib at all"), "corrupt"),
        (png(100_000, 100_000), "too_large"),
        (png(11_000, 11_000), "too_large"),
        (png(0x7FFFFFFF, 0x7FFFFFFF), "too_large"),
        (png(0xFFFFFFFF, 0xFFFFFFFF), "too_large"),
    ],
)
def test_bad_bytes_have_a_reason(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


def test_a_web_page_under_the_name_of_a_picture_is_recognized() -> None:
    with pytest.raises(PictureError, match="web page"):
        open_picture(b"  <html></html>")


def test_icon_and_photoshop_plugins_are_not_tried() -> None:
    assert reason_of(encoded(Image.new("L", (32, 32)), "ICO")) == "unsupported_format"
    assert reason_of(encoded(Image.new("L", (32, 32)), "EPS")) == "unsupported_format"


def test_a_compressed_text_bomb_is_corrupt() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a" * 80_000_000, zip=True)
    assert reason_of(encoded(Image.new("L", (9, 9)), "PNG", pnginfo=text)) == "corrupt"


def test_the_pixel_limit_is_checked_before_decoding() -> None:
    with pytest.raises(PictureError) as caught:
        open_picture(png(40, 40, b"undecodable"), max_pixels=1599)
    assert caught.value.reason == "too_large"
    assert open_picture(encoded(drawn(side_px=40)), max_pixels=1600).shape == (40, 40)


def test_bad_paths_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert reason_of(tmp_path / "empty.png") == "empty_file"
    assert reason_of(tmp_path / "loop.png") == "not_found"
    assert reason_of(tmp_path / "dangling.png") == "not_found"
    assert reason_of(tmp_path / "missing.png") == "not_found"
    assert reason_of(tmp_path / "empty.png" / "below.png") == "not_found"
    assert reason_of(tmp_path / ("x" * 5000)) == "not_found"
    assert reason_of(Path("nul\0byte.png")) == "not_found"
    assert reason_of(tmp_path) == "not_regular_file"
    assert reason_of(tmp_path / "pipe.png") == "not_regular_file"
    assert reason_of(Path("/dev/null")) == "not_regular_file"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EINVAL])
def test_a_disk_that_fails_during_reading_is_one_bad_picture(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(opening, "_open_source", lambda source, name: Failing(encoded(drawn())))
    [(page, error)] = open_pages(Path("bad.png"))
    assert page is None and isinstance(error, PictureError) and error.reason == "corrupt"
    assert os.strerror(number) in error.cause


def test_a_file_without_permission_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(drawn()))

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert reason_of(path) == "permission"


def test_a_strange_file_name_and_a_wrong_suffix_are_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"[red]\n\xff.png")
    path.write_bytes(encoded(drawn(), "JPEG"))
    assert open_picture(path).shape == (120, 120)


@pytest.mark.parametrize("orientation", [0, 99, 65535])
def test_invalid_orientations_are_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.allclose(open_picture(encoded(drawn(), "PNG", exif=exif)), drawn() / 255)


def test_a_broken_exif_block_is_ignored() -> None:
    data = encoded(drawn(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff rubbish")
    assert open_picture(data).shape == (120, 120)


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
            try:
                grey = open_picture(bytes(data[:cut]), max_pixels=1_000_000)
            except PictureError as error:
                assert error.reason in REASONS
            else:
                assert grey.dtype == np.float32 and grey.ndim == 2
                assert grey.min() >= 0 and grey.max() <= 1
    assert capfd.readouterr().out == ""


def test_files_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(noisy_png()[:1500])
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        reason_of(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_only_the_first_frame_is_read() -> None:
    frames = [Image.fromarray(drawn(digit)) for digit in "57"]
    for form in ("GIF", "TIFF", "WEBP", "PNG"):
        stream = io.BytesIO()
        options = {"lossless": True} if form == "WEBP" else {}
        frames[0].save(stream, form, save_all=True, append_images=frames[1:], **options)
        assert np.abs(open_picture(stream.getvalue()) - drawn("5") / 255).mean() < 0.01


def tiff(*digits: str, **options: object) -> bytes:
    """A TIFF with a page for each digit."""
    first, *others = (Image.fromarray(drawn(digit)) for digit in digits)
    stream = io.BytesIO()
    first.save(stream, "TIFF", save_all=True, append_images=others, **options)
    return stream.getvalue()


def shows(page: np.ndarray | PictureError, digit: str) -> bool:
    return isinstance(page, np.ndarray) and distance(page * 255, drawn(digit)) < 1


def test_the_pages_of_a_tiff_are_numbered_from_one(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(tiff("3", "6", "9"))
    for source in (tmp_path / "scan.tif", tiff("3", "6", "9")):
        pages = list(open_pages(source))
        assert [number for number, _ in pages] == [1, 2, 3]
        assert all(shows(page, digit) for (_, page), digit in zip(pages, "369", strict=True))
        assert all(page.dtype == np.float32 and page.flags["C_CONTIGUOUS"] for _, page in pages)


def test_a_tiff_of_endless_pages_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_PAGES", 2)
    assert [number for number, _ in open_pages(tiff("3", "6"))] == [1, 2]
    ((number, page),) = open_pages(tiff("3", "6", "9"))
    assert number is None and isinstance(page, PictureError) and page.reason == "too_large"


@pytest.mark.parametrize("form", ["TIFF", "PNG", "JPEG", "GIF"])
def test_a_single_page_has_no_number(form: str) -> None:
    ((number, page),) = open_pages(encoded(drawn("3"), form, **({"quality": 100} if form == "JPEG" else {})))
    assert number is None and shows(page, "3")


def test_a_thumbnail_is_not_a_page() -> None:
    small, first, second = (
        Image.fromarray(drawn(digit, side)) for digit, side in (("3", 40), ("3", 120), ("6", 120))
    )
    small.encoderinfo = {"tiffinfo": {254: 1}}
    second.encoderinfo = {}
    stream = io.BytesIO()
    first.save(stream, "TIFF", save_all=True, append_images=[small, second])
    pages = list(open_pages(stream.getvalue()))
    assert [number for number, _ in pages] == [1, 2]
    assert shows(pages[0][1], "3") and shows(pages[1][1], "6")


def test_a_broken_page_is_an_error_and_the_others_are_read() -> None:
    whole = tiff("3", "6", "9", compression="tiff_deflate")
    with Image.open(io.BytesIO(whole)) as image:
        image.seek(1)
        offset = image.tag_v2[273][0]
    broken = whole[:offset] + b"\xff" * 20 + whole[offset + 20 :]
    (_, first), (number, second), (_, third) = open_pages(broken)
    assert shows(first, "3") and shows(third, "9")
    assert number == 2 and isinstance(second, PictureError) and second.reason in REASONS
    assert "page 2" in str(second)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "jpeg"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_pages_are_errors(compression: str | None, share: float) -> None:
    noise = [
        Image.fromarray(np.random.default_rng(page).integers(0, 256, (90, 90), np.uint8)) for page in range(4)
    ]
    stream = io.BytesIO()
    noise[0].save(stream, "TIFF", save_all=True, append_images=noise[1:], compression=compression)
    whole = stream.getvalue()
    *_, (_, last) = open_pages(whole[: int(share * len(whole))])
    assert isinstance(last, PictureError) and last.reason == "truncated"


@pytest.mark.parametrize("form", ["WEBP", "TIFF", "PNG", "JPEG", "GIF"])
def test_a_picture_cut_off_anywhere_is_truncated(form: str) -> None:
    options = {"compression": "tiff_lzw"} if form == "TIFF" else {}
    whole = encoded(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8), form, **options)
    for length in (20, 100, len(whole) // 2, len(whole) - 30):
        assert reason_of(whole[:length]) == "truncated", length


def test_a_page_with_too_many_pixels_is_an_error_and_the_others_are_read() -> None:
    small, large = Image.fromarray(drawn("3", 40)), Image.fromarray(drawn("6", 120))
    stream = io.BytesIO()
    small.save(stream, "TIFF", save_all=True, append_images=[large, small])
    pages = [page for _, page in open_pages(stream.getvalue(), max_pixels=1600)]
    assert [isinstance(page, PictureError) for page in pages] == [False, True, False]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_the_only_page(form: str) -> None:
    first, *others = (Image.fromarray(drawn(digit)) for digit in "579")
    stream = io.BytesIO()
    options = {"lossless": True} if form == "WEBP" else {}
    first.save(stream, form, save_all=True, append_images=others, duration=50, **options)
    ((number, page),) = open_pages(stream.getvalue())
    assert number is None and shows(page, "5")


def test_a_bad_file_is_one_page_with_its_error(tmp_path: Path) -> None:
    for source in (b"", b"text", tmp_path / "missing.png"):
        ((number, page),) = open_pages(source)
        assert number is None and isinstance(page, PictureError)


def test_pages_are_read_lazily_and_the_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(tiff("3", "6", "9"))
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    pages = open_pages(tmp_path / "scan.tif")
    next(pages)
    pages.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


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


ARRAYS = {
    "uint8": drawn("3"),
    "RGB": np.dstack([drawn("3")] * 3),
    "RGBA": np.dstack([*[drawn("3")] * 3, np.full((120, 120), 255, np.uint8)]),
    "uint16": drawn("3").astype(np.uint16) * 257,
    "big-endian": (drawn("3").astype(np.uint16) * 257).astype(">u2"),
    "int32": drawn("3").astype(np.int32),
    "float16": grey_of(drawn("3")).astype(np.float16),
    "float32": grey_of(drawn("3")),
    "float64": grey_of(drawn("3")).astype(np.float64),
    "turned": np.ascontiguousarray(drawn("3").T).T,
    "mirrored twice": np.ascontiguousarray(drawn("3")[:, ::-1])[:, ::-1],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_kind_are_the_same_picture(name: str) -> None:
    grey = grey_from_array(ARRAYS[name])
    assert grey.dtype == np.float32 and grey.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(grey, grey_of(drawn("3")), atol=0.005)


def test_an_array_of_booleans_is_a_picture() -> None:
    grey = grey_from_array(drawn("3") > 128)
    assert np.array_equal(grey, (drawn("3") > 128).astype(np.float32))


def test_an_array_is_not_changed() -> None:
    pixels = grey_of(drawn("3"))
    before = pixels.copy()
    grey_from_array(pixels)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((9, 9), 2.0),
        np.full((9, 9), -0.1),
        np.full((9, 9), np.nan),
        np.where(np.eye(9) > 0, np.inf, 0.5),
        np.zeros((9, 9, 3)),
        np.array([["a", "b"]]),
        np.array([[None, 1]]),
        np.zeros((9, 9), complex),
        np.zeros((9, 9), np.int8),
        np.zeros((9, 9), "M8[s]"),
        np.zeros(9, np.uint8),
        np.array(0.5),
        np.zeros((0, 9), np.uint8),
        np.zeros((9, 0)),
        np.zeros((9, 9, 1), np.uint8),
        np.zeros((9, 9, 2), np.uint8),
        np.zeros((9, 9, 5), np.uint8),
        np.zeros((2, 9, 9, 3), np.uint8),
        np.zeros((9, 9, 3), np.uint16),
    ],
    ids=lambda pixels: f"{pixels.dtype} {pixels.shape}",
)
def test_an_array_that_is_not_a_picture_is_an_error(pixels: np.ndarray) -> None:
    with pytest.raises(PictureError) as caught:
        grey_from_array(pixels)
    assert caught.value.reason == "not_an_image"
    assert str(pixels.shape) in caught.value.cause


def test_an_opened_image_is_turned_upright() -> None:
    wide = Image.fromarray(drawn("3")).crop((10, 0, 110, 120))
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(
        io.BytesIO(encoded(wide.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif))
    ) as image:
        grey = grey_from_image(image)
    assert np.abs(grey - np.asarray(wide) / 255).mean() < 0.01


def test_the_current_frame_of_an_opened_image_is_read() -> None:
    with Image.open(io.BytesIO(tiff("3", "6"))) as image:
        image.seek(1)
        assert shows(grey_from_image(image), "6")


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_photographs_of_telephones_are_read_upright(form: str) -> None:
    wide = Image.fromarray(drawn("3")).crop((10, 0, 110, 120))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(wide.transpose(Image.Transpose.ROTATE_90), form, exif=exif.tobytes())
    assert np.abs(open_picture(turned) - np.asarray(wide) / 255).mean() < 0.02


def test_avif_is_read_without_an_extra_package_under_any_brand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = encoded(drawn(), "AVIF", quality=100)
    renamed = data[:8] + b"mif1" + data[12:]
    assert np.abs(open_picture(renamed) - drawn() / 255).mean() < 0.02


def test_the_primary_picture_of_several_in_a_heif_file_is_read() -> None:
    pictures = [Image.fromarray(drawn(digit)) for digit in "36"]
    data = encoded(
        pictures[0], "HEIF", save_all=True, append_images=pictures[1:], primary_index=1, quality=-1
    )
    ((number, page),) = open_pages(data)
    assert number is None and shows(page, "6")


def test_heif_without_its_package_names_the_package_to_install() -> None:
    data = encoded(drawn(), "HEIF")
    script = (
        "import sys\n"
        "sys.modules['pillow_heif'] = None\n"
        "from digitcli.imaging.opening import open_pages\n"
        "[(_, error)] = open_pages(sys.stdin.buffer.read())\n"
        "print(error.reason, error.remedy)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "unsupported_format Install it with: pip install pillow-heif"


def test_an_image_made_in_memory_is_read() -> None:
    assert shows(grey_from_image(Image.fromarray(drawn("3"))), "3")


def test_an_image_that_breaks_while_it_is_decoded_is_an_error() -> None:
    with Image.open(io.BytesIO(noisy_png()[:2000])) as image, pytest.raises(PictureError) as caught:
        grey_from_image(image)
    assert caught.value.reason == "truncated"


def test_whole_numbers_of_64_bits_are_taken_as_8_bits() -> None:
    np.testing.assert_array_equal(grey_from_array(drawn().astype(np.int64)), grey_from_array(drawn()))


def test_an_image_without_pixels_is_an_error() -> None:
    with pytest.raises(PictureError, match="no pixels"):
        grey_from_image(Image.new("L", (0, 0)))
