"""Draw things that are no numbers: codes, charts, doodles, strange scripts, scratches, crossed-out numbers.

All sizes were chosen by hand. Nothing here may stand alone as a bar or a ring, which a 1 and a 0 look like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.synthesis.glyphs import Mask, Points, draw_strokes
from digitcli.synthesis.page_marks import (
    Desk,
    directions,
    draw_curve,
    draw_discs,
    draw_rubber_stamp,
    draw_shape,
    draw_table_lines,
    draw_tick,
    put_freely,
    rule_width,
)
from digitcli.synthesis.shares import sample
from digitcli.synthesis.texts import sample_number

Thing = Callable[[Desk], None]


def draw_things(desk: Desk) -> None:
    """Draw things of several kinds beside what is written already."""

    def draw() -> None:
        for name in sample(desk.random, "things"):
            THINGS[name](desk)

    desk.page.draw_beside(draw)


def cross_out(desk: Desk, box: tuple[float, float, float, float]) -> None:
    """Cross out what stands in a box x0, y0, x1, y1: by two strokes or more, an X, or a scribble."""
    x0, y0, x1, y1 = box
    height, pen = y1 - y0, max(1.0, desk.height_px * desk.uniform(0.04, 0.14))
    kind = desk.random.random()
    if kind < 0.4:
        ys = desk.random.uniform(y0 + 0.25 * height, y1 - 0.25 * height, desk.count(2, 4))
        lines = [
            np.array([(x0 - 0.2 * height, y), (x1 + 0.2 * height, y + desk.random.normal(0, 0.08) * height)])
            for y in ys
        ]
    elif kind < 0.6:
        lines = [np.array([(x0, y0), (x1, y1)]), np.array([(x0, y1), (x1, y0)])]
    else:
        count = max(6, int(4 * (x1 - x0) / height))
        xs = np.linspace(x0 - 0.1 * height, x1 + 0.1 * height, count)
        ys = np.where(np.arange(count) % 2, y0, y1) + desk.random.normal(0, 0.12 * height, count)
        lines = [np.stack([xs, ys], axis=1)]
    draw_strokes(desk.page.layers.writing, [np.asarray(line, np.float32) for line in lines], pen)


def _draw_words(desk: Desk) -> None:
    words = desk.label_scribe()
    for _ in range(desk.count(1, 10)):
        put_freely(desk, desk.word(words, 0.6, 1.5), 5)


def _draw_ticks(desk: Desk) -> None:
    for _ in range(desk.count(1, 6)):
        draw_tick(desk, *desk.anywhere().tolist())


def _draw_curves(desk: Desk) -> None:
    for _ in range(desk.count(1, 8)):
        draw_curve(desk)


def _draw_shapes(desk: Desk) -> None:
    for _ in range(desk.count(1, 5)):
        draw_shape(desk)


def _draw_frames(desk: Desk) -> None:
    sides = (desk.page.width, desk.page.height)
    xs, ys = (np.sort(desk.random.uniform(0, side, desk.count(2, 9))) for side in sides)
    draw_table_lines(desk, xs, ys, rows=desk.chance(0.75), columns=desk.chance(0.65))


def _draw_bar_code(desk: Desk) -> None:
    place = _place(desk, 4, 12)
    if place is None:
        return
    x0, y0, width, height = place
    module, x, is_bar = max(1.0, desk.height_px * desk.uniform(0.04, 0.15)), x0, True
    while x < x0 + width:
        bar = module * desk.count(1, 5)
        if is_bar:
            _fill(desk, [(x, y0), (x + bar, y0), (x + bar, y0 + height), (x, y0 + height)], 255)
        x, is_bar = x + bar, not is_bar


def _draw_matrix_code(desk: Desk) -> None:
    place = _place(desk, 3, 8, square=True)
    if place is None:
        return
    x0, y0, side, _ = place
    count = desk.count(12, 34)
    cells = (desk.random.random((count, count)) < 0.5).astype(np.uint8) * 255
    for corner in ((0, 0), (0, count - 7), (count - 7, 0)):  # its finder patterns
        for inset, level in ((0, 255), (1, 0), (2, 255)):
            y, x = corner
            cells[y + inset : y + 7 - inset, x + inset : x + 7 - inset] = level
    size = max(count, round(side))
    mask = cv2.resize(cells, (size, size), interpolation=cv2.INTER_NEAREST)
    _stamp(desk, np.asarray(mask, np.uint8), x0, y0)


def _draw_hatching(desk: Desk) -> None:
    centre, radius = desk.anywhere(), desk.uniform(1, 6) * desk.height_px
    for angle in desk.random.uniform(0, np.pi, desk.count(1, 3)):
        along, across = directions(np.array([angle, angle + np.pi / 2]))
        step, pen, level = desk.height_px * desk.uniform(0.12, 0.5), rule_width(desk), desk.uniform(80, 255)
        for shift in np.arange(-radius, radius, step):
            half = np.sqrt(max(radius**2 - shift**2, 0)) * desk.uniform(0.8, 1)
            middle = centre + shift * across
            desk.page.line([middle - half * along, middle + half * along], pen, level)


def _draw_chart(desk: Desk) -> None:
    place = _place(desk, 4, 14)
    if place is None:
        return
    x0, y0, width, height = place
    pen, foot = rule_width(desk), y0 + height
    desk.page.line([(x0, y0), (x0, foot), (x0 + width, foot)], pen, 255)
    count = desk.count(4, 14)
    xs, ys = (
        x0 + width * (np.arange(count) + 0.5) / count,
        foot - height * desk.random.uniform(0.05, 0.95, count),
    )
    if desk.chance(0.5):
        desk.page.line(np.stack([xs, ys], axis=1), pen, desk.uniform(120, 255))
        return
    half, level = width / count * desk.uniform(0.25, 0.45), desk.uniform(60, 255)
    for x, y in zip(xs, ys, strict=True):
        _fill(desk, [(x - half, y), (x + half, y), (x + half, foot), (x - half, foot)], level)


def _draw_doodle(desk: Desk) -> None:
    """Draw spirals, stars, waves, faces or flowers."""
    for _ in range(desk.count(1, 5)):
        centre, radius, kind = desk.anywhere(), desk.uniform(0.8, 3) * desk.height_px, desk.count(0, 5)
        turn = desk.uniform(0, 2 * np.pi)
        if kind == 0:
            angles = np.linspace(0, 2 * np.pi * desk.uniform(2.5, 6), 80)
            outlines = [np.linspace(0, radius, 80)[:, None] * directions(angles)]
        elif kind == 1:
            points = 2 * desk.count(4, 8)
            radii = np.where(np.arange(points + 1) % 2, 0.45, 1) * radius
            outlines = [radii[:, None] * directions(turn + 2 * np.pi * np.arange(points + 1) / points)]
        elif kind == 2:
            along = np.linspace(-1, 1, 60)
            waves = np.sin(along * np.pi * desk.uniform(2, 6)) * desk.uniform(0.1, 0.4)
            outlines = [radius * np.stack([along, waves], axis=1)]
        elif kind == 3:
            around = np.linspace(0, 2 * np.pi, 40)
            eyes = [0.12 * directions(around) + np.array([side, -0.3]) for side in (-0.35, 0.35)]
            mouth = np.array([0.0, 0.1]) + 0.5 * directions(np.linspace(0.3, np.pi - 0.3, 16))
            outlines = [radius * each for each in (directions(around), *eyes, mouth)]
        else:
            around, petals = np.linspace(0, 2 * np.pi, 120), desk.count(4, 9)
            outlines = [radius * (0.6 + 0.4 * np.cos(petals * around))[:, None] * directions(around)]
        _draw(desk, [centre + outline for outline in outlines])


def _draw_script(desk: Desk) -> None:
    """Write characters of no alphabet: a few bent or crossing strokes each, in rows or columns."""
    x, y = desk.anywhere().tolist()
    size, is_column = desk.height_px * desk.uniform(0.7, 1.4), desk.chance(0.25)
    fewest = desk.count(3, 5)
    for _ in range(desk.count(2, 14)):
        strokes = []
        for _ in range(desk.count(fewest, 9)):
            start, end = desk.random.uniform(0, 1, (2, 2))
            middle = (start + end) / 2 + desk.random.normal(0, 0.12, 2)
            strokes.append(np.array([x, y]) + size * np.stack([start, middle, end]))
        _draw(desk, strokes, desk.height_px * 0.06)
        x, y = (x, y + 1.15 * size) if is_column else (x + 1.15 * size, y)


def _draw_leaders(desk: Desk) -> None:
    """Draw rows of dots or dashes, as in contents and below signatures."""
    for _ in range(desk.count(1, 5)):
        (x, y), step = desk.anywhere().tolist(), desk.height_px * desk.uniform(0.15, 0.6)
        dash = step * desk.uniform(0.1, 0.7)
        pen, level = rule_width(desk), desk.uniform(100, 255)
        for left in np.arange(x, x + desk.uniform(3, 20) * desk.height_px, step):
            desk.page.line([(left, y), (left + dash, y)], pen, level)


def _draw_scratches(desk: Desk) -> None:
    pen = max(1.0, 0.4 * rule_width(desk))
    for _ in range(desk.count(3, 30)):
        start, level = desk.anywhere(), desk.uniform(40, 200)
        end = start + desk.random.normal(0, 4 * desk.height_px, 2)
        bend = (start + end) / 2 + desk.random.normal(0, 0.4 * desk.height_px, 2)
        desk.page.line([start, bend, end], pen, level)


def _draw_bricks(desk: Desk) -> None:
    """Draw a wall, windows or a net: rows of boxes, shifted against each other or not."""
    x0, y0 = desk.anywhere().tolist()
    width, height = desk.height_px * desk.uniform(0.6, 3), desk.height_px * desk.uniform(0.5, 2)
    shift, pen, level = desk.uniform(0, 0.5) * width, rule_width(desk), desk.uniform(60, 255)
    for row in range(desk.count(3, 10)):
        for column in range(desk.count(3, 10)):
            x, y = x0 + column * width + (row % 2) * shift, y0 + row * height
            desk.page.frame((x, y, x + width, y + height), pen, level)


def _draw_branches(desk: Desk) -> None:
    """Draw a plant, cracks or a river: strokes that fork."""
    pen, tips = (
        max(1.0, desk.height_px * desk.uniform(0.04, 0.12)),
        [(desk.anywhere(), desk.uniform(0, 6.3), 2.5)],
    )
    for _ in range(desk.count(8, 40)):
        start, angle, length = tips.pop(0)
        end = start + length * desk.height_px * directions(np.array([angle]))[0]
        _draw(desk, [np.stack([start, end])], pen)
        tips += [(end, angle + desk.random.normal(0, 0.6), 0.75 * length) for _ in range(2)]


def _draw_blots(desk: Desk) -> None:
    for _ in range(desk.count(1, 5)):
        angles = np.linspace(0, 2 * np.pi, 40)
        radii = np.ones(40) + sum(
            desk.random.normal(0, 0.25 / k) * np.cos(k * angles + desk.uniform(0, 6)) for k in (2, 3, 5, 9)
        )
        outline = desk.anywhere() + desk.uniform(0.2, 1.5) * desk.height_px * radii[:, None] * directions(
            angles
        )
        _fill(desk, outline, desk.uniform(120, 255))


def _draw_crossed_out(desk: Desk) -> None:
    """Write numbers and cross them out: they are none."""
    for _ in range(desk.count(1, 4)):
        place = put_freely(desk, desk.number(sample_number(desk.random)).as_one(), 3)
        if place:
            cross_out(desk, place)


THINGS: dict[str, Thing] = {
    "words": _draw_words,
    "ticks": _draw_ticks,
    "curves": _draw_curves,
    "shapes": _draw_shapes,
    "discs": draw_discs,
    "rubber_stamp": draw_rubber_stamp,
    "frames": _draw_frames,
    "bar_code": _draw_bar_code,
    "matrix_code": _draw_matrix_code,
    "hatching": _draw_hatching,
    "chart": _draw_chart,
    "doodle": _draw_doodle,
    "script": _draw_script,
    "leaders": _draw_leaders,
    "scratches": _draw_scratches,
    "bricks": _draw_bricks,
    "branches": _draw_branches,
    "blots": _draw_blots,
    "crossed_out": _draw_crossed_out,
}


def _place(
    desk: Desk, smallest: float, largest: float, *, square: bool = False
) -> tuple[float, float, float, float] | None:
    """Return x, y, width and height, in pixels, of a free place whose width is in heights of a digit."""
    width = desk.uniform(smallest, largest) * desk.height_px
    height = width if square else width * desk.uniform(0.25, 0.9)
    x, y = desk.anywhere() - np.array([width, height]) / 2
    is_free = desk.page.is_free((x, y, x + width, y + height))
    return (float(x), float(y), width, height) if is_free else None


def _draw(desk: Desk, strokes: Sequence[Points], pen_px: float | None = None) -> None:
    """Draw strokes with a pen, as writing is drawn."""
    pen_px = pen_px or desk.height_px * desk.uniform(0.03, 0.14)
    draw_strokes(
        desk.page.layers.writing, [np.asarray(each, np.float32) for each in strokes], max(1.0, pen_px)
    )


def _fill(desk: Desk, outline: npt.ArrayLike, level: float) -> None:
    points = np.round(np.asarray(outline)).astype(np.int32)
    cv2.fillPoly(desk.page.layers.rules, [points], int(level), cv2.LINE_AA)


def _stamp(desk: Desk, mask: Mask, x: float, y: float) -> None:
    """Put a mask on the layer of rules; what lies outside of the page is cut off."""
    layer, left, top = desk.page.layers.rules, round(x), round(y)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + mask.shape[1], layer.shape[1]), min(top + mask.shape[0], layer.shape[0])
    if x0 < x1 and y0 < y1:
        np.maximum(
            layer[y0:y1, x0:x1], mask[y0 - top : y1 - top, x0 - left : x1 - left], out=layer[y0:y1, x0:x1]
        )
