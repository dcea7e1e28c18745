"""The same digit in every encoding gives the same image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from digitcli.imaging.binarization import find_ink
from digitcli.imaging.digits import digit_from_grey, digit_from_picture
from digitcli.imaging.opening import open_picture
from tests.support.pictures import distance, drawn, encoded
from tests.support.property_based import few_examples

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


def test_every_encoding_gives_the_same_digit() -> None:
    expected = digit_from_picture(encoded(PAPER))
    assert expected.max() == 255
    for name, (encode, tolerance) in ENCODINGS.items():
        assert distance(digit_from_picture(encode()), expected) <= tolerance, name
    alpha = np.zeros((120, 120), np.uint8)
    alpha[10:110, 10:110] = 255
    margin = _merged(
        "RGBA", PAPER, PAPER, PAPER, Image.fromarray(alpha)
    )  # dark ink on paper in a transparent one
    assert distance(digit_from_picture(encoded(margin)), expected) <= EXACT
    nothing = encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")
    assert digit_from_picture(nothing).max() == 0


def test_every_exif_orientation_is_undone() -> None:
    wide = PAPER.crop((10, 0, 110, 120))
    turn = Image.Transpose
    stored_as = [None, turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM]
    stored_as += [turn.TRANSPOSE, turn.ROTATE_90, turn.TRANSVERSE, turn.ROTATE_270]
    for form in ("JPEG", "PNG", "TIFF", "WEBP"):
        for orientation, stored in enumerate(stored_as, start=1):
            exif = Image.Exif()
            exif[0x0112] = orientation
            grey = open_picture(encoded(wide if stored is None else wide.transpose(stored), form, exif=exif))
            assert grey.shape == (120, 100), (form, orientation)
            assert np.abs(grey - np.asarray(wide) / 255).mean() < 0.02, (form, orientation)


pixels = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12))


@few_examples
@given(pixels, st.sampled_from(["PNG", "GIF", "TIFF", "BMP", "PPM"]))
def test_a_lossless_picture_gives_the_pixels_that_were_saved(saved: np.ndarray, form: str) -> None:
    np.testing.assert_allclose(open_picture(encoded(saved, form)), saved / np.float32(255), atol=1e-6)


@few_examples
@given(pixels)
def test_any_picture_has_ink_from_0_to_1_and_a_digit_of_28_by_28_pixels(saved: np.ndarray) -> None:
    ink = find_ink(saved.astype(np.float32) / 255)
    assert ink.shape == saved.shape and ink.min() >= 0 and ink.max() <= 1
    assert digit_from_grey(saved).shape == (28, 28)
