"""Draw charts as SVG files that need nothing else, in light or dark colours as the viewer prefers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape

LEFT, RIGHT, TOP, BOTTOM = 60, 20, 56, 48  # pixels between the edges of a panel and its plot
RADIUS_PX = 8  # of a numbered dot
ROW_PX, CHARACTER_PX = 18, 8  # the height of a row of text, and the most that one of its characters takes
HEADING_PX = 30  # the height of the title above the panels
MAX_TICKS, MAX_NAME_CHARACTERS = 6, 40
COLOURS = ("#0072b2", "#d55e00", "#009e73")  # colour-blind readers tell these apart (Okabe & Ito, 2008)
STYLE = (
    "text{font:13px sans-serif;fill:#333}rect{fill:#fff}.grid{stroke:#8884}.line{fill:none;stroke-width:2}"
    ".limit,.ring{fill:none;stroke:#888;stroke-width:2}.limit{stroke-dasharray:2 4}.title{font-weight:bold}"
    ".number{font-size:11px;fill:#fff}.number,.x{text-anchor:middle}.y{text-anchor:end}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}rect{fill:#161616}}"
)
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points that belong together: a line, or numbered dots which a legend beside the plots explains.

    ringed: the index of the dot that has a ring around it.
    """

    name: str
    points: Sequence[Point]
    dashed: bool = False
    numbered: bool = False
    ringed: int | None = None


@dataclass(frozen=True)
class Panel:
    """One plot. A logarithmic panel has two logarithmic axes; `y_range` replaces the range from 0 upwards.

    x_limit, y_limit: where a dotted line crosses the plot, e.g. at a goal.
    """

    title: str
    x_title: str
    series: Sequence[Series]
    logarithmic: bool = False
    y_range: tuple[float, float] | None = None
    x_limit: float | None = None
    y_limit: float | None = None


def draw_chart(
    title: str,
    panels: Sequence[Panel],
    legend: Sequence[str] = (),
    panel_px: tuple[int, int] = (380, 300),
    *,
    heading: bool = False,
) -> str:
    """Draw panels side by side, and a legend that names the numbered dots, counted from 1.

    heading: whether the title is drawn above the panels; it always is what a screen reader reads first.
    """
    width, height = panel_px
    left = width * len(panels)
    names = [f"{number} {_printable(name)}" for number, name in enumerate(legend, start=1)]
    full_width = left + CHARACTER_PX * max(map(len, names), default=0)
    full_height = max(height, TOP + ROW_PX * len(names))
    above = HEADING_PX if heading else 0
    description = " ".join(_describe(panel, names) for panel in panels)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 {-above} {full_width} {full_height + above}" '
        f'aria-labelledby="title description">\n<title id="title">{_printable(title)}</title>',
        f'<desc id="description">{description}</desc>',
        f'<style>{STYLE}</style><rect y="{-above}" width="{full_width}" height="{full_height + above}"/>',
    ]
    if heading:
        parts.append(_text(8, 20 - above, escape(title), "title"))
    for index, panel in enumerate(panels):
        parts.append(f'<g transform="translate({width * index} 0)">{_draw_panel(panel, width, height)}</g>')
    parts += [_text(left, TOP + ROW_PX * index, name) for index, name in enumerate(names)]
    return "\n".join([*parts, "</svg>\n"])


def _describe(panel: Panel, names: Sequence[str]) -> str:
    """Describe in words a panel and its data."""
    texts = []
    for series in panel.series:
        if series.numbered:
            dots = zip(names, series.points, strict=True)
            texts += [f"{name}: {y:.4g} at {x:.4g}" for name, (x, y) in dots]
        else:
            texts.append(f"{series.name} from {series.points[0][1]:.4g} to {series.points[-1][1]:.4g}")
    return f"{panel.title} by {panel.x_title}: {', '.join(texts)}."


def _draw_panel(panel: Panel, width: int, height: int) -> str:
    right, lower = width - RIGHT, height - BOTTOM
    x_values, y_values = map(list, zip(*(xy for each in panel.series for xy in each.points), strict=True))
    x_values += [panel.x_limit] if panel.x_limit else []
    y_values += [panel.y_limit] if panel.y_limit else []
    margin = RADIUS_PX + 2 if panel.logarithmic else 0  # so that no dot crosses the frame
    y_range = y_values if panel.logarithmic else panel.y_range or (0.0, max(y_values) or 1.0)
    counts = all(float(value).is_integer() for value in x_values)
    x_px, x_ticks = _axis(
        x_values, (LEFT + margin, right - margin), panel.logarithmic, least_step=1.0 if counts else 0.0
    )
    y_px, y_ticks = _axis(y_range, (lower - margin, TOP + margin), panel.logarithmic)
    parts = [
        _text(8, 20, panel.title),
        _text((LEFT + right) / 2, height - 10, panel.x_title, "x"),
        *(f'<path class="grid" d="M{LEFT} {y_px(value):.1f}H{right}"/>' for value in y_ticks),
        *(_text(LEFT - 6, y_px(value) + 4, _format(value), "y") for value in y_ticks),
        *(f'<path class="grid" d="M{x_px(value):.1f} {TOP}V{lower}"/>' for value in x_ticks),
        *(_text(x_px(value), height - 30, _format(value), "x") for value in x_ticks),
    ]
    if panel.x_limit:
        parts.append(f'<path class="limit" d="M{x_px(panel.x_limit):.1f} {TOP}V{lower}"/>')
    if panel.y_limit:
        parts.append(f'<path class="limit" d="M{LEFT} {y_px(panel.y_limit):.1f}H{right}"/>')
    for index, (series, colour) in enumerate(zip(panel.series, COLOURS, strict=False)):
        parts.append(_draw_series(series, [(x_px(x), y_px(y)) for x, y in series.points], colour))
        if len(panel.series) > 1:
            y = 16 + ROW_PX * index
            sample = [(right - 15, y - 4)] if series.numbered else [(right - 30, y - 4), (right, y - 4)]
            parts.append(_draw_series(replace(series, ringed=None), sample, colour))
            parts.append(_text(right - 36, y, series.name, "y"))
    return "\n".join(parts)


def _axis(
    values: Sequence[float], pixels: tuple[float, float], logarithmic: bool, least_step: float = 0.0
) -> tuple[Callable[[float], float], list[float]]:
    """Return the function from a value to its pixel, and the values to write at the axis.

    `least_step` is the least distance of these values if the axis is not logarithmic: 1 for whole numbers.
    """
    low, high = min(values), max(values)
    if logarithmic:
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        low, high = max(tick for tick in ticks if tick < low), min(tick for tick in ticks if tick > high)
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > MAX_TICKS:
            ticks = [tick for tick in ticks if math.log10(tick).is_integer()]
    else:
        least_step = max(least_step, (high - low) / MAX_TICKS) or 1.0
        power = 10.0 ** math.floor(math.log10(least_step))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least_step)
        ticks = [step * number for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]
    scale: Callable[[float], float] = math.log if logarithmic else float
    px_per_unit = (pixels[1] - pixels[0]) / ((scale(high) - scale(low)) or 1.0)
    return lambda value: pixels[0] + px_per_unit * (scale(value) - scale(low)), ticks


def _draw_series(series: Series, points: Sequence[Point], colour: str) -> str:
    if series.numbered:  # the first point is drawn last, on top of the others
        ring = "" if series.ringed is None else _ring(*points[series.ringed])
        return ring + "\n".join(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS_PX}" fill="{colour}"/>'
            f"{_text(x, y + 4, number, 'number')}"
            for number, (x, y) in reversed(list(enumerate(points, start=1)))
        )
    if len(points) == 1:
        return f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3" fill="{colour}"/>'
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashes = "6 4" if series.dashed else "none"
    return f'<path class="line" stroke="{colour}" stroke-dasharray="{dashes}" d="M{path}"/>'


def _ring(x: float, y: float) -> str:
    return f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS_PX + 3}"/>\n'


def _text(x: float, y: float, text: object, kind: str = "name") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{text}</text>'


def _printable(name: str) -> str:
    """Return a name that XML accepts, of a limited length."""
    short = name if len(name) <= MAX_NAME_CHARACTERS else f"{name[:MAX_NAME_CHARACTERS]}..."
    return escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in short))


def _format(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:.4g}"
