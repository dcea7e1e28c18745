"""Draw a comparison: the error of each model against its size and its speed."""

from __future__ import annotations

from digitcli.charts import Panel, Series, draw_chart
from digitcli.comparison.compare import Comparison


def draw_comparison_chart(result: Comparison) -> str:
    """Return the error against the parameters and against the milliseconds an image, as SVG.

    The models are numbered from the smallest error on. A logarithmic axis has no zero, so a model without
    errors is drawn as if it had misread half an image.
    """
    models = sorted(result.models, key=lambda model: -model.accuracy)
    errors = [100 * max(1 - model.accuracy, 0.5 / result.images) for model in models]
    costs = {
        "parameters": [float(model.parameters) for model in models],
        "milliseconds an image": [model.latency_ms for model in models],
    }
    panels = [
        Panel(
            f"{result.split} error in %",
            title,
            [Series("models", list(zip(values, errors, strict=True)), numbered=True)],
            logarithmic=True,
        )
        for title, values in costs.items()
    ]
    title = f"{result.split} error of {len(models)} models on {result.data}"
    return draw_chart(title, panels, [model.label for model in models], panel_px=(460, 420))
