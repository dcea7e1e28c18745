"""Draw charts as SVG: by matplotlib, and the curves of a run without it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

MAX_NAME_CHARACTERS, MAX_TITLE_CHARACTERS = 40, 100
COLOURS = ("#0072b2", "#d55e00", "#009e73")  # colour-blind readers tell these apart (Okabe & Ito, 2008)
# Text stays text, a name with $ is no formula, and the same chart is always the same file.
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "digitcli", "text.parse_math": False, "font.size": 9}
CURVES_PX = (380, 300)  # of a panel of curves; their plot is 60 pixels from the left, and 50 from the others
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points that belong together: a line, or numbered dots which a legend beside the plots explains."""

    name: str
    points: Sequence[Point]
    dashed: bool = False
    numbered: bool = False


@dataclass(frozen=True)
class Panel:
    """One plot. A logarithmic panel has two logarithmic axes; `y_range` replaces the range from 0 upwards."""

    title: str
    x_title: str
    series: Sequence[Series]
    logarithmic: bool = False
    y_range: tuple[float, float] | None = None


def draw_chart(
    title: str, panels: Sequence[Panel], legend: Sequence[str] = (), panel_px: tuple[int, int] = (380, 300)
) -> str:
    """Draw panels side by side, and a legend that names the numbered dots, counted from 1."""
    import matplotlib
    from matplotlib.figure import Figure

    width, height = panel_px
    with matplotlib.rc_context(STYLE):
        figure = Figure((width * len(panels) / 72, height / 72), layout="constrained")
        figure.suptitle(_printable(title, MAX_TITLE_CHARACTERS))
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for series, colour in zip(panel.series, COLOURS, strict=False):
                columns, label = zip(*series.points, strict=True), _printable(series.name)
                if not series.numbered:
                    style = ("--" if series.dashed else "-") + ("o" if len(series.points) == 1 else "")
                    axes.plot(*columns, style, color=colour, label=label)
                    continue
                axes.scatter(*columns, s=130, color=colour, label=label)
                for number, point in enumerate(series.points, start=1):
                    axes.annotate(str(number), point, ha="center", va="center", color="white", fontsize=7)
            axes.set(title=panel.title, xlabel=panel.x_title)
            if panel.logarithmic:
                axes.loglog()
            else:
                axes.set_ylim(panel.y_range or (0, None))
            if len(panel.series) > 1:
                axes.legend()
        names = "\n".join(f"{number} {_printable(name)}" for number, name in enumerate(legend, start=1))
        axes.text(1.02, 1.0, names, transform=axes.transAxes, va="top")
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Title": title, "Date": None})
    return drawn.getvalue()


def draw_lines(title: str, panels: Sequence[Panel]) -> str:
    """Draw lines over whole numbers side by side, from 0 upwards.

    A run draws them after every epoch, and the import of matplotlib takes half a second.
    """
    width, height = CURVES_PX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width * len(panels)} {height}">',
        f"<title>{escape(_printable(title, MAX_TITLE_CHARACTERS))}</title>",
        "<style>text{font:13px sans-serif}polyline{fill:none;stroke-width:2}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for left, panel in zip(range(0, width * len(panels), width), panels, strict=True):
        xs, ys = zip(*(point for series in panel.series for point in series.points), strict=True)
        first, last, top = min(xs), max(xs), max(ys) or 1.0
        x_scale, y_scale = (width - 80) / ((last - first) or 1), (height - 100) / top
        texts: list[tuple[float, float, str]] = [
            (8, 20, panel.title),
            (width / 2, height - 10, panel.x_title),
            (60, height - 30, f"{first:g}"),
            (width - 30, height - 30, f"{last:g}"),
        ]
        for value in (0.0, top / 2, top):
            texts.append((8, height - 46 - y_scale * value, f"{value:.3g}"))
        for series, colour in zip(panel.series, COLOURS, strict=False):
            shown = [*series.points, series.points[-1]]  # so that a single point is a dot
            points = " ".join(
                f"{left + 60 + x_scale * (x - first):.1f},{height - 50 - y_scale * y:.1f}" for x, y in shown
            )
            dashes = ' stroke-dasharray="6 4"' if series.dashed else ""
            parts.append(f'<polyline stroke="{colour}"{dashes} stroke-linecap="round" points="{points}"/>')
            if len(panel.series) > 1:
                place = f'x="{left + 200}" y="{20 + 18 * panel.series.index(series)}"'
                parts.append(f'<text {place} fill="{colour}">{escape(series.name)}</text>')
        parts += [f'<text x="{left + x:.1f}" y="{y:.1f}">{escape(text)}</text>' for x, y, text in texts]
    return "\n".join([*parts, "</svg>\n"])


def _printable(name: str, most: int = MAX_NAME_CHARACTERS) -> str:
    """Return a name that XML accepts, of a limited length."""
    short = name if len(name) <= most else f"{name[:most]}..."
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in short)
