"""The table of architectures, their networks and recipes.

It loads no torch, and it imports no architecture before one of that name is built.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from digitcli.architectures.recipe import CONVOLUTIONS, LINES, RESIDUAL, TOKENS, TORCHVISION_RECIPE, Recipe
from digitcli.errors import DigitcliError, ModelError, UsageError, did_you_mean
from digitcli.settings import check_effects, option_name

if TYPE_CHECKING:
    from torch import nn

Task = Literal["digit", "line", "page", "gaps"]
TORCHVISION = "torchvision/"  # the prefix of the names of torchvision's classifiers
ENTRY_POINT_GROUPS: dict[str, Task] = {
    "digitcli.architectures": "digit",
    "digitcli.architectures.line": "line",
    "digitcli.architectures.page": "page",
    "digitcli.architectures.gaps": "gaps",
}
NAMED_OTHERS = 4  # architectures at most that a remedy names (chosen by hand)
MODULES = {  # of the families that have no file of their own name
    "perceptron": "baselines", "recurrent": "baselines", "hog": "baselines", "compact": "convnet",
    "capsules": "convnet", "reader": "text_networks", "finder": "text_networks", "grouper": "text_networks",
    "ensemble": "averaging",
}  # fmt: skip
PLUGIN_REMEDY = "Reinstall or remove the package that provides it."


@dataclass(frozen=True)
class Architecture:
    """A row of the table; `target` is the function that builds the network, as `module:function`.

    The recipe is None if the function may have one as an attribute, as those of plug-ins.
    """

    name: str
    family: str
    task: Task
    paper: str
    target: str
    recipe: Recipe | None = None

    def load(self) -> Callable[..., nn.Module]:
        """Import and return the function that builds the network.

        Raises:
            UsageError: torchvision has no classifier of that name.
            ModelError: a plug-in cannot be imported.
        """
        module, _, name = self.target.partition(":")
        with self.plugin_errors(f"cannot be imported from {self.target}"):
            builder: Callable[..., nn.Module] = operator.attrgetter(name)(importlib.import_module(module))
            if self.name.startswith(TORCHVISION):
                builder = builder(self.name.removeprefix(TORCHVISION))
        return builder

    @contextlib.contextmanager
    def plugin_errors(self, what_fails: str = "") -> Iterator[None]:
        """Turn every exception of a plug-in into a `ModelError`; those of our own networks are bugs."""
        try:
            yield
        except (DigitcliError, MemoryError):
            raise
        except Exception as error:
            if self in (*ARCHITECTURES, ENSEMBLE):
                raise
            cause = f"Architecture '{self.name}' {what_fails or f'({self.target}) fails'}: {error}"
            raise ModelError(cause, PLUGIN_REMEDY) from error


def _own(
    name: str, family: str, paper: str, recipe: Recipe | None = None, task: Task = "digit"
) -> Architecture:
    target = f"digitcli.architectures.{MODULES.get(family, family)}:{name}"
    return Architecture(name, family, task, paper, target, recipe)


GRAVES = "Graves et al. 2006; Shi, Bai & Yao 2015"


# fmt: off
ARCHITECTURES = (
    _own("softmax", "perceptron", "Bridle 1990", Recipe(epochs=20, lr=1e-3)),
    _own("sigmoid_mlp", "perceptron", "Rumelhart, Hinton & Williams 1986", Recipe(
        epochs=30, batch_size=10, optimizer="sgd", lr=0.5, schedule="constant", warmup=0.0,
        loss="squared_error")),
    _own("mlp", "perceptron", "Ioffe & Szegedy 2015; Srivastava et al. 2014", Recipe(
        epochs=20, lr=2e-3, weight_decay=0.01, dropout=0.0, normalization="batch", augment=True,
        ema_decay=0.999)),
    _own("fast", "convnet", "Jordan 2024", Recipe(
        epochs=1, batch_size=256, lr=0.01, beta1=0.7, beta2=0.9, schedule="linear", warmup=0.2,
        label_smoothing=0.1, normalization="batch", augment=True, dtype="auto")),
    _own("robust", "convnet", "Jarrett et al. 2009", replace(
        CONVOLUTIONS, epochs=60, dropout=0.2, elastic=0.5, random_lines=0.25, random_convolution=0.25,
        random_erasing=0.25)),
    _own("lenet1", "convnet", "LeCun et al. 1990", Recipe(
        epochs=15, lr=5e-3, augment=True, ema_decay=0.999)),
    _own("lenet5", "convnet", "LeCun et al. 1998", Recipe(
        epochs=15, lr=3e-3, weight_decay=0.01, augment=True, ema_decay=0.999)),
    _own("cnn", "convnet", "Krizhevsky, Sutskever & Hinton 2012", Recipe(
        epochs=6, lr=2e-3, weight_decay=0.05, dropout=0.5, augment=True, ema_decay=0.999, dtype="auto")),
    _own("allconv", "convnet", "Springenberg et al. 2015", replace(CONVOLUTIONS, epochs=8, dropout=0.1)),
    _own("vgg", "convnet", "Simonyan & Zisserman 2015", replace(CONVOLUTIONS, epochs=8, dropout=0.1)),
    _own("resnet", "resnet", "He et al. 2016", replace(RESIDUAL, epochs=16)),
    _own("resnet14", "resnet", "He et al. 2016", replace(RESIDUAL, epochs=12)),
    _own("wide_resnet", "resnet", "Zagoruyko & Komodakis 2016", replace(RESIDUAL, epochs=8, dropout=0.1)),
    _own("squeeze_excite", "resnet", "Hu, Shen & Sun 2018", replace(RESIDUAL, epochs=12)),
    _own("mobilenet", "compact", "Howard et al. 2017", replace(CONVOLUTIONS, epochs=12)),
    _own("convmixer", "patches", "Trockman & Kolter 2022", replace(RESIDUAL, epochs=12)),
    _own("vit", "patches", "Dosovitskiy et al. 2021", replace(
        TOKENS, optimizer="muon", lr=1e-2, warmup=0.1, dropout=0.0)),
    _own("mixer", "patches", "Tolstikhin et al. 2021", replace(TOKENS, dropout=0.0)),
    _own("lstm", "recurrent", "Hochreiter & Schmidhuber 1997", Recipe(
        epochs=15, lr=3e-3, weight_decay=0.01, dropout=0.2, augment=True, ema_decay=0.999, max_grad_norm=1.0,
        dtype="auto")),
    _own("capsnet", "capsules", "Sabour, Frosst & Hinton 2017", Recipe(
        epochs=8, lr=2e-3, loss="margin", augment=True, ema_decay=0.999, dtype="auto")),
    _own("tiny", "compact", "Chollet 2017", replace(CONVOLUTIONS, epochs=40, lr=0.01)),
    _own("micro", "compact", "Chollet 2017", Recipe(
        epochs=40, lr=0.02, normalization="batch", ema_decay=0.999, dtype="auto")),
    _own("hog", "hog", "Dalal & Triggs 2005", Recipe(epochs=20, lr=3e-3, augment=True)),
    _own("reader", "reader", GRAVES, replace(LINES, epochs=54, batch_size=64), "line"),
    _own("glance", "reader", GRAVES, replace(LINES, epochs=40, batch_size=64, dropout=0.0), "line"),
    _own("finder", "finder", "Ronneberger, Fischer & Brox 2015; Lin et al. 2017", Recipe(
        epochs=40, batch_size=8, lr=2.5e-3, beta1=0.9, beta2=0.99, weight_decay=1e-3, warmup=0.01,
        loss="text_regions", stochastic_depth=0.0, normalization="batch", ema_decay=0.998,
        max_grad_norm=5.0, dtype="auto"), "page"),
    _own("grouper", "grouper", "Vaswani et al. 2017; Xu et al. 2021", Recipe(
        epochs=24, batch_size=8, lr=2e-3, weight_decay=0.02, warmup=0.1, loss="binary_cross_entropy",
        max_grad_norm=1.0, ema_decay=0.998), "gaps"),
)
# fmt: on
# It is built from trained members and cannot be trained itself, so the table of architectures lacks it.
ENSEMBLE = _own("ensemble", "ensemble", "Hansen & Salamon 1990")


@functools.cache
def architectures() -> dict[str, Architecture]:
    """Return every architecture that can be trained, by its name: our own, then those of installed plug-ins.

    Raises:
        UsageError: two architectures have the same name.
    """
    table = {ENSEMBLE.name: ENSEMBLE}
    for row in (*ARCHITECTURES, *_plugins()):
        if row.name in table:
            both = f"{table[row.name].target} and {row.target}"
            cause = f"Two architectures are named '{row.name}': {both}."
            raise UsageError(cause, "Uninstall one of the packages, or rename its entry point.")
        table[row.name] = row
    del table[ENSEMBLE.name]
    return table


def _plugins() -> list[Architecture]:
    from importlib.metadata import entry_points  # slow to import, and --help does not need it

    return [
        Architecture(point.name, point.dist.name if point.dist else "plug-in", task, "", point.value)
        for group, task in ENTRY_POINT_GROUPS.items()
        for point in sorted(entry_points(group=group), key=lambda point: point.name)
    ]


def is_architecture(name: str) -> bool:
    """Return whether an architecture of a name can be trained, without loading torchvision."""
    return name in architectures() or name.startswith(TORCHVISION)


def find_architecture(name: str) -> Architecture:
    """Return the architecture of a name: one of the table, `torchvision/NAME` or `ensemble`.

    Raises:
        UsageError: the name is unknown; the remedy suggests the nearest names.
    """
    table = architectures()
    if name == ENSEMBLE.name:
        return ENSEMBLE
    if name.startswith(TORCHVISION):
        target = "digitcli.architectures.torchvision_models:find_builder"
        return Architecture(name, "torchvision", "digit", "", target, TORCHVISION_RECIPE)
    if name not in table:
        raise UsageError(f"There is no architecture named '{name}'.", did_you_mean(name, table))
    return table[name]


def accepts_argument(name: str, argument: str) -> bool:
    """Return whether an architecture can be built with an argument of that name.

    Raises:
        UsageError: the architecture is unknown.
        ModelError: a plug-in cannot be imported.
    """
    return argument in inspect.signature(find_architecture(name).load()).parameters


def create_model(name: str, /, **arguments: Any) -> nn.Module:
    """Build an architecture with fresh weights, for example `create_model("cnn", dropout=0.2)`.

    Every architecture with batch normalization accepts `normalization`, see `model_surgery.py`, and every
    architecture accepts `compression`, see `compression.py`.

    Raises:
        UsageError: the architecture is unknown or does not accept an argument.
        ModelError: a plug-in cannot be imported, or it fails.
    """
    architecture = find_architecture(name)
    builder = architecture.load()
    accepted = inspect.signature(builder).parameters
    normalization = None if "normalization" in accepted else arguments.pop("normalization", None)
    changes = arguments.pop("compression", ())
    for argument in arguments:
        if argument not in accepted:
            cause = f"Architecture '{name}' does not accept the argument '{argument}'."
            remedy = did_you_mean(argument, accepted) if accepted else "It accepts no arguments."
            raise UsageError(cause, remedy)
    if "dropout" in accepted:
        arguments = {"dropout": resolve_recipe(name).dropout, **arguments}
    with architecture.plugin_errors():
        network = builder(**arguments)
        if not callable(getattr(network, "state_dict", None)):
            raise TypeError(f"it returns a {type(network).__name__}, which is not a network")
    if normalization is not None:
        from digitcli.architectures.model_surgery import replace_normalization  # loads torch

        replace_normalization(network, normalization)
    if changes:
        from digitcli.architectures.compression import apply_changes  # loads torch

        apply_changes(network, changes)
    return network


def resolve_recipe(name: str, /, **changes: Any) -> Recipe:
    """Return the recipe of an architecture with some settings changed.

    Raises:
        UsageError: a value is out of range, a changed setting has no effect on this architecture, or it is
            the ensemble.
        ModelError: a plug-in cannot be imported.
    """
    architecture = find_architecture(name)
    recipe = _stored_recipe(architecture)
    for setting in ("dropout", "stochastic_depth", "normalization"):
        if getattr(recipe, setting) is None and changes.get(setting) is not None:
            able = [
                row.name for row in ARCHITECTURES
                if row.task == architecture.task and getattr(row.recipe, setting) is not None
            ]  # fmt: skip
            others = f", or choose an architecture that has it: {', '.join(able[:NAMED_OTHERS])}"
            cause = f"Architecture '{name}' does not support {option_name(setting)}."
            raise UsageError(cause, f"Leave {option_name(setting)} out{others if able else ''}.")
    resolved = replace(recipe, **changes)
    check_effects(resolved, changes, recipe)
    return resolved


def _stored_recipe(architecture: Architecture) -> Recipe:
    """Return the recipe in our table, or the attribute `recipe` of the function of a plug-in."""
    if architecture.recipe is not None:
        return architecture.recipe
    if architecture == ENSEMBLE:
        cause = "An ensemble has no recipe of its own, because its members are trained one by one."
        raise UsageError(cause, "Train one with, for example: digitcli train --arch cnn --members 5")
    builder = architecture.load()
    recipe = getattr(builder, "recipe", Recipe(loss="ctc") if architecture.task == "line" else Recipe())
    if not isinstance(recipe, Recipe):
        cause = f"The recipe of architecture '{architecture.name}' is a {type(recipe).__name__}."
        raise ModelError(cause, PLUGIN_REMEDY)
    dropout = inspect.signature(builder).parameters.get("dropout")
    if recipe.dropout is None and dropout is not None:
        return replace(recipe, dropout=dropout.default)
    return recipe
