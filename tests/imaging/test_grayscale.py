"""The same digit in every encoding gives the same image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from digitcli.imaging.digits import digit_from_picture
from digitcli.imaging.opening import open_picture
from tests.support.pictures import distance, drawn, encoded

GREY = drawn()
PAPER = Image.fromarray(GREY)
INK = Image.fromarray(255 - GREY)
EXACT, NEAR = 1.0, 5.0  # mean difference in grey levels; lossy and 1-bit encodings are near


def _merged(mode: str, *bands: Image.Image) -> Image.Image:
    return Image.merge(mode, bands)


def _flat(level: int) -> Image.Image:
    return Image.new("L", PAPER.size, level)


def _with_trns() -> bytes:
    index = Image.fromarray((GREY < 128).astype(np.uint8)).convert("P")
    index.putpalette([0, 0, 0] * 256)
    return encoded(index, transparency=bytes([0, 255]))


def _floats(scale: float, *, holes: bool = False) -> bytes:
    values = GREY.astype(np.float32) * np.float32(scale)
    if holes:
        values[:3] = np.nan
        values[3, :] = np.inf
    return encoded(Image.fromarray(values), "TIFF")


ENCODINGS: dict[str, tuple[Callable[[], bytes], float]] = {
    "L": (lambda: encoded(PAPER), EXACT),
    "RGB": (lambda: encoded(PAPER.convert("RGB")), EXACT),
    "RGB jpeg": (lambda: encoded(PAPER.convert("RGB"), "JPEG", quality=95), NEAR),
    "L jpeg": (lambda: encoded(PAPER, "JPEG", quality=95), NEAR),
    "CMYK jpeg": (lambda: encoded(PAPER.convert("RGB").convert("CMYK"), "JPEG", quality=95), NEAR),
    "CMYK tiff": (lambda: encoded(PAPER.convert("RGB").convert("CMYK"), "TIFF"), EXACT),
    "LAB tiff": (lambda: encoded(_merged("LAB", PAPER, _flat(128), _flat(128)), "TIFF"), EXACT),
    "YCbCr tiff": (lambda: encoded(PAPER.convert("RGB").convert("YCbCr"), "TIFF"), NEAR),
    "1": (lambda: encoded(PAPER.convert("1", dither=Image.Dither.NONE)), NEAR),
    "group 4 fax": (
        lambda: encoded(PAPER.convert("1", dither=Image.Dither.NONE), "TIFF", compression="group4"),
        NEAR,
    ),
    "P": (lambda: encoded(PAPER.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)), EXACT),
    "gif": (lambda: encoded(PAPER, "GIF"), EXACT),
    "bmp": (lambda: encoded(PAPER.convert("RGB"), "BMP"), EXACT),
    "ppm": (lambda: encoded(PAPER, "PPM"), EXACT),
    "webp": (lambda: encoded(PAPER.convert("RGB"), "WEBP", quality=95), NEAR),
    "I;16": (lambda: encoded(Image.fromarray(GREY.astype(np.uint16) * 257)), EXACT),
    "I;16 of 12 bits": (lambda: encoded(Image.fromarray(GREY.astype(np.uint16) * 16)), EXACT),
    "I;16B": (lambda: encoded(Image.fromarray((GREY.astype(np.uint16) * 257).astype(">u2")), "TIFF"), EXACT),
    "I": (lambda: encoded(Image.fromarray(GREY.astype(np.int32) * 1000), "TIFF"), EXACT),
    "I negative": (lambda: encoded(Image.fromarray(GREY.astype(np.int32) * 9 - 900), "TIFF"), EXACT),
    "F to 1": (lambda: _floats(1 / 255), EXACT),
    "F to 255": (lambda: _floats(1), EXACT),
    "F to 1e6": (lambda: _floats(4000), EXACT),
    "F with NaN": (lambda: _floats(1 / 255, holes=True), EXACT),
    "RGBA opaque": (lambda: encoded(PAPER.convert("RGBA")), EXACT),
    "RGBA dark ink": (lambda: encoded(_merged("RGBA", _flat(0), _flat(0), _flat(0), INK)), EXACT),
    "RGBA light ink": (lambda: encoded(_merged("RGBA", _flat(255), _flat(255), _flat(255), INK)), EXACT),
    "RGBA webp": (lambda: encoded(_merged("RGBA", _flat(0), _flat(0), _flat(0), INK), "WEBP"), NEAR),
    "LA dark ink": (lambda: encoded(_merged("LA", _flat(0), INK)), EXACT),
    "LA light ink": (lambda: encoded(_merged("LA", _flat(255), INK)), EXACT),
    "LA tiff": (lambda: encoded(_merged("LA", _flat(0), INK), "TIFF"), EXACT),
    "P with tRNS": (_with_trns, NEAR),
    "yellow on white": (lambda: encoded(_merged("RGB", _flat(255), _flat(255), PAPER)), EXACT),
    "inverted": (lambda: encoded(INK), EXACT),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_gives_the_same_digit(name: str) -> None:
    encode, tolerance = ENCODINGS[name]
    expected = digit_from_picture(encoded(PAPER))
    assert expected.max() == 255
    assert distance(digit_from_picture(encode()), expected) <= tolerance


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_undone(form: str, orientation: int) -> None:
    stored_as = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    wide = PAPER.crop((10, 0, 110, 120))
    stored = wide.transpose(stored_as[orientation]) if orientation > 1 else wide
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey = open_picture(encoded(stored, form, exif=exif))
    assert grey.shape == (120, 100)
    assert np.abs(grey - np.asarray(wide) / 255).mean() < 0.02


def test_a_transparent_margin_leaves_dark_ink_on_light_paper_readable() -> None:
    alpha = np.zeros((120, 120), np.uint8)
    alpha[10:110, 10:110] = 255
    picture = _merged("RGBA", PAPER, PAPER, PAPER, Image.fromarray(alpha))
    assert distance(digit_from_picture(encoded(picture)), digit_from_picture(encoded(PAPER))) <= EXACT


def test_a_picture_of_nan_alone_is_blank() -> None:
    assert (
        digit_from_picture(encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")).max() == 0
    )
