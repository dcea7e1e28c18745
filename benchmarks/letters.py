"""Measure how often a single letter is taken for a digit: `python benchmarks/letters.py FONTS`.

FONTS are fonts that no model was trained on, for example those that `scripts/fetch_fonts.py` puts into
fonts/test. Every digit, and every letter that does not look like one, is drawn alone on a grey page with
noise and read by the pipeline of `digitcli predict`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from saved_rows import add_output, save_rows

from digitcli.recognition.reader import Reader
from digitcli.synthesis.letters import PRINTED_LETTERS, find_fonts

SIDE_PX, FONT_PX = 140, 64


def main() -> None:
    """Draw the pages, read them and print the shares of answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fonts", type=Path, help="the folder with the fonts")
    parser.add_argument("--model", "-m", action="append", default=[], help="as in digitcli predict")
    parser.add_argument(
        "--confidence",
        type=float,
        action="append",
        help="a confidence threshold (default: that of the models, and that of --max-error 0.01)",
    )
    add_output(parser)
    arguments = parser.parse_args()

    random = np.random.default_rng(0)
    files = find_fonts(arguments.fonts)
    pages = [(text, page(random, file, text)) for file in files for text in (*PRINTED_LETTERS, *"0123456789")]
    readings = list(Reader(*arguments.model, min_confidence=0).read_all(picture for _, picture in pages))
    is_digit = np.array([text.isdecimal() for text, _ in pages])
    correct = np.array([reading.text == text for reading, (text, _) in zip(readings, pages, strict=True)])
    confidences = np.array([(reading.confidence or 0) if reading.text else 0 for reading in readings])
    print(f"{len(files)} fonts, {(~is_digit).sum()} letters, {is_digit.sum()} digits")
    rows = {}
    thresholds = [Reader(*arguments.model, max_error=error).min_confidence for error in (None, 0.01)]
    for confidence in arguments.confidence or thresholds:
        answered = confidences >= confidence
        rows[str(confidence)] = {
            "letters": int((~is_digit).sum()),
            "answered": answered[~is_digit].mean(),
            "digits_right": (answered & correct)[is_digit].mean(),
        }
        print(
            f"threshold {confidence}: {answered[~is_digit].mean():.1%} of the letters answered, "
            f"{(answered & correct)[is_digit].mean():.1%} of the digits answered correctly and "
            f"{(answered & ~correct)[is_digit].mean():.1%} wrongly"
        )
    save_rows(arguments.output, rows)


def page(random: np.random.Generator, font: Path, text: str) -> np.ndarray:
    """Return a page with a character in its middle, uint8 (140, 140)."""
    image = Image.new("L", (SIDE_PX, SIDE_PX), int(random.integers(200, 250)))
    pen = ImageDraw.Draw(image)
    face = ImageFont.truetype(font, FONT_PX)
    left, top, right, bottom = pen.textbbox((0, 0), text, face)
    corner = (SIDE_PX - left - right) / 2, (SIDE_PX - top - bottom) / 2
    pen.text(corner, text, int(random.integers(10, 80)), face)
    soft = cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), 0.8)
    return np.clip(soft + random.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
