"""Measure reading of pictures of one character or number, or of none: `python benchmarks/pictures.py KIND`.

Each kind has rows of its own. `right` is the share of pictures whose digits are read, `answered` the share
that is not refused, and `wrong` the share that is answered with other digits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import typer
from judging.camera import bow, lay, take_picture
from judging.ink import JudgingRoom, judging_room
from judging.score import WORLDS, single_number
from judging.sheet import Pen, new_sheet
from PIL import Image, ImageDraw, ImageFont
from support import Models, Output, Picture, Rows, digits_of, open_app, shares

from digitcli.data.dataset import split
from digitcli.data.files import walk_pictures
from digitcli.data.mnist import load_mnist
from digitcli.imaging.opening import open_picture
from digitcli.recognition.reader import Reader
from digitcli.synthesis.glyphs import PRINTED_LETTERS, find_fonts
from digitcli.synthesis.texts import sample_integer

app = open_app(__doc__)
Random = np.random.Generator
Change = Callable[[Random, Picture], Picture]
BLOCK = 30  # as in scripts/embed_handwriting.py
# All sizes, tones and shares were chosen by hand.
CONTRASTS = 0.02, 0.05, 0.1, 0.2, 1.0  # upper bounds of bands, as a share of the paper's brightness
LETTER_PX, FONT_PX = 140, 64
LARGE_PX = 4000, 3000  # height and width of a photograph of 12 megapixels
SHADOW, GRAIN = 0.3, 4.0  # range of the light on it, and standard deviation of its grain
TINT = 0.55  # least share of the light that coloured paper reflects in a channel
SINGLE_SHARE = 0.6  # of the numbers before real backgrounds are single digits
DIGIT_PX = (14, 90)  # range of the height of a digit, as on other sheets of one number
SURROUNDINGS = (0.2, 1.2)  # range of the most of a photograph beside the sheet, in its shorter sides
PARTS = (0.5, 1.0)  # range of the sides of a part, in those of the largest of the same shape
SIDES_PX = (60, 700)  # range of the sides of a part without a sheet


@app.command()
def preprocessing(folder: Path, model: str = "cnn", output: Output = None) -> None:
    """Compare shrinking and inverting with preprocessing, on pictures whose names begin with their digit."""
    paths = [path for path in walk_pictures(folder) if isinstance(path, Path)]
    texts, reader, rows = [path.name[0] for path in paths], Reader(model), Rows()
    probabilities = reader.models.classifier.probabilities(np.stack([shrunk(path) for path in paths]))
    right = np.mean([str(row.argmax()) == text for row, text in zip(probabilities, texts, strict=True)])
    confidence = probabilities.max(axis=1).mean()
    rows.add("shrunk and inverted", {"pictures": len(paths), "right": right, "confidence": confidence})
    rows.add("with preprocessing", shares(reader.read_all(paths), texts))
    rows.save(output)


def shrunk(path: Path) -> Picture:
    """Return a picture as 28x28 pixels, inverted."""
    small = cv2.resize(open_picture(path), (28, 28), interpolation=cv2.INTER_AREA)
    return np.clip(255 * (1 - small) + 0.5, 0, 255).astype(np.uint8)


@app.command()
def hands(
    archives: list[Path],
    count: int = 1500,
    seed: int = 0,
    model: Models = (),
    output: Output = None,
) -> None:
    """Read single digits by other writers, and print the most frequent mistakes.

    An archive (.npz) holds `images` (N, H, W), uint8, ink 255 on 0, and their `labels`. Where it also holds
    the `numbers` in which order a person wrote them, as that of BHMSDS does, only the odd blocks of
    `scripts/embed_handwriting.py` are read: training may see the even ones.
    """
    reader, rows = Reader(*model), Rows()
    for path in archives:
        archive = np.load(path)
        images, labels = archive["images"], archive["labels"]
        if "numbers" in archive:
            is_held_out = archive["numbers"] // BLOCK % 2 == 1
            images, labels = images[is_held_out], labels[is_held_out]
        chosen = np.random.default_rng(seed).permutation(len(labels))[:count]
        texts = [str(label) for label in labels[chosen]]
        readings = list(reader.read_all(255 - image for image in images[chosen]))
        rows.add(path.stem, shares(readings, texts))
        pairs = zip(texts, (digits_of(reading.text) or "none" for reading in readings), strict=True)
        print(Counter(f"{text} as {read}" for text, read in pairs if text != read).most_common(5))
    rows.save(output)


@app.command()
def letters(fonts: Path, model: Models = (), output: Output = None) -> None:
    """Tell how often a single letter is taken for a digit, with the default threshold and a stricter one.

    FONTS are fonts that no model was trained on, for example those that `scripts/fetch_fonts.py` puts into
    fonts/test. Every digit, and every letter that does not look like one, is drawn alone on a grey page.
    """
    random, rows = np.random.default_rng(0), Rows()
    texts = [text for _ in find_fonts(fonts) for text in (*PRINTED_LETTERS, *"0123456789")]
    pages = [
        letter(random, file, text) for file in find_fonts(fonts) for text in (*PRINTED_LETTERS, *"0123456789")
    ]
    readings = list(Reader(*model, min_confidence=0).read_all(pages))
    is_digit = np.array([text.isdecimal() for text in texts])
    is_right = np.array([reading.text == text for reading, text in zip(readings, texts, strict=True)])
    confidences = np.array([(reading.confidence or 0) if reading.text else 0 for reading in readings])
    for name, error in (("default", None), ("max-error 0.01", 0.01)):
        answered = confidences >= Reader(*model, max_error=error).min_confidence
        row = {"letters": int((~is_digit).sum()), "answered": answered[~is_digit].mean()}
        rows.add(name, {**row, "digits_right": (answered & is_right)[is_digit].mean()})
    rows.save(output)


def letter(random: Random, font: Path, text: str) -> Picture:
    """Return a page with a character in its middle and with noise."""
    image = Image.new("L", (LETTER_PX, LETTER_PX), int(random.integers(200, 250)))
    pen, face = ImageDraw.Draw(image), ImageFont.truetype(font, FONT_PX)
    left, top, right, bottom = pen.textbbox((0, 0), text, face)
    pen.text(
        ((LETTER_PX - left - right) / 2, (LETTER_PX - top - bottom) / 2),
        text, int(random.integers(10, 80)), face,
    )  # fmt: skip
    soft = cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), 0.8)
    return np.clip(soft + random.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)


@app.command()
def blank(pages: int = 400, seed: int = 0, output: Output = None) -> None:
    """Tell how often a page that is called blank is blank: the constant `BLANK_CONFIDENCE` of the decision.

    Half of the pages are blank: paper with texture, noise and uneven light, and on every fourth the edge of
    a shadow. On the other half a digit of MNIST's validation part is written, with any contrast from none to
    black. Half of all pages are JPEG files.
    """
    random, validation, reader = np.random.default_rng(seed), split(load_mnist()).validation, Reader()
    counts: dict[str, Counter[str]] = {}
    for number in range(pages):
        page, kind, label = paper(random), "nothing written", None
        if number % 2:
            chosen, contrast = random.integers(len(validation.images)), random.random()
            write(page, validation.images[chosen], contrast, random)
            kind = f"a digit, contrast up to {min(band for band in CONTRASTS if contrast <= band):.0%}"
            label = str(validation.labels[chosen])
        levels = np.round(255 * page.clip(0, 1)).astype(np.uint8)
        if random.random() < 0.5:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(50, 96))]
            levels = cv2.imdecode(cv2.imencode(".jpg", levels, quality)[1], cv2.IMREAD_GRAYSCALE)
        reading = reader.read(levels)
        answer = "not_a_digit" if reading.reason == "not_a_digit" else reading.status
        if reading.text:
            answer += "_correctly" if reading.text == label else "_wrongly"
        counts.setdefault(kind, Counter()).update(["pages", answer])
    rows = Rows()
    for kind, answers in sorted(counts.items()):
        rows.add(kind, answers)
    called = sum(answers["blank"] for answers in counts.values())
    print(f"blank among {called} called blank: {counts['nothing written']['blank'] / max(called, 1):.3f}")
    rows.save(output)


def paper(random: Random) -> npt.NDArray[np.float32]:
    """Return blank paper under a lamp (H, W), around 0.4 to 0.9."""
    width = int(random.integers(300, 1500))
    height = int(width * random.uniform(0.6, 1.4))
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    light = random.uniform(0.45, 0.9) * (1 - random.uniform(0, 0.5) * (across - random.random()) ** 2)
    light *= 1 - random.uniform(0, 0.5) * (down - random.random()) ** 2
    if random.random() < 0.25:
        angle, length = random.uniform(0, 2 * np.pi), width / random.uniform(3, 100)
        beyond = (across - random.uniform(0.2, 0.8)) * np.cos(angle)
        beyond += (down - random.uniform(0.2, 0.8)) * np.sin(angle)
        light *= 1 - random.uniform(0.05, 0.25) * (1 + np.tanh(beyond * length))
    grain = random.standard_normal((height, width)).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), random.uniform(0.5, 4))
    noise = random.standard_normal((height, width)).astype(np.float32)
    light += random.uniform(0, 0.02) * grain / grain.std() + random.uniform(0, 0.015) * noise
    return np.asarray(light, np.float32)


def write(page: npt.NDArray[np.float32], digit: Picture, contrast: float, random: Random) -> None:
    """Write a digit of random size on a page, at a random place."""
    side = int(min(page.shape) * random.uniform(0.15, 0.9))
    ink = cv2.resize(digit.astype(np.float32) / 255, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    y, x = (int(random.integers(0, whole - side)) for whole in page.shape)
    page[y : y + side, x : x + side] *= 1 - contrast * ink


@app.command()
def conditions(pictures: int = 60, seed: int = 1, output: Output = None) -> None:
    """Read numbers as they are, rotated, reversed, on coloured paper, and lost in a large photograph.

    The pictures are those of one number by generators that training never sees, `--pictures` of each.
    """
    room, reader, rows = judging_room(split(load_mnist()).test), Reader(), Rows()
    for condition, change in CONDITIONS.items():
        readings, texts = [], []
        for index, world in enumerate(WORLDS.values()):
            for number in range(pictures):
                scene = single_number(world, np.random.default_rng([seed, index, number, 1]), room)
                random = np.random.default_rng([seed, index, number, 2])
                readings.append(reader.read(change(random, scene.picture)))
                texts.append(next(digits_of(label.text) for label in scene.labels if label.text))
        row = shares(readings, texts)
        answered, wrong = row["answered"], row["wrong"]
        counts = {"right": answered - wrong, "wrong": wrong, "refused": 1 - answered}
        rows.add(condition, {"pictures": len(texts), **counts})
    rows.save(output)


def rotated(degrees: float) -> Change:
    """Return a change that rotates a picture to either side, and keeps all of it."""

    def rotate(random: Random, picture: Picture) -> Picture:
        height, width = picture.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees * random.choice([-1, 1]), 1)
        cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
        size = int(height * sine + width * cosine) + 1, int(height * cosine + width * sine) + 1
        matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
        return np.asarray(cv2.warpAffine(picture, matrix, size, borderValue=ground_of(picture)), np.uint8)

    return rotate


def coloured(random: Random, picture: Picture) -> Picture:
    """Lay a picture on paper of a random colour, (H, W, 3)."""
    tint = random.uniform(TINT, 1, 3) / random.uniform(TINT, 1)
    return np.asarray((picture[..., None] * tint).clip(0, 255), np.uint8)


def lost(random: Random, picture: Picture) -> Picture:
    """Put a picture at a random place of a large photograph."""
    height, width = picture.shape
    page = np.full(LARGE_PX, ground_of(picture), np.float32)
    y, x = (int(random.integers(size - side)) for size, side in zip(page.shape, picture.shape, strict=True))
    page[y : y + height, x : x + width] = picture
    page *= np.linspace(1 - random.uniform(0, SHADOW), 1, LARGE_PX[1], dtype=np.float32)
    page += GRAIN * random.standard_normal(page.shape, np.float32)
    return np.asarray(page.clip(0, 255), np.uint8)


def ground_of(picture: Picture) -> float:
    """Return the median of the edges of a picture."""
    return float(np.median(np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])))


CONDITIONS: dict[str, Change] = {
    "as it is": lambda random, picture: picture,
    **{f"turned by {degrees} degrees": rotated(degrees) for degrees in (10, 20, 30)},
    "light on dark": lambda random, picture: np.asarray(255 - picture, np.uint8),
    "on coloured paper": coloured,
    "in a large photograph": lost,
}


@app.command()
def photographs(folder: Path, count: int = 400, seed: int = 7, output: Output = None) -> None:
    """Read numbers in front of real backgrounds, and backgrounds without a number.

    FOLDER holds photographs that show no number, for example those of scikit-image, scikit-learn and
    Matplotlib. A sheet of paper with one number lies on a part of one of them; writers and camera are those
    of `judged_scenes.py`, which training never sees. On a part without a sheet, every answer is wrong.
    """
    read = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(folder.iterdir()))
    backgrounds = [np.asarray(photograph, np.uint8) for photograph in read if photograph is not None]
    if not backgrounds:
        raise typer.BadParameter(f"{folder} holds no picture.")
    room, reader, rows = judging_room(split(load_mnist()).test), Reader(), Rows()
    for name, shown in (
        ("numbers", with_number(room, backgrounds, count, seed)),
        ("no number", without_number(backgrounds, count, seed)),
    ):
        read_texts = [(reader.read(picture), text) for picture, text in shown]
        rows.add(name, shares([reading for reading, _ in read_texts], [text for _, text in read_texts]))
    rows.save(output)


def with_number(
    room: JudgingRoom, photographs: Sequence[Picture], count: int, seed: int
) -> Iterator[tuple[Picture, str]]:
    """Yield pictures of a sheet on a part of a photograph, and the digits that are written on it."""
    number = 0
    for index in range(10 * count):
        random = np.random.default_rng([seed, 0, index])
        text = sample_integer(random, *((1, 1) if random.random() < SINGLE_SHARE else (2, 6)))
        sheet = new_sheet(random, room, DIGIT_PX, text, 46)
        height, width = sheet.light.shape
        sheet.light[:] = random.uniform(0.7, 0.98)
        pen = Pen(room.person(random), random.uniform(0.05, 0.4))
        sheet.write(pen, text, width / 2, (height + sheet.digit_px) / 2, align=0.5)
        if sheet.chance(0.3):
            bow(sheet)

        def part(shape: tuple[int, int]) -> npt.NDArray[np.float32]:
            return (sample_part(random, photographs, shape) / np.float32(255)).astype(np.float32)  # noqa: B023

        lay(sheet, part, random.normal(0, 6), 0.07, margin=random.uniform(*SURROUNDINGS))
        scene = take_picture(sheet)
        if [label.text for label in scene.labels if label.text] == [text]:  # a person can read it
            yield scene.picture, text
            number += 1
        if number == count:
            return


def without_number(photographs: Sequence[Picture], count: int, seed: int) -> Iterator[tuple[Picture, str]]:
    """Yield parts of photographs, upright or wide up to twice their height."""
    for index in range(count):
        random = np.random.default_rng([seed, 1, index])
        height, width = np.exp(random.uniform(*np.log(SIDES_PX), 2))
        shape = int(height), int(np.clip(width, height / 2, height * 2))
        yield sample_part(random, photographs, shape), ""


def sample_part(random: Random, photographs: Sequence[Picture], shape: tuple[int, int]) -> Picture:
    """Return a random part of a photograph at a size (H, W), half of them mirrored."""
    photograph = photographs[int(random.integers(len(photographs)))]
    scale = min(have / want for have, want in zip(photograph.shape, shape, strict=True))
    scale *= random.uniform(*PARTS)
    height, width = (max(8, int(side * scale)) for side in shape)
    sides = zip(photograph.shape, (height, width), strict=True)
    y, x = (int(random.integers(0, max(1, have - side + 1))) for have, side in sides)
    part = photograph[y : y + height, x : x + width]
    part = part[:, ::-1] if random.random() < 0.5 else part
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, shape[::-1], interpolation=how), np.uint8)


if __name__ == "__main__":
    app()
