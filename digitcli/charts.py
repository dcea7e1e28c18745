"""Charts as SVG pictures, in light or dark as the viewer prefers. Imports nothing of ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

PANEL_WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 300, 56, 16, 40, 36
COLOURS = ("#2a78d6", "#d6652a", "#3a9d5d", "#8d5bd0", "#c23b6b", "#8a8a22")
STYLE = (
    "text{font:12px sans-serif;fill:#444}.small{font-size:10px}.grid{stroke:#8884;stroke-width:1}"
    "path{fill:none;stroke-width:2}@media(prefers-color-scheme:dark){text{fill:#bbb}}"
)
LABEL_PX = 11  # labels of points keep so far from each other, one above the other


@dataclass(frozen=True)
class Series:
    """Points (x, y), joined by a line or, where each has a label, named one by one."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One diagram; its upright axis shows `y_from` to `y_to`, or to the largest value without one."""

    title: str
    x_title: str
    series: Sequence[Series]
    logarithmic: bool = False
    y_from: float = 0.0
    y_to: float | None = None


def draw_chart(description: str, panels: Sequence[Panel]) -> str:
    """The panels side by side; the description is what a screen reader says."""
    width = PANEL_WIDTH * len(panels)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" role="img">',
            f"<title>{escape(description)}</title>",
            f"<style>{STYLE}</style>",
            *(_draw_panel(PANEL_WIDTH * place, panel) for place, panel in enumerate(panels)),
            "</svg>\n",
        ]
    )


def _draw_panel(offset: float, panel: Panel) -> str:
    left, right, lower = offset + LEFT, offset + PANEL_WIDTH - RIGHT, HEIGHT - BOTTOM
    values = [y for series in panel.series for _, y in series.points]
    largest = max(values) if panel.y_to is None else panel.y_to
    step = _round_step((largest - panel.y_from) / 4)
    steps = max(1, math.ceil((largest - panel.y_from) / step - 1e-9))
    parts = [f'<text x="{left}" y="20">{escape(panel.title)}</text>']

    def up(value: float) -> float:
        return lower - (lower - TOP) * (value - panel.y_from) / (step * steps)

    for number in range(steps + 1):
        value = panel.y_from + step * number
        y = up(value)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    places = [x for series in panel.series for x, _ in series.points]
    low, high = min(places), max(places)

    def across(x: float) -> float:
        if panel.logarithmic:
            share = (math.log(x) - math.log(low)) / ((math.log(high) - math.log(low)) or 1)
        else:
            share = (x - low) / ((high - low) or 1)
        return left + (right - left) * share

    parts += _x_axis(panel, low, high, left, right)
    for place, series in enumerate(panel.series):
        colour = COLOURS[place % len(COLOURS)]
        found = [(across(x), up(y)) for x, y in series.points]
        parts += (
            _named_points(series, found, colour, right) if series.labels else [_line(series, found, colour)]
        )
        if len(panel.series) > 1:
            legend = f'x="{right}" y="{20 + 16 * place}" text-anchor="end" style="fill:{colour}"'
            parts.append(f"<text {legend}>{escape(series.name)}</text>")
    return "\n".join(parts)


def _x_axis(panel: Panel, low: float, high: float, left: float, right: float) -> list[str]:
    y = HEIGHT - 12
    return [
        f'<text x="{left}" y="{y}">{low:,.4g}</text>',
        f'<text x="{(left + right) / 2}" y="{y}" text-anchor="middle">{escape(panel.x_title)}</text>',
        f'<text x="{right}" y="{y}" text-anchor="end">{high:,.4g}</text>',
    ]


def _line(series: Series, found: Sequence[tuple[float, float]], colour: str) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in found)
    dashes = ";stroke-dasharray:4 4" if series.dashed else ""
    return f'<path style="stroke:{colour}{dashes}" d="M{path}"/>'


def _named_points(
    series: Series, found: Sequence[tuple[float, float]], colour: str, right: float
) -> list[str]:
    """A dot and a label each; a label that would cover another moves down."""
    parts, taken = [], list[tuple[float, float]]()
    for (x, y), label in sorted(zip(found, series.labels, strict=True)):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" style="fill:{colour}"/>')
        width = 6.0 * len(label)
        beside = x + 6 if x + 6 + width < right + RIGHT else x - 6 - width
        at = y + 3
        while any(abs(at - other) < LABEL_PX and abs(beside - begin) < width for begin, other in taken):
            at += LABEL_PX / 2
        taken.append((beside, at))
        parts.append(f'<text class="small" x="{beside:.1f}" y="{at:.1f}">{escape(label)}</text>')
    return parts


def _round_step(least: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    if least <= 0:
        return 1.0
    power = math.pow(10, math.floor(math.log10(least)))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))
