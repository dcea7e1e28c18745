"""The ranges in which `digitcli tune` searches the settings of a recipe. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import resolve_recipe
from digitcli.comparison.specification import parse_value
from digitcli.errors import UsageError, did_you_mean
from digitcli.settings import Setting, user_settings
from digitcli.training.checks import check_config
from digitcli.training.configuration import TrainConfig, recipe_from_start

if TYPE_CHECKING:
    from optuna.trial import Trial

# The settings that are varied if none is named, as far as the architecture has them: what papers tune first.
DEFAULT_SETTINGS = ("lr", "batch_size", "weight_decay", "warmup", "dropout")
# The learning rate is searched between a tenth and ten times that of the recipe.
LR_FACTOR = 10.0
# The usual values in papers on networks of this size; a setting that is not here needs its own range.
USUAL = {
    "batch_size": "32,64,128,256,512",
    "weight_decay": "0.0001..1",
    "warmup": "0..0.3",
    "dropout": "0..0.5",
    "stochastic_depth": "0..0.3",
    "label_smoothing": "0..0.2",
    "ema_decay": "0,0.99,0.998,0.999",
    "momentum": "0.8..0.99",
    "beta1": "0.8..0.98",
    "beta2": "0.95..0.999",
    "max_grad_norm": "0,0.5,1,2,5",
    "elastic": "0..2",
    "random_lines": "0..0.5",
    "random_convolution": "0..0.5",
    "random_erasing": "0..0.5",
    "mixup": "0..0.5",
}
# A range whose ends differ by this factor is searched on a logarithmic scale.
LOGARITHMIC = 10.0
# More digits of a number than these change nothing that could be measured, and make commands long. A narrow
# range as 0.99..0.9999 needs more, since the first ones are those of all its numbers.
SIGNIFICANT_DIGITS = 3


@dataclass(frozen=True)
class SearchRange:
    """The values of a setting from which the search chooses: some choices, or numbers from low to high."""

    setting: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_integer: bool = False

    @property
    def is_logarithmic(self) -> bool:
        """Whether the numbers are searched on a logarithmic scale."""
        return self.low > 0 and self.high >= LOGARITHMIC * self.low

    def suggest(self, trial: Trial) -> Any:
        """Return the value that the search chooses for a trial."""
        if self.choices:
            return trial.suggest_categorical(self.setting, self.choices)
        if self.is_integer:
            return trial.suggest_int(self.setting, int(self.low), int(self.high), log=self.is_logarithmic)
        value = trial.suggest_float(self.setting, self.low, self.high, log=self.is_logarithmic)
        digits = SIGNIFICANT_DIGITS + int(math.log10(self.high / (self.high - self.low)))
        return min(max(float(f"{value:.{digits}g}"), self.low), self.high)

    def ends(self) -> tuple[Any, ...]:
        """Return the values that must be allowed so that all of them are."""
        return self.choices or ((int(self.low), int(self.high)) if self.is_integer else (self.low, self.high))


def parse_ranges(texts: Sequence[str], config: TrainConfig) -> tuple[SearchRange, ...]:
    """Parse `lr`, `lr=1e-4..1e-2` and `optimizer=adamw,muon`; without any, take the usual settings.

    Raises:
        UsageError: there is no such setting, it is given twice or is fixed, or a value is not allowed.
    """
    recipe = resolve_recipe(config.arch, **config.recipe)
    of_start_model = recipe_from_start(config).items()
    fixed = {name for name, value in config.recipe.items() if (name, value) not in of_start_model}
    usual = [each for each in DEFAULT_SETTINGS if each not in fixed and getattr(recipe, each) is not None]
    ranges = tuple(_parse_range(text, recipe) for text in texts or usual)
    names = [each.setting for each in ranges]
    for each in ranges:
        if names.count(each.setting) > 1:
            raise UsageError(f"--vary names {each.setting} twice.", "Name it once.")
        if each.setting in fixed:
            raise UsageError(f"{each.setting} is both fixed and varied.", "Leave one of them out.")
        for value in each.ends():
            check_config(replace(config, recipe={**config.recipe, each.setting: value}))
    return ranges


def _parse_range(text: str, recipe: Recipe) -> SearchRange:
    name, equals, values = text.partition("=")
    name = name.replace("-", "_")
    declarations = {declared.name: declared for declared in user_settings(Recipe)}
    if name == "epochs":
        cause = "--vary epochs would reward long trainings."
        raise UsageError(cause, "Fix them for all trials: --arch NAME:epochs=3")
    if name not in declarations:
        raise UsageError(f"There is no setting '{name}' in a recipe.", did_you_mean(name, declarations))
    declared = declarations[name]
    values = values if equals else _usual_values(declared, recipe)
    low, dots, high = values.partition("..")
    if dots:
        return _number_range(text, declared, parse_value(low), parse_value(high))
    choices = tuple(map(parse_value, values.split(",")))
    if len(set(choices)) < 2:
        raise UsageError(f"--vary {text} has one value.", f"Write {name}=LOW..HIGH, or several values.")
    return SearchRange(name, choices)


def _usual_values(declared: Setting, recipe: Recipe) -> str:
    if declared.name == "lr":
        return f"{recipe.lr / LR_FACTOR:g}..{recipe.lr * LR_FACTOR:g}"
    if declared.type is bool:
        return "on,off"
    values = USUAL.get(declared.name, ",".join(declared.choices))
    if not values:
        cause = f"--vary {declared.name} needs its values."
        raise UsageError(cause, f"Write {declared.name}=LOW..HIGH, or {declared.name}=VALUE,VALUE.")
    return values


def _number_range(text: str, declared: Setting, low: Any, high: Any) -> SearchRange:
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if declared.type not in (int, float) or not numbers or not all(map(math.isfinite, (low, high))):
        cause = f"--vary {text} is no range of numbers."
        raise UsageError(cause, f"It must be {declared.allowed}, for example {declared.name}=LOW..HIGH.")
    if low >= high:
        raise UsageError(f"--vary {text} is empty.", "The first number must be the lower one.")
    return SearchRange(declared.name, low=low, high=high, is_integer=declared.type is int)
