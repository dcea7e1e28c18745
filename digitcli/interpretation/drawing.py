"""Draw explanations: captioned pictures, and files of them."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from digitcli.atomic_write import write_whole
from digitcli.interpretation.explanation import Attribution, Change, Explanation, Layer

# Red speaks for the digit and blue against it, as in most drawings of attributions.
FOR, AGAINST = np.array([1.0, 0.25, 0.2]), np.array([0.25, 0.55, 1.0])
# Brightness of the ink below an attribution.
INK = 0.3
# Percentile of the absolute values that has full colour: single pixels must not make all others pale.
FULL_COLOUR = 99.5
# Layout of a file: pictures in a row; and in pixels the side of a picture, a gap, a caption, its font, a row.
PER_ROW = 8
SIDE_PX, GAP_PX, CAPTION_PX, FONT_PX = 168, 12, 20, 13
ROW_PX = CAPTION_PX + SIDE_PX + GAP_PX
# Methods whose names are too long for a caption.
SHORT_NAMES = {"integrated-gradients": "integrated grad."}
# Share that is too small to be told from none.
LEAST_SHARE = 0.0001
LEGEND = "Red speaks for the digit, or is added ink; blue speaks against it, or is erased ink."
PAPER, TEXT = "#ffffff", "#222222"

Rgb = npt.NDArray[np.uint8]  # H, W, 3


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture, uint8 (H, W, 3), and one line that says what it shows."""

    pixels: Rgb
    caption: str


def pictures_of(explanation: Explanation) -> list[CaptionedPicture]:
    """Return the pictures of an explanation: the digit, its attributions, and the nearest digits."""
    caption = f"read as {explanation.digit}" if explanation.optimal is None else "mean"
    digit = CaptionedPicture(_grey(explanation.image), caption)
    attributions = [
        CaptionedPicture(_overlay(explanation.image, each), _caption(each))
        for each in explanation.attributions
    ]
    neighbours = [
        CaptionedPicture(_grey(each.image), f"a {each.label}, #{each.index}: {each.distance:.2f}")
        for each in explanation.neighbours
    ]
    changes = [
        CaptionedPicture(_difference(explanation.image, each), _caption_of_change(each))
        for each in explanation.changes
    ]
    layers = [picture for layer in explanation.layers for picture in _pictures_of_layer(layer, explanation)]
    optimal = [] if explanation.optimal is None else [CaptionedPicture(_grey(explanation.optimal), "optimal")]
    return [digit, *attributions, *optimal, *changes, *neighbours, *layers]


def title_of(explanation: Explanation) -> str:
    """Return one line with the answer and the runner-up."""
    answer, other = (
        f"{digit} with {_percent(explanation.probabilities[digit])}"
        for digit in (explanation.digit, explanation.runner_up)
    )
    name = "".join(character if character.isprintable() else "?" for character in explanation.file)
    if explanation.optimal is not None:
        return f"{name}: the optimal input is read as {answer}"
    return f"{name}: {answer}, then {other}"


def _percent(share: float) -> str:
    if share > 1 - LEAST_SHARE:
        return f"over {100 - 100 * LEAST_SHARE:.2f} %"
    return f"{100 * share:.2f} %" if share >= LEAST_SHARE else f"under {100 * LEAST_SHARE:.2f} %"


def _caption(attribution: Attribution) -> str:
    against = "" if attribution.against is None else f", not {attribution.against}"
    return f"{attribution.digit}{against}: {SHORT_NAMES.get(attribution.method, attribution.method)}"


def _grey(image: npt.NDArray[np.uint8]) -> Rgb:
    return np.repeat(image[:, :, None], 3, axis=2)


def _overlay(image: npt.NDArray[np.uint8], attribution: Attribution) -> Rgb:
    """Return the digit in dim grey, with the attribution in colours over it."""
    values = attribution.values / (np.percentile(np.abs(attribution.values), FULL_COLOUR) or 1.0)
    strength = np.clip(np.abs(values), 0, 1)[:, :, None]
    colour = np.where(values[:, :, None] >= 0, FOR, AGAINST)
    ink = INK * image[:, :, None] / 255
    return np.asarray(255 * (ink * (1 - strength) + colour * strength), np.uint8)


def _caption_of_change(change: Change) -> str:
    share = f"{100 * change.after:.0f} %"
    if change.kind == "counterfactual":
        return f"redrawn: {change.digit} with {share}"
    return f"noise of {change.largest:.2f}: {change.digit}, {share}"


def _difference(image: npt.NDArray[np.uint8], change: Change) -> Rgb:
    """Return a changed digit in grey, with added ink in red and erased ink in blue."""
    before, after = image[:, :, None] / 255, change.image[:, :, None] / 255
    kept = 0.6 * np.minimum(before, after)
    pixels = kept + FOR * np.maximum(after - before, 0) + AGAINST * np.maximum(before - after, 0)
    return np.asarray(255 * np.clip(pixels, 0, 1), np.uint8)


def _pictures_of_layer(layer: Layer, explanation: Explanation) -> list[CaptionedPicture]:
    """Return a mosaic of the maps of a layer; a picture of each map if it is the only layer."""
    shape = "x".join(map(str, layer.maps.shape))
    if len(explanation.layers) > 1 or layer.kind == "filters":
        return [CaptionedPicture(_mosaic(layer), f"{layer.name} {layer.kind} {shape}")]
    return [
        CaptionedPicture(
            _mosaic(replace(layer, maps=layer.maps[index : index + 1])), f"{layer.name}: map {index}"
        )
        for index in range(len(layer.maps))
    ]


def _mosaic(layer: Layer) -> Rgb:
    """Return all maps of a layer in a square mosaic: positive values in red, negative ones in blue."""
    count, height, width = layer.maps.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    mosaic = np.zeros((rows * (height + 1), columns * (width + 1)))
    for index, values in enumerate(layer.maps):
        row, column = divmod(index, columns)
        y, x = row * (height + 1), column * (width + 1)
        mosaic[y : y + height, x : x + width] = values
    mosaic = mosaic[:-1, :-1] / (np.percentile(np.abs(layer.maps), FULL_COLOUR) or 1.0)
    strength = np.clip(np.abs(mosaic), 0, 1)[:, :, None]
    return np.asarray(255 * strength * np.where(mosaic[:, :, None] >= 0, FOR, AGAINST), np.uint8)


def save_explanations(path: Path, explanations: Sequence[Explanation]) -> None:
    """Write explanations to a .png, .svg or .html file, or their arrays to an .npz file.

    Raises:
        OutputError: the file cannot be written.
    """
    draw = {".png": _png, ".svg": _svg, ".html": _html, ".npz": _npz}[path.suffix.lower()]
    write_whole(path, draw(explanations))


def _png(explanations: Sequence[Explanation]) -> bytes:
    canvas = Image.new("RGB", _size(explanations), PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_PX)
    for x, y, text in _titles(explanations):
        pen.text((x, y), text, TEXT, font)
    for x, y, picture in _placed(explanations):
        pen.text((x, y), picture.caption, TEXT, font)
        enlarged = Image.fromarray(picture.pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST)
        canvas.paste(enlarged, (x, y + CAPTION_PX))
    return _encoded(canvas)


def _svg(explanations: Sequence[Explanation]) -> bytes:
    width, height = _size(explanations)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape('; '.join(map(title_of, explanations)))}</title>",
        "<style>text{font:13px sans-serif;fill:#222}rect{fill:#fff}image{image-rendering:pixelated}"
        "@media(prefers-color-scheme:dark){text{fill:#ccc}rect{fill:#161616}}</style>",
        f'<rect width="{width}" height="{height}"/>',
    ]
    for x, y, text in _titles(explanations):
        parts.append(f'<text x="{x}" y="{y + FONT_PX}">{escape(text)}</text>')
    for x, y, picture in _placed(explanations):
        parts.append(f'<text x="{x}" y="{y + FONT_PX}">{escape(picture.caption)}</text>')
        parts.append(
            f'<image x="{x}" y="{y + CAPTION_PX}" width="{SIDE_PX}" height="{SIDE_PX}" '
            f'href="{data_url(picture.pixels)}"/>'
        )
    return "\n".join([*parts, "</svg>\n"]).encode()


def _html(explanations: Sequence[Explanation]) -> bytes:
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Explanations</title><body>\n'
    return head.encode() + _svg(explanations) + b"</body></html>\n"


def _npz(explanations: Sequence[Explanation]) -> bytes:
    """Return all arrays, by the number of the explanation and their names, for example `0/occlusion/4`."""
    buffer = io.BytesIO()
    arrays = {
        f"{number}/{name}": values
        for number, explanation in enumerate(explanations)
        for name, values in explanation.arrays().items()
    }
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _tops(explanations: Sequence[Explanation]) -> list[int]:
    """Return the y of each explanation, and the height of all."""
    tops = [GAP_PX]
    for explanation in explanations:
        rows = math.ceil(len(pictures_of(explanation)) / PER_ROW)
        tops.append(tops[-1] + CAPTION_PX + rows * ROW_PX + GAP_PX)
    return [*tops[:-1], tops[-1] + CAPTION_PX]


def _titles(explanations: Sequence[Explanation]) -> Iterator[tuple[int, int, str]]:
    """Yield the place, x and y, and the text of each title."""
    for top, explanation in zip(_tops(explanations), explanations, strict=False):
        yield GAP_PX, top, title_of(explanation)
    yield GAP_PX, _tops(explanations)[-1] - CAPTION_PX, LEGEND


def _placed(explanations: Sequence[Explanation]) -> Iterator[tuple[int, int, CaptionedPicture]]:
    """Yield each picture with the place of its caption, x and y; the picture is below."""
    for top, explanation in zip(_tops(explanations), explanations, strict=False):
        for index, picture in enumerate(pictures_of(explanation)):
            row, column = divmod(index, PER_ROW)
            yield GAP_PX + column * (SIDE_PX + GAP_PX), top + CAPTION_PX + row * ROW_PX, picture


def _size(explanations: Sequence[Explanation]) -> tuple[int, int]:
    columns = max(min(PER_ROW, len(pictures_of(explanation))) for explanation in explanations)
    return GAP_PX + columns * (SIDE_PX + GAP_PX), _tops(explanations)[-1]


def data_url(pixels: npt.NDArray[np.uint8]) -> str:
    """Return a picture, uint8 (H, W) or (H, W, 3), as a URL that holds it as a PNG."""
    return f"data:image/png;base64,{base64.b64encode(_encoded(Image.fromarray(pixels))).decode()}"


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
