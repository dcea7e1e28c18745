"""Make the example pictures of the documentation: `python scripts/example_pictures.py`.

The handwriting comes from MNIST's training part. Paper, light, ink, ruled lines and noise are drawn around
it, so that the pictures look like photographs and scans. Every run makes the same pictures.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digitcli.data.mnist import load_mnist
from digitcli.imaging.binarization import find_ink
from digitcli.imaging.digits import digit_from_grey
from digitcli.imaging.opening import open_picture
from digitcli.inference.predictor import load_classifier
from digitcli.recognition.reader import Reader
from digitcli.tables.reading import parse_table_options, read_tables

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
BLUE, BLACK, CHALK = (40, 50, 150), (35, 32, 35), (225, 228, 220)  # ink, as red, green and blue
MARKS = {
    "no": ("1", "2", "3", "4", "5"), "written": ("41", "27", "38", "52", "19"),
    "oral": ("17", "20", "9", "14", "23"), "total": ("58", "47", "47", "66", "42"),
}  # fmt: skip
CELL_PX = 220  # side of each picture in the row of preprocessing steps
GAP_PX = 16  # between these pictures
CAPTION_PX = 70  # height of the captions below them


class Sheet:
    """Coloured paper, float32 (H, W, 3), on which digits are written in ink."""

    def __init__(self, seed: int, width: int, height: int, paper: tuple[int, int, int]) -> None:
        self.random = np.random.default_rng(seed)
        self.pixels = np.full((height, width, 3), paper, np.float32)
        self.mnist = load_mnist().train

    def write(self, digit: int, x: int, y: int, height: int, ink: tuple[int, int, int]) -> int:
        """Write a digit with its upper left corner at x, y; return the x of its right side."""
        images = self.mnist.images[self.mnist.labels == digit]
        image = images[self.random.integers(len(images))]
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 255
        size = (max(4, round(height * image.shape[1] / image.shape[0])), height)
        smooth = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), (0, 0), height / 40)
        opacity = np.clip((smooth - 0.35) / 0.3, 0, 1)[..., None]
        opacity = opacity * (0.85 + 0.15 * self.random.random())
        region = self.pixels[y : y + height, x : x + size[0]]
        region[:] = region * (1 - opacity) + np.array(ink, np.float32) * opacity
        return x + size[0]

    def write_number(self, text: str, x: int, y: int, height: int, ink: tuple[int, int, int]) -> None:
        """Write digits side by side with random variation; a blank makes a wide gap."""
        for character in text:
            if character == " ":
                x += round(height * 1.6)
                continue
            shift = round(height * self.random.uniform(-0.05, 0.05))
            x = self.write(int(character), x, y + shift, height, ink)
            x += round(height * self.random.uniform(0.2, 0.35))

    def draw_ruled_lines(self, gap: int, colour: tuple[int, int, int], squared: bool = False) -> None:
        """Draw the lines of ruled or squared paper."""
        height, width, _ = self.pixels.shape
        thickness = max(1, width // 600)
        for y in range(gap, height, gap):
            cv2.line(self.pixels, (0, y), (width, y + width // 150), colour, thickness, cv2.LINE_AA)
        for x in range(gap, width, gap) if squared else ():
            cv2.line(self.pixels, (x, 0), (x - height // 150, height), colour, thickness, cv2.LINE_AA)

    def photograph(self, shadow: float = 0.35, noise: float = 4.0) -> Image.Image:
        """Return the sheet as a camera sees it: light from one side, a soft focus, noise."""
        height, width, _ = self.pixels.shape
        down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
        light = 1 - shadow * (0.6 * across + 0.4 * down) ** 1.5
        picture = cv2.GaussianBlur(self.pixels * light[..., None], (0, 0), width / 1500)
        picture = picture + self.random.normal(0, noise, picture.shape)
        return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def main() -> None:
    """Make all example pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    sheet = Sheet(4, 300, 400, (205, 200, 190))
    sheet.write(4, 106, 131, 106, BLUE)
    sheet.photograph().save(ROOT / "image.png")

    sheet = Sheet(11, 900, 420, (228, 226, 215))
    sheet.draw_ruled_lines(84, (165, 185, 215))
    sheet.write_number("40713", 150, 175, 100, BLUE)
    sheet.photograph().save(PICTURES / "number.jpg", quality=88)

    sheet = Sheet(12, 900, 640, (235, 235, 228))
    sheet.draw_ruled_lines(60, (190, 205, 225), squared=True)
    for row, text in enumerate(("8052", "314 159", "57721")):
        sheet.write_number(text, 120, 110 + 160 * row, 90, BLACK)
    sheet.photograph(0.25).save(PICTURES / "page.jpg", quality=88)

    sheet = Sheet(13, 760, 360, (38, 52, 46))
    sheet.write_number("2026", 90, 120, 120, CHALK)
    sheet.photograph(0.3).save(PICTURES / "blackboard.jpg", quality=88)

    sheet = Sheet(14, 760, 220, (250, 250, 247))
    for cell in range(5):
        cv2.rectangle(sheet.pixels, (80 + 120 * cell, 50), (200 + 120 * cell, 170), (120, 120, 125), 2)
        sheet.write((8, 3, 0, 5, 9)[cell], 115 + 120 * cell, 75, 70, BLACK)
    sheet.photograph(0.05, 2).convert("L").save(PICTURES / "form.png")

    Sheet(15, 640, 480, (210, 207, 200)).photograph(0.4).save(PICTURES / "blank.jpg", quality=88)
    draw_table().save(PICTURES.parent / "table.jpg", quality=85)
    draw_preprocessing(ROOT / "image.png").save(PICTURES.parent / "preprocessing.png")


def draw_table() -> Image.Image:
    """Draw a photograph of marks, and beside it the spreadsheet that is read from it."""
    sheet = Sheet(18, 620, 560, (238, 236, 228))
    xs, ys = [60, 150, 290, 430, 570], [*range(50, 531, 80)]
    for start, end in [*(((x, ys[0]), (x, ys[-1])) for x in xs), *(((xs[0], y), (xs[-1], y)) for y in ys)]:
        cv2.line(sheet.pixels, start, end, (110, 115, 125), 2, cv2.LINE_AA)
    for row, texts in enumerate(zip(*MARKS.values(), strict=True)):
        for x, text in zip(xs, texts, strict=False):
            sheet.write_number(text, x + 30, ys[row + 1] + 20, 44, BLUE)
    paper = sheet.photograph(0.25)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(22)
    for x, name in zip(xs, MARKS, strict=False):
        draw.text((x + 12, ys[0] + 26), name, (60, 60, 60), font)
    corners = np.array([[0, 0], [620, 0], [620, 560], [0, 560]], np.float32)
    seen = np.array([[70, 40], [650, 15], [690, 560], [20, 600]], np.float32)
    matrix, desk = cv2.getPerspectiveTransform(corners, seen), (96, 84, 74)
    photograph = cv2.warpPerspective(np.array(paper), matrix, (700, 620), borderValue=desk)
    options = parse_table_options(columns=",".join(MARKS), checks=["total = written + oral"])
    (page,) = read_tables(Reader(device="cpu", keep_pictures=True), [photograph], options)
    (table,) = page.tables
    picture = Image.new("RGB", (1200, 620), "white")
    picture.paste(Image.fromarray(photograph))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(24)
    left, top, width, height = 730, 60, 110, 60
    for column, name in enumerate(table.names):
        draw.text((left + column * width + 8, top - 36), name, "black", font)
    for row, column in np.ndindex(table.rows, table.columns):
        box = (
            left + column * width,
            top + row * height,
            left + (column + 1) * width,
            top + (row + 1) * height,
        )
        cell = next((each for each in table.cells if (each.row, each.column) == (row, column)), None)
        fill = "white"
        if cell and cell.number:
            is_refused = cell.number.status == "refused"
            fill = "#FFFF00" if is_refused else "#DDEBF7" if cell.change else "white"
        draw.rectangle(box, fill, "#999999")
        if cell and cell.number:
            draw.text((box[0] + 14, box[1] + 16), cell.number.raw or cell.number.text, "black", font)
    return picture


def draw_preprocessing(path: Path) -> Image.Image:
    """Draw what a network sees of a photograph: without and with preprocessing."""
    grey = open_picture(path)
    shrunk = 255 - cv2.resize((grey * 255).astype(np.uint8), (28, 28), interpolation=cv2.INTER_AREA)
    normalized = digit_from_grey(grey)
    probabilities = load_classifier("cnn", device="cpu").probabilities(np.stack([shrunk, normalized]))
    before, after = (f"{row.argmax()}, {100 * row.max():.0f} % sure" for row in probabilities)
    steps = {
        "the photograph": (grey * 255).astype(np.uint8),
        f"shrunk and inverted:\n{before}": shrunk,
        "its ink:\nlight flattened": (find_ink(grey) * 255).astype(np.uint8),
        f"boxed and centred:\n{after}": normalized,
    }
    page = Image.new("RGB", (4 * (CELL_PX + GAP_PX) + GAP_PX, CELL_PX + CAPTION_PX + GAP_PX), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(18)
    for place, (caption, pixels) in enumerate(steps.items()):
        x = GAP_PX + place * (CELL_PX + GAP_PX)
        scale = CELL_PX / max(pixels.shape)
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        interpolation = cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA
        page.paste(Image.fromarray(cv2.resize(pixels, size, interpolation=interpolation)), (x, GAP_PX))
        draw.text((x, GAP_PX + CELL_PX + 6), caption, "black", font)
    return page


if __name__ == "__main__":
    main()
