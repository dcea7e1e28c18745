"""The curves of a run as an SVG picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from digitcli.training.events import EpochDone

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 300, 56, 16, 40, 36
PANEL_WIDTH = WIDTH // 2


def draw_curves(title: str, rows: Sequence[EpochDone]) -> str:
    """Loss and validation error over the epochs, side by side, in light or dark as the viewer prefers."""
    losses = {
        "training": [row.train_loss for row in rows],
        "validation": [row.validation_loss for row in rows],
    }
    errors = {"validation": [100 * (1 - row.validation_accuracy) for row in rows]}
    best = max(row.validation_accuracy for row in rows)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<title>{escape(title)}: loss and validation error over {len(rows)} epochs; "
            f"best validation accuracy {best:.2%}</title>",
            "<style>text{font:12px sans-serif;fill:#444}.grid{stroke:#8884;stroke-width:1}"
            "path{fill:none;stroke-width:2}.training{stroke:#888}.validation{stroke:#2a78d6}"
            "text.training{fill:#777;stroke:none}text.validation{fill:#2a78d6;stroke:none}"
            "@media(prefers-color-scheme:dark){text{fill:#bbb}}</style>",
            _panel(0, "loss", losses),
            _panel(PANEL_WIDTH, "validation error in %", errors),
            "</svg>\n",
        ]
    )


def _round_step(least: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    if least <= 0:
        return 1.0
    power = math.pow(10, math.floor(math.log10(least)))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least)


def _panel(offset: int, title: str, series: dict[str, list[float]]) -> str:
    """One diagram: a grid from 0 to the largest value, a line and a legend entry for each series."""
    largest = max(max(values) for values in series.values())
    tick = _round_step(largest / 4)
    ticks = max(1, math.ceil(largest / tick))
    top_value = tick * ticks
    count = max(len(values) for values in series.values())
    left, right = offset + LEFT, offset + PANEL_WIDTH - RIGHT
    lower = HEIGHT - BOTTOM

    def across(epoch: int) -> float:
        return left + (right - left) * (epoch / max(count - 1, 1))

    def up(value: float) -> float:
        return lower - (lower - TOP) * value / top_value

    parts = [f'<text x="{left}" y="20">{title}</text>']
    for value in (tick * number for number in range(ticks + 1)):
        y = up(value)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    parts.append(f'<text x="{left}" y="{HEIGHT - 12}">epoch 1</text>')
    parts.append(f'<text x="{right}" y="{HEIGHT - 12}" text-anchor="end">{count}</text>')
    for place, (name, values) in enumerate(series.items()):
        points = "L".join(f"{across(epoch):.1f} {up(value):.1f}" for epoch, value in enumerate(values))
        parts.append(f'<path class="{name}" d="M{points}"/>')
        parts.append(f'<text class="{name}" x="{right - 80}" y="{20 + 16 * place}">{name}</text>')
    return "\n".join(parts)
