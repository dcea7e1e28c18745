"""Charts as SVG pictures, in light or dark as the viewer prefers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

PANEL_PX = (360, 300)  # width and height
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 36
COLOURS = ("#2a78d6", "#d6652a", "#3a9d5d", "#8d5bd0", "#c23b6b", "#8a8a22")
STYLE = (
    "text{font:12px sans-serif;fill:#444}.small{font-size:10px}.grid{stroke:#8884;stroke-width:1}"
    "path{fill:none;stroke-width:2}.leader{stroke:#8888;stroke-width:1}@media(prefers-color-scheme:dark){text{fill:#bbb}}"
)
WHOLE_FROM = 1000  # numbers at an axis are whole
LONGEST_LABEL = 40
MOST_NAMED = 7  # values along a level axis

Box = tuple[float, float, float, float]  # left, upper, right, lower


@dataclass(frozen=True)
class Series:
    """Points (x, y), joined by a line or, where each has a label, named one by one."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One diagram; its upright axis shows `y_from` to `y_to`, or to the largest value without one.

    A logarithmic axis shows the values there are, between round ones.
    """

    title: str
    x_title: str
    series: Sequence[Series]
    logarithmic_x: bool = False
    logarithmic_y: bool = False
    y_from: float = 0.0
    y_to: float | None = None


def draw_chart(
    description: str, panels: Sequence[Panel], panel_px: tuple[int, int] = PANEL_PX, stacked: bool = False
) -> str:
    """The panels side by side, or one above the other; the description is what a screen reader says."""
    width, height = panel_px
    right, down = (0, height) if stacked else (width, 0)
    last = len(panels) - 1
    view = f"0 0 {width + right * last} {height + down * last}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img">',
            f"<title>{_legible(description)}</title>",
            f"<style>{STYLE}</style>",
            *(
                f'<g transform="translate({right * place} {down * place})">'
                f"\n{_draw_panel(panel, panel_px)}\n</g>"
                for place, panel in enumerate(panels)
            ),
            "</svg>\n",
        ]
    )


def _draw_panel(panel: Panel, panel_px: tuple[int, int]) -> str:
    (width, height), left = panel_px, LEFT
    right, lower = width - RIGHT, height - BOTTOM
    points = [point for series in panel.series for point in series.points]
    columns, values = [x for x, _ in points], [y for _, y in points]
    steps = _powers(min(columns), max(columns)) if panel.logarithmic_x else [min(columns), max(columns)]
    low, high = steps[0], steps[-1]
    ticks = _powers(min(values), max(values)) if panel.logarithmic_y else _ticks(panel, max(values))

    def across(x: float) -> float:
        return left + (right - left) * _share(x, low, high, panel.logarithmic_x)

    def up(y: float) -> float:
        return lower - (lower - TOP) * _share(y, ticks[0], ticks[-1], panel.logarithmic_y)

    parts = [f'<text x="{left}" y="20">{_legible(panel.title)}</text>']
    for value in ticks:
        parts.append(f'<path class="grid" d="M{left} {up(value):.1f}H{right}"/>')
        parts.append(f'<text x="{left - 6}" y="{up(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    below = lower + 16
    for value in _with_room(steps):
        if panel.logarithmic_x:
            parts.append(f'<path class="grid" d="M{across(value):.1f} {TOP}V{lower}"/>')
        anchor = "start" if value == low else "end" if value == high else "middle"
        parts.append(
            f'<text x="{across(value):.1f}" y="{below}" text-anchor="{anchor}">{_spoken(value)}</text>'
        )
    middle = f'x="{(left + right) / 2}" y="{height - 4}" text-anchor="middle"'
    parts.append(f"<text {middle}>{_legible(panel.x_title)}</text>")
    for place, series in enumerate(panel.series):
        colour = COLOURS[place % len(COLOURS)]
        found = [(across(x), up(y)) for x, y in series.points]
        parts += (
            _named(series, found, colour, (left, TOP, right + RIGHT, lower))
            if series.labels
            else [_line(series, found, colour)]
        )
        if len(panel.series) > 1:
            legend = f'x="{right}" y="{20 + 16 * place}" text-anchor="end" style="fill:{colour}"'
            parts.append(f"<text {legend}>{_legible(series.name)}</text>")
    return "\n".join(parts)


def _ticks(panel: Panel, largest: float) -> list[float]:
    """Round values from `y_from` on, about five, that reach the largest."""
    reach = (largest if panel.y_to is None else panel.y_to) - panel.y_from
    step = _round_step(reach / 4)
    return [panel.y_from + step * number for number in range(max(1, math.ceil(reach / step - 1e-9)) + 1)]


def _powers(least: float, largest: float) -> list[float]:
    """Values of 1, 2 and 5 times powers of ten, from below the least to above the largest."""
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(largest))
    every = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    begin = max(value for value in every if value <= least)
    end = min((value for value in every if value >= largest and value > begin), default=10 * begin)
    return [value for value in every if begin <= value <= end]


def _with_room(steps: Sequence[float]) -> list[float]:
    """All of the values of a level axis or, where they are many, the powers of ten among them."""
    if len(steps) <= MOST_NAMED:
        return list(steps)
    return [value for value in steps if math.isclose(math.log10(value), round(math.log10(value)))]


def _share(value: float, low: float, high: float, logarithmic: bool) -> float:
    """How far a value is on the way from low to high."""
    if logarithmic:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / ((high - low) or 1.0)


def _line(series: Series, found: Sequence[tuple[float, float]], colour: str) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in found)
    dashes = ";stroke-dasharray:4 4" if series.dashed else ""
    return f'<path style="stroke:{colour}{dashes}" d="M{path}"/>'


def _named(series: Series, found: Sequence[tuple[float, float]], colour: str, bounds: Box) -> list[str]:
    """A dot and a label each; a thin line leads to a label that stands apart."""
    from digitcli.chart_labels import DOT_PX, place_labels  # NumPy, which other charts do without

    parts = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{DOT_PX}" style="fill:{colour}"/>' for x, y in found]
    labels = [
        label if len(label) <= LONGEST_LABEL else f"{label[:LONGEST_LABEL]}..." for label in series.labels
    ]
    places = place_labels(found, labels, bounds)
    for (x, y), label, placed in zip(found, labels, places, strict=True):
        if placed.line_to is not None:
            to_x, to_y = placed.line_to
            parts.append(f'<path class="leader" d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"/>')
        left, _, right, lower = placed.box
        at, anchor = (right, ' text-anchor="end"') if right < x else (left, "")
        parts.append(f'<text class="small" x="{at:.1f}" y="{lower - 2:.1f}"{anchor}>{_legible(label)}</text>')
    return parts


def _legible(text: str) -> str:
    """Text as XML takes it."""
    return escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text))


def _spoken(value: float) -> str:
    return f"{value:,.0f}" if value >= WHOLE_FROM else f"{value:.4g}"


def _round_step(least: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    if least <= 0:
        return 1.0
    power = math.pow(10, math.floor(math.log10(least)))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))
