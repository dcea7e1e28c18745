"""Draw the curves of a run."""

from __future__ import annotations

from collections.abc import Sequence

from digitcli.charts import Panel, Series, draw_chart
from digitcli.events import EpochDone


def draw_curves(title: str, rows: Sequence[EpochDone]) -> str:
    """Return the loss and the validation error over the epochs as SVG."""
    training = Series("training", [(row.epoch, row.train_loss) for row in rows], dashed=True)
    validation = Series("validation", [(row.epoch, row.validation_loss) for row in rows])
    error = Series("validation", [(row.epoch, 100 * (1 - row.validation_accuracy)) for row in rows])
    panels = [
        Panel("loss", "epoch", [validation, training]),
        Panel("validation error in %", "epoch", [error]),
    ]
    return draw_chart(f"{title}: {len(rows)} epochs", panels)
