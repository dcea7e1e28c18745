"""Embed pen strokes and fonts in the package.

    python scripts/embed_handwriting.py STROKES IMAGES

STROKES is a folder of decompressed files in the UNIPEN format, for example pendigits-orig.tra from
https://archive.ics.uci.edu/dataset/81. IMAGES is an archive with
the 14,999 `images` (N, 28, 28) of bhmsds, their `labels` and their `numbers`, the order in which they were
written; the centre lines of every second block of them are traced, the other half is kept to choose by. The
script writes both as `digitcli/data/handwriting/strokes.npz.xz`. It downloads fonts under the OFL or the
Apache licence, which Fontsource publishes in the npm registry, with `npm pack` to
`digitcli/data/handwriting/fonts`, and writes the first line of their licences to `FONTS`. It needs
scikit-image.
"""

from __future__ import annotations

import io
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from skimage.morphology import skeletonize

from digitcli.atomic_write import write_whole
from digitcli.synthesis.strokes import (
    EMBEDDED,
    EMBEDDED_STROKES,
    STROKE_SCALE,
    DigitStrokes,
    Stroke,
    WriterStrokes,
)

HANDWRITTEN = (
    "amatic-sc annie-use-your-telescope architects-daughter bad-script calligraffitti caveat "
    "cedarville-cursive chilanka coming-soon covered-by-your-grace crafty-girls dawning-of-a-new-day "
    "dekko delius fuggles fuzzy-bubbles gaegu gamja-flower give-you-glory gloria-hallelujah gochi-hand "
    "grechen-fuemen handlee herr-von-muellerhoff hi-melody homemade-apple indie-flower just-another-hand "
    "kalam kristi la-belle-aurore licorice loved-by-the-king mali mansalva marck-script mr-bedfort "
    "mr-dafoe nanum-brush-script nanum-pen-script neucha nothing-you-could-do over-the-rainbow pangolin "
    "patrick-hand permanent-marker puppies-play reenie-beanie rock-salt ruthie schoolbell sedgwick-ave "
    "sedgwick-ave-display shadows-into-light shadows-into-light-two short-stack solitreo sue-ellen-francisco "
    "swanky-and-moo-moo the-girl-next-door vibur waiting-for-the-sunrise whisper yomogi "
    "zeyada"
)
PRINTED = (
    "arimo cousine inconsolata lato merriweather noto-serif open-sans roboto roboto-condensed "
    "share-tech-mono source-serif-4 tinos vt323"
)
VERSION = "5.3.0"  # of the packages of Fontsource
BLOCK = 30  # images of a digit in a row that look as if one hand wrote them; a block counts as one writer
FINE = 4  # an image is traced at this multiple of its resolution
BLUR_PX = 2.0  # standard deviation, in fine pixels, of the blur that removes the steps of the image
INK_LEVEL = 110  # of 255; brighter pixels are ink
AHEAD = 6  # pixels over which the direction of a line is measured
CROSSING_PX = 4  # longest part of a line that another one has already taken where both cross
STRAIGHT = 0.85  # least cosine between the two sides of such a crossing
SMOOTHING = 7  # pixels over which a line is averaged
STEP = 4  # of the pixels of a line one is kept

_Pixel = tuple[int, int]


def main(strokes: Path, images: Path) -> None:
    """Write the strokes and the fonts."""
    writers = [*read_strokes(strokes), *trace_writers(images)]
    write_whole(EMBEDDED_STROKES, pack_strokes(writers))
    notices = []
    for kind, names in (("hand", HANDWRITTEN.split()), ("print", PRINTED.split())):
        for name in names:
            font, notice = download_font(name)
            write_whole(EMBEDDED / "fonts" / f"{kind}-{name}.woff", font)
            notices.append(f"{kind}-{name}.woff: {notice}")
    write_whole(EMBEDDED / "fonts" / "FONTS", "\n".join([*notices, ""]).encode())
    print(f"{len(notices)} fonts")


def read_strokes(folder: Path) -> list[WriterStrokes]:
    """Return every writer of all ten digits; writers in different files count as different people."""
    complete = []
    for file in sorted(folder.iterdir()):
        strokes_of: dict[int, WriterStrokes] = {}
        for segment in re.split(r"^\.SEGMENT\b", file.read_text("latin-1"), flags=re.MULTILINE)[1:]:
            label = re.search(r"^\.COMMENT (\d+) (\d+)", segment, re.MULTILINE)
            assert label, f"{file} has a segment without the line '.COMMENT digit writer'"
            pen_downs = re.findall(r"^\.PEN_DOWN(.*?)^\.PEN_UP", segment, re.MULTILINE | re.DOTALL)
            points = [np.array(text.split(), np.float32).reshape(-1, 2) for text in pen_downs]
            if strokes := normalize([stroke for stroke in points if len(stroke) > 1]):
                strokes_of.setdefault(int(label[2]), {}).setdefault(int(label[1]), []).append(strokes)
        complete += [digits for _, digits in sorted(strokes_of.items()) if len(digits) == 10]
    return complete


def normalize(strokes: DigitStrokes) -> DigitStrokes:
    """Turn strokes of a tablet, whose y points upwards, upside down and scale them to the height 1."""
    if not strokes:
        return []
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    # A horizontal stroke has no height; without a limit it would become infinitely wide.
    height = max(high[1] - low[1], (high[0] - low[0]) / 2, 1)
    return [np.stack([stroke[:, 0] - low[0], high[1] - stroke[:, 1]], axis=1) / height for stroke in strokes]


def trace_writers(path: Path) -> list[WriterStrokes]:
    """Return the centre lines of every second block of images, each block as one writer."""
    archive = np.load(path)
    blocks: dict[int, WriterStrokes] = {}
    for image, digit, number in zip(
        archive["images"], archive["labels"].tolist(), archive["numbers"].tolist(), strict=True
    ):
        block, strokes = number // BLOCK, centre_lines(image)
        if block % 2 == 0 and strokes:
            blocks.setdefault(block, {}).setdefault(digit, []).append(strokes)
    return [digits for _, digits in sorted(blocks.items()) if len(digits) == 10]


def centre_lines(image: npt.NDArray[np.uint8]) -> DigitStrokes:
    """Return the strokes of a digit (H, W), ink 255 on 0, in heights of the digit; no strokes without ink."""
    fine = cv2.resize(image, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_CUBIC)
    ink = cv2.GaussianBlur(fine, (0, 0), BLUR_PX) > INK_LEVEL
    skeleton = skeletonize(ink)
    if not skeleton.any():
        return []
    depth = cv2.distanceTransform(ink.astype(np.uint8), cv2.DIST_L2, 5)
    pen_px = 2 * float(np.median(depth[skeleton]))
    lines = _trace({(int(x), int(y)) for y, x in np.argwhere(skeleton)})
    kept = [line for line in lines if len(line) >= pen_px] or [max(lines, key=len)]  # shorter ones are spurs
    strokes = [_smooth(np.array(line, np.float32)) for line in kept]
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    height = max(high[1] - low[1], (high[0] - low[0]) / 2, 1)
    return [(stroke - low) / height for stroke in strokes]


def _trace(pixels: set[_Pixel]) -> list[list[_Pixel]]:
    """Divide the pixels of a skeleton into lines, which go straight on where others fork off or cross."""
    lines = []
    while pixels:
        ends = [pixel for pixel in pixels if len(_near(pixel, pixels)) == 1]
        line = [min(ends or pixels, key=lambda pixel: (pixel[1], pixel[0]))]
        pixels.discard(line[0])
        while (following := _follow(line, pixels)) is not None:
            line.append(following)
            pixels.discard(following)
        lines.append(line)
    return lines


def _follow(line: list[_Pixel], pixels: set[_Pixel]) -> _Pixel | None:
    """Return the pixel that goes on straightest from the end of a line, also beyond a crossing."""
    end, before = line[-1], line[max(0, len(line) - AHEAD)]
    near = _near(end, pixels)
    if near:
        return max(near, key=lambda pixel: _cosine(before, end, _look_ahead(end, pixel, pixels)))
    if len(line) < AHEAD:
        return None
    beyond = [pixel for pixel in _near(end, pixels, CROSSING_PX) if _cosine(before, end, pixel) > STRAIGHT]
    return min(beyond, key=lambda pixel: np.hypot(pixel[0] - end[0], pixel[1] - end[1]), default=None)


def _look_ahead(end: _Pixel, start: _Pixel, pixels: set[_Pixel]) -> _Pixel:
    """Return a pixel that lies some pixels further along a line."""
    seen = {end, start}
    for _ in range(AHEAD):
        near = [pixel for pixel in _near(start, pixels) if pixel not in seen]
        if not near:
            break
        start = max(near, key=lambda pixel: (pixel[0] - end[0]) ** 2 + (pixel[1] - end[1]) ** 2)
        seen.add(start)
    return start


def _near(pixel: _Pixel, pixels: Iterable[_Pixel], reach: int = 1) -> list[_Pixel]:
    """Return the pixels within a square around one, in reading order."""
    sides = range(-reach, reach + 1)
    around = ((pixel[0] + x, pixel[1] + y) for y in sides for x in sides if x or y)
    return [other for other in around if other in pixels]


def _cosine(before: _Pixel, end: _Pixel, after: _Pixel) -> float:
    """Return the cosine of the angle by which a line turns at its end."""
    first, second = np.subtract(end, before), np.subtract(after, end)
    return float(first @ second) / max(float(np.hypot(*first) * np.hypot(*second)), 1e-6)


def _smooth(line: Stroke) -> Stroke:
    """Average a line (P, 2) along itself, close it if it is a loop, and keep one of `STEP` points."""
    if len(line) > 3 * STEP and np.hypot(*(line[0] - line[-1])) <= 2:
        line = np.concatenate([line, line[:1]])
    padded = np.pad(line, ((SMOOTHING // 2, SMOOTHING // 2), (0, 0)), mode="edge")
    mean = np.lib.stride_tricks.sliding_window_view(padded, SMOOTHING, axis=0).mean(axis=-1)
    mean[0], mean[-1] = line[0], line[-1]
    return np.asarray(np.concatenate([mean[:-1:STEP], mean[-1:]]), np.float32)


def pack_strokes(writers: list[WriterStrokes]) -> bytes:
    """Return strokes as a compressed archive of arrays, see `strokes.load_writers`."""
    points, lengths, strokes, labels, numbers = [], [], [], [], []
    for number, writer in enumerate(writers):
        for digit, samples in sorted(writer.items()):
            for sample in samples:
                labels.append(digit)
                numbers.append(number)
                strokes.append(len(sample))
                lengths += [len(stroke) for stroke in sample]
                points += [np.round(stroke * STROKE_SCALE).astype(np.int16) for stroke in sample]
    stream = io.BytesIO()
    differences = np.diff(np.concatenate(points), axis=0, prepend=0).astype(np.int16)
    np.savez(
        stream,
        differences=differences.T.copy(),
        lengths=np.array(lengths, np.uint16),
        strokes=np.array(strokes, np.uint8),
        labels=np.array(labels, np.uint8),
        writers=np.array(numbers, np.uint8),
    )
    return lzma.compress(stream.getvalue(), preset=9)


def download_font(name: str) -> tuple[bytes, str]:
    """Download the Latin characters of a font in its regular weight, and the first line of its licence."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"@fontsource/{name}@{VERSION}"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        content = (Path(folder) / done.stdout.split()[-1]).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        font = archive.extractfile(f"package/files/{name}-latin-400-normal.woff")
        licence = archive.extractfile("package/LICENSE")
        assert font is not None
        assert licence is not None
        return font.read(), licence.read().decode().strip().splitlines()[0].strip()[:160]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:])) if len(sys.argv) == 3 else sys.exit(__doc__)
