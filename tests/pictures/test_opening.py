"""Every bad file is a PictureError with its reason, and nothing else ever comes out."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from digitcli.errors import PictureError
from digitcli.pictures import open_picture
from tests.pictures.drawing import drawn, encoded

REASONS = {
    *("empty_file", "not_found", "permission", "not_regular_file", "not_an_image"),
    *("unsupported_format", "truncated", "corrupt", "too_large"),
}


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG of any stated size, whatever it holds."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def reason_of(source: Path | bytes) -> str:
    with pytest.raises(PictureError) as caught:
        open_picture(source)
    assert caught.value.cause.endswith(".") and caught.value.remedy.endswith(".")
    return caught.value.reason


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


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
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (b"<?xml version='1.0'?>\n<!-- drawn --><svg/>", "unsupported_format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported_format"),
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
def test_bad_bytes(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


def test_a_web_page_is_hinted_at() -> None:
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


def test_paths(tmp_path: Path) -> None:
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


def test_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_senseless_orientations_are_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.allclose(open_picture(encoded(drawn(), "PNG", exif=exif)), drawn() / 255)


def test_a_broken_exif_block_is_ignored() -> None:
    data = encoded(drawn(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff rubbish")
    assert open_picture(data).shape == (120, 120)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damage_raises_nothing_but_picture_errors(form: str, capfd: pytest.CaptureFixture[str]) -> None:
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
