"""The pictures of explanations with their captions, and files of captioned pictures, or of the arrays."""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling

from digitcli.atomic_write import write_whole
from digitcli.errors import counted
from digitcli.interpretation.explanation import Attribution, Change, Explanation, Layer
from digitcli.templating import SHARED, template_environment

# Red speaks for the digit and blue against it, as in most drawings of attributions.
FOR, AGAINST = np.array([1.0, 0.25, 0.2]), np.array([0.25, 0.55, 1.0])
LEGEND = "Red speaks for the digit, or is added ink; blue speaks against it, or is erased ink."
# Brightness of the ink below an attribution.
INK = 0.3
# Percentile of the absolute values that has full colour: single pixels must not make all others pale.
FULL_COLOUR = 99.5
# Sizes in a file, in pixels: the side of the picture of a digit, the pixels for each of a strip, and the
# greatest width of a strip, which is that of eight digits in a row.
SIDE_PX, STRIP_SCALE, WIDEST_PX = 168, 4, 1428
# Height in pixels of the bar below a strip that marks the explained digit.
BAR_PX = 2
# Layout of a file, in pixels: a gap, a line of text, and its font.
GAP_PX, LINE_PX, FONT_PX = 12, 20, 13
UNBROKEN_PERCENT = "\N{NO-BREAK SPACE}%"  # not at the beginning of a line
LONG_WORD = 20  # characters of a word whose own width counts
TEXT_PX = 480  # least width, of which the texts above and below the pictures need about as much
# Share that is too small to be told from none.
LEAST_SHARE = 0.0001

Rgb = npt.NDArray[np.uint8]  # H, W, 3


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture, uint8 (H, W, 3), and what it shows.

    caption: what it shows, in words.
    size_px: its width and height in a file, in pixels.
    """

    pixels: Rgb
    caption: str
    size_px: tuple[int, int] = (SIDE_PX, SIDE_PX)


@dataclass(frozen=True)
class Section:
    """Pictures below a title; only HTML shows the notes."""

    title: str
    pictures: Sequence[CaptionedPicture]
    notes: Sequence[str] = ()


def pictures_of(explanation: Explanation) -> list[CaptionedPicture]:
    """Return the pictures of an explanation: the digit or the line, its attributions, and the rest.

    A bar below a line and its attributions marks the explained digit.
    """
    attributions = [
        CaptionedPicture(_overlay(explanation.ink, each), f"{each.meaning} ({each.method})")
        for each in explanation.attributions
    ]
    image, layers = in_colours(explanation.picture), map(_picture_of_layer, explanation.layers)
    if explanation.text is None:
        share = percent(explanation.probability(explanation.digit))
        changes = [
            each for change in explanation.changes for each in _pictures_of_change(explanation, change)
        ]
        neighbours = [
            CaptionedPicture(
                in_colours(each.image),
                f"training digit #{each.index}, a {each.label}, distance {each.distance:.2f}",
            )
            for each in explanation.neighbours
        ]
        digit = CaptionedPicture(image, f"read as {explanation.digit} with {share}")
        return [digit, *attributions, *changes, *neighbours, *layers]
    caption = f"read as {explanation.text}; the bar marks digit {explanation.position}"
    caption = caption if explanation.text else "no digit is read"
    bar = np.zeros((BAR_PX, image.shape[1], 3), np.uint8)
    bar[:, slice(*explanation.span)] = 255
    strips = [
        replace(strip, pixels=np.concatenate([strip.pixels, bar]))
        for strip in (CaptionedPicture(image, caption), *attributions)
    ]
    return [replace(picture, size_px=_size_of_strip(picture.pixels)) for picture in (*strips, *layers)]


def _size_of_strip(pixels: Rgb) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    scale = min(STRIP_SCALE, WIDEST_PX / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def printable(name: str) -> str:
    """Return the name of a file as a text that every drawing can hold; bytes of no encoding become `?`."""
    return "".join(character if character.isprintable() else "?" for character in name)


def title_of(explanation: Explanation) -> str:
    """Return one line with the answer and the runner-up."""
    name = printable(explanation.file)
    if explanation.digit is None:
        return f"{name}: no digit is read"
    answer, other = (
        f"{'no digit' if digit is None else digit} with {percent(explanation.probability(digit))}"
        for digit in (explanation.digit, explanation.runner_up)
    )
    if explanation.text is None:
        return f"{name}: {answer}, then {other}"
    place = f"digit {explanation.position} of {len(explanation.text)}"
    text = f"{explanation.text} with {percent(explanation.confidence)}"
    return f"{name}: {text}; {place}: {answer}, then {other}"


def percent(share: float) -> str:
    """Return a probability as a percentage that is never 0 or 100 %."""
    if share > 1 - LEAST_SHARE:
        return f"over {100 - 100 * LEAST_SHARE:.2f} %"
    return f"{100 * share:.2f} %" if share >= LEAST_SHARE else f"under {100 * LEAST_SHARE:.2f} %"


def in_colours(image: npt.NDArray[np.uint8]) -> Rgb:
    """Return a grey picture (H, W) as one of three equal colours (H, W, 3)."""
    return np.repeat(image[:, :, None], 3, axis=2)


def _overlay(image: npt.NDArray[np.uint8], attribution: Attribution) -> Rgb:
    """Return the digit in dim grey, with the attribution in colours over it."""
    strength, colour = _coloured(attribution.values, attribution.values)
    ink = INK * image[:, :, None] / 255
    return np.asarray(255 * (ink * (1 - strength) + colour * strength), np.uint8)


def _pictures_of_change(explanation: Explanation, change: Change) -> list[CaptionedPicture]:
    """Return the changed digit, and what was changed: added ink in red and erased ink in blue."""
    before, after = explanation.image[:, :, None] / 255, change.image[:, :, None] / 255
    kept = 0.6 * np.minimum(before, after)
    colours = kept + FOR * np.maximum(after - before, 0) + AGAINST * np.maximum(before - after, 0)
    ink = f"{change.added:.1f} pixels of ink added, {change.erased:.1f} erased"
    digit, shares = change.digit, f"{percent(change.before)} before, {percent(change.after)} after"
    return [
        CaptionedPicture(in_colours(change.image), f"now read as {digit} ({shares}; {ink})"),
        CaptionedPicture(np.asarray(255 * np.clip(colours, 0, 1), np.uint8), "the added and the erased ink"),
    ]


def _picture_of_layer(layer: Layer) -> CaptionedPicture:
    """Return a mosaic of the filters or maps of a layer: positive values in red, negative ones in blue.

    Full colour is the same for all maps of a layer, so that a map which hardly answers stays dark.
    """
    count, height, width = layer.maps.shape
    is_filter = layer.kind == "filters"
    size = f"{counted(count, 'filter' if is_filter else 'map')} of {height}x{width}"
    words = f"layer {layer.name}{'' if is_filter else f' ({layer.kind})'}: {size}"
    columns = math.ceil(math.sqrt(count))
    mosaic = np.zeros((math.ceil(count / columns) * (height + 1), columns * (width + 1)))
    for index, values in enumerate(layer.maps):
        y, x = (index // columns) * (height + 1), (index % columns) * (width + 1)
        mosaic[y : y + height, x : x + width] = values
    strength, colours = _coloured(mosaic[:-1, :-1], layer.maps)
    return CaptionedPicture(np.asarray(255 * strength * colours, np.uint8), words)


def _coloured(values: npt.NDArray[Any], scale: npt.NDArray[np.float32]) -> tuple[Any, npt.NDArray[Any]]:
    """Return the strength (H, W, 1) and the colour (H, W, 3) of values (H, W).

    scale: the values among which the largest, but for single ones, has full colour.
    """
    full = float(np.percentile(np.abs(scale), FULL_COLOUR)) or 1.0
    strength = np.clip(np.abs(values / full), 0, 1)
    return strength[:, :, None], np.where(values[:, :, None] >= 0, FOR, AGAINST)


def save_explanations(path: Path, explanations: Sequence[Explanation]) -> None:
    """Write explanations to a .png or .html file, or their arrays to an .npz file.

    The arrays have the number of the explanation and their names, for example `0/occlusion/4`.

    Raises:
        OutputError: the file cannot be written.
    """
    if path.suffix.lower() == ".npz":
        arrays = {
            f"{number}/{name}": values
            for number, explanation in enumerate(explanations)
            for name, values in explanation.arrays().items()
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return write_whole(path, buffer.getvalue())
    models = ", ".join(dict.fromkeys(explanation.model for explanation in explanations))
    sections = [Section(title_of(each), pictures_of(each), each.notes) for each in explanations]
    save_drawing(path, f"Explanations of {models}", sections, LEGEND)


def save_drawing(path: Path, heading: str, sections: Sequence[Section], legend: str) -> None:
    """Write sections of pictures, one below the other, to a .png or .html file.

    heading: what they are, which only HTML shows.
    legend: a sentence that explains the pictures.

    Raises:
        OutputError: the file cannot be written.
    """
    if path.suffix.lower() == ".png":
        return write_whole(path, _encoded(_sheet(sections, legend)))
    filters = {"data_url": data_url, "unbroken": lambda text: text.replace(" %", UNBROKEN_PERCENT)}
    template = template_environment(SHARED, filters, escape=True).get_template("pictures.html")
    write_whole(path, template.render(heading=heading, sections=sections, legend=legend).encode())


def _sheet(sections: Sequence[Section], legend: str) -> Image.Image:
    """Draw sections of pictures with their titles and captions, one below the other, and the legend below."""
    rows_of = [[_draw_row(row) for row in _rows_of(section.pictures)] for section in sections]
    width = max([TEXT_PX, *(row.width for rows in rows_of for row in rows)])
    gap, parts = Image.new("RGB", (width, GAP_PX), "#ffffff"), []
    for section, rows in zip(sections, rows_of, strict=True):
        parts += [gap, _draw_text(section.title, width - GAP_PX), *rows]
    parts += [gap, _draw_text(legend, width - GAP_PX), gap]
    sheet, y = Image.new("RGB", (width + GAP_PX, sum(part.height for part in parts)), "#ffffff"), 0
    for part in parts:
        sheet.paste(part, (GAP_PX, y))
        y += part.height
    return sheet


def _draw_row(pictures: Sequence[CaptionedPicture]) -> Image.Image:
    """Draw pictures side by side with their captions above, and a gap on their right and below."""
    captions = [_draw_text(picture.caption, max(SIDE_PX, picture.size_px[0])) for picture in pictures]
    top = max(caption.height for caption in captions)
    height = top + max(picture.size_px[1] for picture in pictures) + GAP_PX
    row, x = Image.new("RGB", (sum(each.width + GAP_PX for each in captions), height), "#ffffff"), 0
    for picture, caption in zip(pictures, captions, strict=True):
        row.paste(caption, (x, top - caption.height))
        row.paste(Image.fromarray(picture.pixels).resize(picture.size_px, Resampling.NEAREST), (x, top))
        x += caption.width + GAP_PX
    return row


def _draw_text(text: str, width: int) -> Image.Image:
    """Draw a text in lines of a width, by the mean width of a character or that of a long wide word."""
    font = ImageFont.load_default(FONT_PX)
    words = [text, *(word for word in text.split() if len(word) > LONG_WORD)]
    character_px = max(font.getlength(word) / len(word) for word in words)
    lines = textwrap.wrap(text.replace(" %", UNBROKEN_PERCENT), int(0.95 * width / character_px))
    drawn = Image.new("RGB", (width, LINE_PX * len(lines)), "#ffffff")
    for number, line in enumerate(lines):
        shown = line.replace(UNBROKEN_PERCENT, " %")
        ImageDraw.Draw(drawn).text((0, LINE_PX * number), shown, "#222222", font)
    return drawn


def _rows_of(pictures: Sequence[CaptionedPicture]) -> list[list[CaptionedPicture]]:
    """Divide pictures into rows that are as wide as `WIDEST_PX` at most, if a picture is not wider."""
    rows: list[list[CaptionedPicture]] = []
    width = 0
    for picture in pictures:
        if not rows or width + picture.size_px[0] > WIDEST_PX:
            rows.append([])
            width = 0
        rows[-1].append(picture)
        width += picture.size_px[0] + GAP_PX
    return rows


def data_url(pixels: npt.NDArray[np.uint8]) -> str:
    """Return a picture, uint8 (H, W) or (H, W, 3), as a URL that holds it as a PNG."""
    return f"data:image/png;base64,{base64.b64encode(_encoded(Image.fromarray(pixels))).decode()}"


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
