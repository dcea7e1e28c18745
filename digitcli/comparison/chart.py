"""A comparison as a picture: what accuracy costs."""

from __future__ import annotations

from digitcli.charts import Panel, Series, draw_chart
from digitcli.comparison.compare import ComparedModel, Comparison

PANEL_PX = (820, 400)
HALF_AN_IMAGE = 0.5  # wrong, in place of none, which no logarithmic scale has


def draw_comparison_chart(result: Comparison) -> str:
    """The error of each model against its parameters and against its milliseconds an image, as SVG."""

    def error(model: ComparedModel) -> float:
        return 100 * max(1 - model.accuracy, HALF_AN_IMAGE / result.images)

    labels = [model.label for model in result.models]
    by_size = [(float(model.parameters), error(model)) for model in result.models]
    by_time = [(model.latency_ms, error(model)) for model in result.models]
    panels = [
        Panel(
            f"{result.split} error in %",
            title,
            [Series("models", points, labels)],
            logarithmic_x=True,
            logarithmic_y=True,
        )
        for title, points in (("parameters", by_size), ("milliseconds an image", by_time))
    ]
    what = f"{result.split.capitalize()} error of {len(labels)} models on {result.data}"
    return draw_chart(what, panels, PANEL_PX, stacked=True)
