"""The curves of a run as an SVG picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from digitcli.charts import Panel, Series, draw_chart
from digitcli.training.events import EpochDone


def draw_curves(title: str, rows: Sequence[EpochDone]) -> str:
    """Loss and validation error over the epochs, side by side."""

    def series(name: str, value: Callable[[EpochDone], float]) -> Series:
        return Series(name, [(row.epoch, value(row)) for row in rows])

    best = max(row.validation_accuracy for row in rows)
    losses = [
        series("training", lambda row: row.train_loss),
        series("validation", lambda row: row.validation_loss),
    ]
    errors = [series("validation", lambda row: 100 * (1 - row.validation_accuracy))]
    return draw_chart(
        f"{title}: loss and validation error over {len(rows)} epochs; best validation accuracy {best:.2%}",
        [Panel("loss", "epoch", losses), Panel("validation error in %", "epoch", errors)],
    )
