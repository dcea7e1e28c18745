"""Make the pictures that README's examples read: `python scripts/example_pictures.py`.

Handwriting is that of MNIST's training part; paper, light, ink, ruling and noise are drawn around it, so that
the pictures look like photographs and scans. The same pictures come out every time.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from digitcli.data.mnist import load_mnist
from digitcli.imaging import digit_from_grey, find_ink, open_picture
from digitcli.inference.predictor import load_classifier

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
BLUE, BLACK, CHALK = (40, 50, 150), (35, 32, 35), (225, 228, 220)
CELL_PX, GAP_PX, CAPTION_PX = 220, 16, 70


class Sheet:
    """Paper in colour, float32 (H, W, 3), on which digits are written in ink."""

    def __init__(self, seed: int, width: int, height: int, paper: tuple[int, int, int]) -> None:
        self.random = np.random.default_rng(seed)
        self.pixels = np.full((height, width, 3), paper, np.float32)
        self.mnist = load_mnist().train

    def write(self, digit: int, x: int, y: int, height: int, ink: tuple[int, int, int]) -> int:
        """Write a digit, its upper left corner at x, y; the place where the next may begin."""
        images = self.mnist.images[self.mnist.labels == digit]
        image = images[self.random.integers(len(images))]
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 255
        size = (max(4, round(height * image.shape[1] / image.shape[0])), height)
        smooth = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), (0, 0), height / 40)
        cover = np.clip((smooth - 0.35) / 0.3, 0, 1)[..., None]
        cover = cover * (0.85 + 0.15 * self.random.random())
        part = self.pixels[y : y + height, x : x + size[0]]
        part[:] = part * (1 - cover) + np.array(ink, np.float32) * cover
        return x + size[0]

    def write_number(self, text: str, x: int, y: int, height: int, ink: tuple[int, int, int]) -> None:
        """Write digits beside each other, none quite like the other; a blank is a wide gap."""
        for character in text:
            if character == " ":
                x += round(height * 1.6)
                continue
            off = round(height * self.random.uniform(-0.05, 0.05))
            x = self.write(int(character), x, y + off, height, ink) + round(
                height * self.random.uniform(0.2, 0.35)
            )

    def rule(self, gap: int, colour: tuple[int, int, int], squared: bool = False) -> None:
        """Draw ruled, or squared, paper."""
        height, width, _ = self.pixels.shape
        for y in range(gap, height, gap):
            cv2.line(
                self.pixels, (0, y), (width, y + width // 150), colour, max(1, width // 600), cv2.LINE_AA
            )
        for x in range(gap, width, gap) if squared else ():
            cv2.line(
                self.pixels, (x, 0), (x - height // 150, height), colour, max(1, width // 600), cv2.LINE_AA
            )

    def photographed(self, shadow: float = 0.35, noise: float = 4.0) -> Image.Image:
        """As a camera would see it: light from one side, a soft focus, noise."""
        height, width, _ = self.pixels.shape
        down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
        light = 1 - shadow * (0.6 * across + 0.4 * down) ** 1.5
        seen = cv2.GaussianBlur(self.pixels * light[..., None], (0, 0), width / 1500)
        seen = seen + self.random.normal(0, noise, seen.shape)
        return Image.fromarray(np.clip(seen, 0, 255).astype(np.uint8))


def main() -> None:
    """Make them all."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    sheet = Sheet(4, 300, 400, (205, 200, 190))
    sheet.write(4, 106, 131, 106, BLUE)
    sheet.photographed().save(ROOT / "image.png")

    sheet = Sheet(11, 900, 420, (228, 226, 215))
    sheet.rule(84, (165, 185, 215))
    sheet.write_number("40713", 150, 175, 100, BLUE)
    sheet.photographed().save(PICTURES / "number.jpg", quality=88)

    sheet = Sheet(12, 900, 640, (235, 235, 228))
    sheet.rule(60, (190, 205, 225), squared=True)
    for row, text in enumerate(("8052", "314 159", "27182")):
        sheet.write_number(text, 120, 110 + 160 * row, 90, BLACK)
    sheet.photographed(0.25).save(PICTURES / "page.jpg", quality=88)

    sheet = Sheet(13, 760, 360, (38, 52, 46))
    sheet.write_number("2026", 90, 120, 120, CHALK)
    sheet.photographed(0.3).save(PICTURES / "blackboard.jpg", quality=88)

    sheet = Sheet(14, 760, 220, (250, 250, 247))
    for cell in range(5):
        cv2.rectangle(sheet.pixels, (80 + 120 * cell, 50), (200 + 120 * cell, 170), (120, 120, 125), 2)
        sheet.write((8, 3, 0, 5, 9)[cell], 115 + 120 * cell, 75, 70, BLACK)
    sheet.photographed(0.05, 2).convert("L").save(PICTURES / "form.png")

    Sheet(15, 640, 480, (210, 207, 200)).photographed(0.4).save(PICTURES / "blank.jpg", quality=88)
    draw_road(ROOT / "image.png").save(PICTURES.parent / "road.png")


def draw_road(path: Path) -> Image.Image:
    """What a network gets to see of a photograph: shrunk as it is, and by the road."""
    grey = open_picture(path)
    shrunk = 255 - cv2.resize((grey * 255).astype(np.uint8), (28, 28), interpolation=cv2.INTER_AREA)
    seen = digit_from_grey(grey)
    probabilities = load_classifier("cnn", device="cpu").probabilities(np.stack([shrunk, seen]))
    before, after = (f"{row.argmax()}, {100 * row.max():.0f} % sure" for row in probabilities)
    steps = {
        "the photograph": (grey * 255).astype(np.uint8),
        f"shrunk and inverted:\n{before}": shrunk,
        "its ink:\nlight flattened": (find_ink(grey) * 255).astype(np.uint8),
        f"boxed and centred:\n{after}": seen,
    }
    page = Image.new("RGB", (4 * (CELL_PX + GAP_PX) + GAP_PX, CELL_PX + CAPTION_PX + GAP_PX), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(18)
    for place, (caption, pixels) in enumerate(steps.items()):
        x = GAP_PX + place * (CELL_PX + GAP_PX)
        scale = CELL_PX / max(pixels.shape)
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        how = cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA
        page.paste(Image.fromarray(cv2.resize(pixels, size, interpolation=how)), (x, GAP_PX))
        draw.text((x, GAP_PX + CELL_PX + 6), caption, "black", font)
    return page


if __name__ == "__main__":
    main()
