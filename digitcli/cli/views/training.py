"""A training run as a person sees it: a live view on a terminal, plain lines elsewhere. On stderr."""

from __future__ import annotations

from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from digitcli import console
from digitcli.config import Recipe, TrainConfig
from digitcli.training.events import EpochDone, Event, Notice, RunStarted, StepDone

SPARKS_SHOWN = 30


class TrainingView:
    """Draws the events of a run; used as `with TrainingView() as view: train(config, on_event=view)`."""

    def __init__(self) -> None:
        live = Live(console=console.err, auto_refresh=False, transient=True, redirect_stdout=False)
        self.live = live if console.err.is_interactive else None
        self.started: RunStarted | None = None
        self.epochs: list[EpochDone] = []

    def __enter__(self) -> TrainingView:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case Notice():
                console.show_notice(event.message)
            case RunStarted():
                self.started = event
                console.err.print(describe_start(event))
            case EpochDone():
                self.epochs.append(event)
                console.err.print(self._epoch_line(event), soft_wrap=True)
            case StepDone() if self.live:
                self.live.update(self.draw_progress(event), refresh=True)

    def _epoch_line(self, done: EpochDone) -> str:
        return (
            f"epoch {self._of_all(done.epoch)}  loss {done.train_loss:.4f}  "
            f"validation {console.percent(done.validation_accuracy)}  lr {done.lr:.2g}  "
            f"{done.images_per_second:,.0f} images/s  {console.duration(done.seconds)}"
        )

    def _of_all(self, epoch: int) -> str:
        """`3/8`, or `3` where a time is set and not a number of epochs."""
        if self.started is None or self.started.config.time_seconds is not None:
            return str(epoch)
        return f"{epoch}/{self.started.recipe.epochs}"

    def draw_progress(self, step: StepDone) -> Group:
        """What the live view shows between two epochs."""
        bar = Table.grid(padding=(0, 2))
        left = step.seconds * (1 - step.progress) / max(step.progress, 1e-9)
        bar.add_row(
            f"epoch {self._of_all(step.epoch)}",
            ProgressBar(total=1.0, completed=step.progress, width=36),
            f"{100 * step.progress:3.0f} %",
            f"{step.images_per_second:,.0f} images/s",
            f"{console.duration(left)} left",
        )
        figures = f"loss {step.loss:.4f}"
        if self.epochs:
            accuracies = [done.validation_accuracy for done in self.epochs]
            figures += f"   validation {console.percent(accuracies[-1])}"
            if console.err.encoding.startswith("utf") and len(accuracies) > 1:
                figures += f"  {console.sparkline(accuracies[-SPARKS_SHOWN:])}"
        return Group(bar, Text(figures, style="cyan"))


def describe_start(start: RunStarted) -> Table:
    """What is trained on what, and by which recipe."""
    return console.pairs(
        {
            start.config.arch: f"{start.parameters:,} parameters on {start.device}",
            "data": f"{start.config.data}: {start.train_size:,} {start.unit}s to train, "
            f"{start.validation_size:,} to choose, {start.test_size:,} to test once",
            "recipe": describe_recipe(start.recipe, _how_long(start.config, start.recipe)),
            "run": "dry run, nothing is written" if start.run is None else str(start.run),
        }
        | ({"goes on": f"after epoch {start.epochs_done}"} if start.epochs_done else {})
    )


def _how_long(config: TrainConfig, recipe: Recipe) -> str:
    time = "" if config.time_seconds is None else console.duration(config.time_seconds)
    epochs = console.counted(recipe.epochs, "epoch")
    if time and "epochs" in config.recipe:
        return f"{epochs} or {time}"
    return time or epochs


def describe_recipe(recipe: Recipe, how_long: str) -> str:
    """The whole recipe in one line; what is off is left out."""
    parts = [
        f"{how_long} of batches of {recipe.batch_size}",
        f"{recipe.optimizer} lr {recipe.lr:g}" + f" momentum {recipe.momentum:g}" * (recipe.momentum > 0),
        f"betas {recipe.beta1:g} and {recipe.beta2:g}"
        * ((recipe.beta1, recipe.beta2) != (Recipe.beta1, Recipe.beta2)),
        f"{recipe.schedule} schedule" + f" after {100 * recipe.warmup:g} % warm-up" * (recipe.warmup > 0),
        f"weight decay {recipe.weight_decay:g}" * (recipe.weight_decay > 0),
        recipe.loss.replace("_", " ")
        + f" smoothed by {recipe.label_smoothing:g}" * (recipe.label_smoothing > 0),
        f"dropout {recipe.dropout:g}" if recipe.dropout else "",
        f"stochastic depth {recipe.stochastic_depth:g}" if recipe.stochastic_depth else "",
        f"{recipe.initialization} initialization" * (recipe.initialization != "default"),
        f"{recipe.normalization} normalization" * (recipe.normalization not in (None, "batch")),
        _describe_augmentation(recipe) * recipe.augment,
        f"{recipe.synthetic:g} drawn characters a digit" * (recipe.synthetic > 0),
        f"EMA {recipe.ema_decay:g}" * (recipe.ema_decay > 0),
        f"gradients clipped at {recipe.max_grad_norm:g}" * (recipe.max_grad_norm > 0),
        recipe.dtype * (recipe.dtype != "float32"),
    ]
    return ", ".join(part for part in parts if part)


def _describe_augmentation(recipe: Recipe) -> str:
    ways = {
        "affine": recipe.affine,
        "stroke width": recipe.stroke_width,
        f"elastic {recipe.elastic:g} px": recipe.elastic,
        f"ruling {recipe.random_lines:g}": recipe.random_lines,
        f"filtering {recipe.random_convolution:g}": recipe.random_convolution,
        f"erasing {recipe.random_erasing:g}": recipe.random_erasing,
        f"mixup {recipe.mixup:g}": recipe.mixup,
    }
    return f"augmentation ({', '.join(way for way, used in ways.items() if used)})"
