"""Draw captioned pictures in files, and write explanations to files: drawings, or their arrays."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from digitcli.atomic_write import write_whole
from digitcli.interpretation.line_explanation import AnyExplanation
from digitcli.interpretation.pictures import WIDEST_PX, CaptionedPicture, pictures_of, title_of

# Layout of a file, in pixels: a gap, a caption, and its font.
GAP_PX, CAPTION_PX, FONT_PX = 12, 20, 13
TEXT_PX = 480  # least width, of which the texts above and below the pictures need about as much
LEGEND = "Red speaks for the digit, or is added ink; blue speaks against it, or is erased ink."
PAPER, TEXT = "#ffffff", "#222222"
# The style of an HTML file. Pictures are as wide as the window at most.
STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 sans-serif;margin:2rem auto;max-width:92rem;padding:0 1rem}
h1{font-size:1.5rem}
h2{font-size:1.1rem}
div{display:flex;flex-wrap:wrap;gap:1rem}
figure{margin:0;max-width:100%}
img{width:100%;image-rendering:pixelated}
figcaption{font-size:.85rem}
"""


@dataclass(frozen=True)
class Section:
    """Pictures below a title; only HTML shows the notes."""

    title: str
    pictures: Sequence[CaptionedPicture]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Drawing:
    """Sections one below the other.

    heading: what they are, which only HTML shows.
    legend: a sentence that explains the pictures.
    """

    heading: str
    sections: Sequence[Section]
    legend: str

    @property
    def title(self) -> str:
        """The titles of all sections."""
        return "; ".join(section.title for section in self.sections)


@dataclass(frozen=True)
class _Page:
    """Where everything stands in a file, in pixels.

    texts: the x, the y and the text of each title.
    pictures: the x, the y and the picture; y is that of its caption, and the picture is below.
    """

    width: int
    height: int
    texts: list[tuple[int, int, str]]
    pictures: list[tuple[int, int, CaptionedPicture]]


def save_explanations(path: Path, explanations: Sequence[AnyExplanation]) -> None:
    """Write explanations to a .png, .svg or .html file, or their arrays to an .npz file.

    Raises:
        OutputError: the file cannot be written.
    """
    if path.suffix.lower() == ".npz":
        return write_whole(path, _npz(explanations))
    models = ", ".join(dict.fromkeys(explanation.model for explanation in explanations))
    sections = [Section(title_of(each), pictures_of(each), each.notes) for each in explanations]
    save_drawing(path, Drawing(f"Explanations of {models}", sections, LEGEND))


def save_drawing(path: Path, drawing: Drawing) -> None:
    """Write a drawing to a .png, .svg or .html file.

    Raises:
        OutputError: the file cannot be written.
    """
    draw = {".png": _png, ".svg": _svg, ".html": _html}[path.suffix.lower()]
    write_whole(path, draw(drawing))


def _lay_out(drawing: Drawing) -> _Page:
    """Place sections one below the other, the pictures of each in rows as in a text."""
    texts, pictures = [], []
    rows_of = [_rows_of(section.pictures) for section in drawing.sections]
    widths = [sum(picture.size_px[0] + GAP_PX for picture in row) for rows in rows_of for row in rows]
    width, y = GAP_PX + max([TEXT_PX, *widths]), GAP_PX

    def write(text: str) -> None:
        nonlocal y
        for line in _wrapped(text, width - 2 * GAP_PX):
            texts.append((GAP_PX, y, line))
            y += CAPTION_PX

    for section, rows in zip(drawing.sections, rows_of, strict=True):
        write(section.title)
        for row in rows:
            x = GAP_PX
            for picture in row:
                pictures.append((x, y, picture))
                x += picture.size_px[0] + GAP_PX
            y += CAPTION_PX + GAP_PX + max(picture.size_px[1] for picture in row)
        y += GAP_PX
    write(drawing.legend)
    return _Page(width, y, texts, pictures)


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


def _wrapped(text: str, width_px: int) -> list[str]:
    """Divide a text into lines of a width: between its words, and within those that are wider."""
    font, lines = ImageFont.load_default(FONT_PX), [""]
    words = text.split(" ")
    while words:
        word = words.pop(0)
        if font.getlength(word) > width_px:
            fitting = next(end for end in range(len(word), 0, -1) if font.getlength(word[:end]) <= width_px)
            words.insert(0, word[fitting:])
            word = word[:fitting]
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > width_px:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _png(drawing: Drawing) -> bytes:
    page = _lay_out(drawing)
    canvas = Image.new("RGB", (page.width, page.height), PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_PX)
    for x, y, text in page.texts:
        pen.text((x, y), text, TEXT, font)
    for x, y, picture in page.pictures:
        pen.text((x, y), picture.caption, TEXT, font)
        enlarged = Image.fromarray(picture.pixels).resize(picture.size_px, Image.Resampling.NEAREST)
        canvas.paste(enlarged, (x, y + CAPTION_PX))
    return _encoded(canvas)


def _svg(drawing: Drawing) -> bytes:
    page = _lay_out(drawing)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {page.width} {page.height}" role="img">',
        f"<title>{escape(drawing.title)}</title>",
        "<style>text{font:13px sans-serif;fill:#222}rect{fill:#fff}image{image-rendering:pixelated}"
        "@media(prefers-color-scheme:dark){text{fill:#ccc}rect{fill:#161616}}</style>",
        f'<rect width="{page.width}" height="{page.height}"/>',
    ]
    for x, y, text in page.texts:
        parts.append(f'<text x="{x}" y="{y + FONT_PX}">{escape(text)}</text>')
    for x, y, picture in page.pictures:
        width, height = picture.size_px
        parts.append(f'<text x="{x}" y="{y + FONT_PX}">{escape(picture.caption)}</text>')
        parts.append(
            f'<image x="{x}" y="{y + CAPTION_PX}" width="{width}" height="{height}" '
            f'href="{data_url(picture.pixels)}"/>'
        )
    return "\n".join([*parts, "</svg>\n"]).encode()


def _html(drawing: Drawing) -> bytes:
    sections = "".join(map(_section, drawing.sections))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(drawing.title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(drawing.heading)}</h1>
<p>{escape(drawing.legend)}</p>
{sections}</body>
</html>
""".encode()


def _section(section: Section) -> str:
    figures = "".join(
        f'<figure style="width:{picture.size_px[0]}px"><img alt="" src="{data_url(picture.pixels)}">'
        f"<figcaption>{_unbroken(picture.description)}</figcaption></figure>\n"
        for picture in section.pictures
    )
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in section.notes)
    title = _unbroken(section.title)
    return f"<section>\n<h2>{title}</h2>\n{notes}<div>\n{figures}</div>\n</section>\n"


def _unbroken(text: str) -> str:
    """Return a text for HTML, in which no line ends before a percent sign."""
    return escape(text).replace(" %", "\N{NO-BREAK SPACE}%")


def _npz(explanations: Sequence[AnyExplanation]) -> bytes:
    """Return all arrays, by the number of the explanation and their names, for example `0/occlusion/4`."""
    buffer = io.BytesIO()
    arrays = {
        f"{number}/{name}": values
        for number, explanation in enumerate(explanations)
        for name, values in explanation.arrays().items()
    }
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def data_url(pixels: npt.NDArray[np.uint8]) -> str:
    """Return a picture, uint8 (H, W) or (H, W, 3), as a URL that holds it as a PNG."""
    return f"data:image/png;base64,{base64.b64encode(_encoded(Image.fromarray(pixels))).decode()}"


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
