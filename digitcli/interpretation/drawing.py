"""The pictures of explanations with their captions, and files of captioned pictures, or of the arrays."""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

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
# Layout of a file, in pixels: a gap, a caption, and its font.
GAP_PX, CAPTION_PX, FONT_PX = 12, 20, 13
LONG_WORD = 20  # characters of a word whose own width counts
TEXT_PX = 480  # least width, of which the texts above and below the pictures need about as much
# Methods whose names are too long for a caption.
SHORT_NAMES = {"integrated-gradients": "integrated grad."}
# Share that is too small to be told from none.
LEAST_SHARE = 0.0001

Rgb = npt.NDArray[np.uint8]  # H, W, 3


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture, uint8 (H, W, 3), and what it shows.

    caption: one line that is about as wide as the picture of a digit, for drawings.
    description: the same in more words, for the terminal and for HTML.
    size_px: its width and height in a file, in pixels.
    """

    pixels: Rgb
    caption: str
    description: str
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
        CaptionedPicture(
            _overlay(explanation.ink, each),
            f"{each.meaning.partition(' for ')[2]}: {SHORT_NAMES.get(each.method, each.method)}",
            f"{each.meaning} ({each.method})",
        )
        for each in explanation.attributions
    ]
    image, layers = in_colours(explanation.picture), _pictures_of_layers(explanation.layers)
    if explanation.text is None:
        share = percent(explanation.probability(explanation.digit))
        read_as = f"read as {explanation.digit}"
        changes = [
            each for change in explanation.changes for each in _pictures_of_change(explanation, change)
        ]
        neighbours = [
            CaptionedPicture(
                in_colours(each.image),
                f"a {each.label}, #{each.index}: {each.distance:.2f}",
                f"training digit #{each.index}, a {each.label}, distance {each.distance:.2f}",
            )
            for each in explanation.neighbours
        ]
        digit = CaptionedPicture(image, read_as, f"{read_as} with {share}")
        return [digit, *attributions, *changes, *neighbours, *layers]
    caption = f"read as {explanation.text}; the bar marks digit {explanation.position}"
    caption = caption if explanation.text else "no digit is read"
    bar = np.zeros((BAR_PX, image.shape[1], 3), np.uint8)
    bar[:, slice(*explanation.span)] = 255
    strips = [
        replace(strip, pixels=np.concatenate([strip.pixels, bar]))
        for strip in (CaptionedPicture(image, caption, caption), *attributions)
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
    values = attribution.values / _full_colour(attribution.values)
    strength = np.clip(np.abs(values), 0, 1)[:, :, None]
    colour = np.where(values[:, :, None] >= 0, FOR, AGAINST)
    ink = INK * image[:, :, None] / 255
    return np.asarray(255 * (ink * (1 - strength) + colour * strength), np.uint8)


def _pictures_of_change(explanation: Explanation, change: Change) -> list[CaptionedPicture]:
    """Return the changed digit, and what was changed: added ink in red and erased ink in blue."""
    before, after = explanation.image[:, :, None] / 255, change.image[:, :, None] / 255
    kept = 0.6 * np.minimum(before, after)
    colours = kept + FOR * np.maximum(after - before, 0) + AGAINST * np.maximum(before - after, 0)
    ink = f"{change.added:.1f} pixels of ink added, {change.erased:.1f} erased"
    digit, shares = change.digit, f"{percent(change.before)} → {percent(change.after)}"
    return [
        CaptionedPicture(
            in_colours(change.image), f"now read as {digit}", f"now read as {digit} ({shares}; {ink})"
        ),
        CaptionedPicture(
            np.asarray(255 * np.clip(colours, 0, 1), np.uint8),
            f"redrawn: {digit} with {100 * change.after:.0f} %",
            "the added and the erased ink",
        ),
    ]


def _pictures_of_layers(layers: Sequence[Layer]) -> list[CaptionedPicture]:
    """Return a mosaic of the filters and of the maps of each layer.

    Full colour is the same for all maps of a layer, so that a map which hardly answers stays dark.
    """
    pictures = []
    for layer in layers:
        count, height, width = layer.maps.shape
        is_filter = layer.kind == "filters"
        size = f"{counted(count, 'filter' if is_filter else 'map')} of {height}x{width}"
        words = f"layer {layer.name}{'' if is_filter else f' ({layer.kind})'}: {size}"
        pictures.append(CaptionedPicture(_mosaic(layer.maps), f"{layer.name}: {size}", words))
    return pictures


def _full_colour(values: npt.NDArray[np.float32]) -> float:
    """Return the size of a value that has full colour."""
    return float(np.percentile(np.abs(values), FULL_COLOUR)) or 1.0


def _mosaic(maps: npt.NDArray[np.float32]) -> Rgb:
    """Return maps (N, H, W) in a square mosaic: positive values in red, negative ones in blue."""
    count, height, width = maps.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    mosaic = np.zeros((rows * (height + 1), columns * (width + 1)))
    for index, values in enumerate(maps):
        row, column = divmod(index, columns)
        y, x = row * (height + 1), column * (width + 1)
        mosaic[y : y + height, x : x + width] = values
    mosaic = mosaic[:-1, :-1] / _full_colour(maps)
    strength = np.clip(np.abs(mosaic), 0, 1)[:, :, None]
    return np.asarray(255 * strength * np.where(mosaic[:, :, None] >= 0, FOR, AGAINST), np.uint8)


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
    filters = {"data_url": data_url, "unbroken": lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")}
    template = template_environment(SHARED, filters, escape=True).get_template("pictures.html")
    write_whole(path, template.render(heading=heading, sections=sections, legend=legend).encode())


def _sheet(sections: Sequence[Section], legend: str) -> Image.Image:
    """Draw sections of pictures with their titles and captions, and the legend below."""
    rows_of = [_rows_of(section.pictures) for section in sections]
    widths = [sum(picture.size_px[0] + GAP_PX for picture in row) for rows in rows_of for row in rows]
    width = GAP_PX + max([TEXT_PX, *widths])
    titles = [_wrapped(text, width - 2 * GAP_PX) for text in (*(each.title for each in sections), legend)]
    heights = [
        CAPTION_PX * len(lines) + sum(_height_of(row) for row in rows) + GAP_PX
        for lines, rows in zip(titles, [*rows_of, []], strict=True)
    ]
    canvas = Image.new("RGB", (width, GAP_PX + sum(heights)), "#ffffff")
    pen, font, y = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_PX), GAP_PX
    for lines, rows in zip(titles, [*rows_of, []], strict=True):
        for line in lines:
            pen.text((GAP_PX, y), line, "#222222", font)
            y += CAPTION_PX
        for row in rows:
            x = GAP_PX
            for picture in row:
                pen.text((x, y), picture.caption, "#222222", font)
                enlarged = Image.fromarray(picture.pixels).resize(picture.size_px, Image.Resampling.NEAREST)
                canvas.paste(enlarged, (x, y + CAPTION_PX))
                x += picture.size_px[0] + GAP_PX
            y += _height_of(row)
        y += GAP_PX
    return canvas


def _height_of(row: Sequence[CaptionedPicture]) -> int:
    """Return the height of a row of pictures with their captions and the gap below, in pixels."""
    return CAPTION_PX + GAP_PX + max(picture.size_px[1] for picture in row)


def _wrapped(text: str, width_px: int) -> list[str]:
    """Divide a text into lines of a width, by the mean width of a character or that of a long wide word."""
    font = ImageFont.load_default(FONT_PX)
    parts = [text, *(word for word in text.split() if len(word) > LONG_WORD)]
    return textwrap.wrap(text, int(0.95 * width_px / max(font.getlength(part) / len(part) for part in parts)))


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
