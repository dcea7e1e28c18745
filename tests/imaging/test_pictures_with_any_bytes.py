"""The pages of a picture file are grey pixels or a PictureError, for any bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from digitcli.errors import PictureError
from digitcli.imaging.binarization import find_ink
from digitcli.imaging.digits import normalize_central_digit
from digitcli.imaging.opening import open_pages, open_picture
from tests.support.pictures import drawn, encoded
from tests.support.property_based import damaged, few_examples

REASONS = {"empty_file", "not_an_image", "unsupported_format", "truncated", "corrupt", "too_large"}
MAX_PIXELS = 100_000
WHOLE = {
    "PNG": encoded(drawn("5", 24)),
    "JPEG": encoded(drawn("5", 24), "JPEG"),
    "GIF": encoded(drawn("5", 24), "GIF"),
    "TIFF": encoded(drawn("5", 24), "TIFF", compression="tiff_lzw", save_all=True),
    "PPM": encoded(Image.fromarray(drawn("5", 24)).convert("RGB"), "PPM"),
}
pixels = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12))


def check_pages(content: bytes) -> None:
    pages = list(open_pages(content, max_pixels=MAX_PIXELS))
    assert pages
    for _, page in pages:
        if isinstance(page, PictureError):
            assert page.reason in REASONS and page.cause and page.remedy
        else:
            assert page.dtype == np.float32 and page.ndim == 2 and page.size <= MAX_PIXELS
            assert page.min() >= 0 and page.max() <= 1


@pytest.mark.parametrize("form", WHOLE)
def test_a_damaged_picture_gives_pages_or_picture_errors(form: str) -> None:
    @few_examples
    @given(damaged(WHOLE[form]))
    def check(content: bytes) -> None:
        check_pages(content)

    check()


@few_examples
@given(
    st.sampled_from([b"", *(whole[:8] for whole in WHOLE.values()), b"%PDF-1.7\n"]), st.binary(max_size=80)
)
def test_any_bytes_give_pages_or_picture_errors(start: bytes, rest: bytes) -> None:
    check_pages(start + rest)


@few_examples
@given(pixels, st.sampled_from(["PNG", "GIF", "TIFF", "BMP", "PPM"]))
def test_a_lossless_picture_gives_the_pixels_that_were_saved(saved: np.ndarray, form: str) -> None:
    np.testing.assert_allclose(open_picture(encoded(saved, form)), saved / np.float32(255), atol=1e-6)


@few_examples
@given(pixels)
def test_any_picture_has_ink_from_0_to_1_and_a_digit_of_28_by_28_pixels(saved: np.ndarray) -> None:
    ink = find_ink(saved.astype(np.float32) / 255)
    assert ink.shape == saved.shape and ink.min() >= 0 and ink.max() <= 1
    assert normalize_central_digit(ink).shape == (28, 28)
