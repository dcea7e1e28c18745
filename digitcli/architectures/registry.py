"""The table of architectures, their networks and recipes.

It loads no torch, and it imports no architecture before one of that name is built.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from digitcli.architectures.recipe import RECIPES, TORCHVISION_RECIPE, Recipe
from digitcli.errors import DigitcliError, ModelError, UsageError, did_you_mean
from digitcli.settings import check_effects, option_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

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
    "reader": "text_networks", "finder": "text_networks", "grouper": "text_networks", "ensemble": "averaging",
}  # fmt: skip
PLUGIN_REMEDY = "Reinstall or remove the package that provides it."


@dataclass(frozen=True)
class Architecture:
    """A row of the table; `target` is the function that builds the network, as `module:function`."""

    name: str
    family: str
    task: Task
    paper: str
    target: str

    def load(self) -> Callable[..., nn.Module]:
        """Import and return the function that builds the network.

        Raises:
            UsageError: torchvision has no classifier of that name.
            ModelError: a plug-in cannot be imported.
        """
        try:
            builder: Callable[..., nn.Module] = _import_target(self.target)
            if self.name.startswith(TORCHVISION):
                builder = builder(self.name.removeprefix(TORCHVISION))
        except DigitcliError:
            raise
        except Exception as error:  # a plug-in may raise anything
            raise ModelError(
                f"Architecture '{self.name}' cannot be imported from {self.target}: {error}", PLUGIN_REMEDY
            ) from error
        return builder

    @contextlib.contextmanager
    def plugin_errors(self) -> Iterator[None]:
        """Turn every exception of a plug-in into a `ModelError`; exceptions of the package's own networks are
        bugs."""
        try:
            yield
        except (DigitcliError, MemoryError):
            raise
        except Exception as error:
            if self in (*ARCHITECTURES, ENSEMBLE):
                raise
            raise ModelError(
                f"Architecture '{self.name}' ({self.target}) fails: {error}", PLUGIN_REMEDY
            ) from error


def _own(name: str, family: str, paper: str, task: Task = "digit") -> Architecture:
    return Architecture(
        name, family, task, paper, f"digitcli.architectures.{MODULES.get(family, family)}:{name}"
    )


ARCHITECTURES = (
    _own("softmax", "perceptron", "Bridle 1990"),
    _own("sigmoid_mlp", "perceptron", "Rumelhart, Hinton & Williams 1986"),
    _own("mlp", "perceptron", "Ioffe & Szegedy 2015; Srivastava et al. 2014"),
    _own("fast", "convnet", "Jordan 2024"),
    _own("robust", "convnet", "Jarrett et al. 2009"),
    _own("lenet1", "convnet", "LeCun et al. 1990"),
    _own("lenet5", "convnet", "LeCun et al. 1998"),
    _own("cnn", "convnet", "Krizhevsky, Sutskever & Hinton 2012"),
    _own("allconv", "convnet", "Springenberg et al. 2015"),
    _own("vgg", "convnet", "Simonyan & Zisserman 2015"),
    _own("resnet", "resnet", "He et al. 2016"),
    _own("resnet14", "resnet", "He et al. 2016"),
    _own("wide_resnet", "resnet", "Zagoruyko & Komodakis 2016"),
    _own("squeeze_excite", "resnet", "Hu, Shen & Sun 2018"),
    _own("mobilenet", "compact", "Howard et al. 2017"),
    _own("convmixer", "patches", "Trockman & Kolter 2022"),
    _own("vit", "patches", "Dosovitskiy et al. 2021"),
    _own("mixer", "patches", "Tolstikhin et al. 2021"),
    _own("lstm", "recurrent", "Hochreiter & Schmidhuber 1997"),
    _own("capsnet", "capsules", "Sabour, Frosst & Hinton 2017"),
    _own("tiny", "compact", "Chollet 2017"),
    _own("micro", "compact", "Chollet 2017"),
    _own("hog", "hog", "Dalal & Triggs 2005"),
    _own("reader", "reader", "Graves et al. 2006; Shi, Bai & Yao 2015", task="line"),
    _own("strip_reader", "reader", "Graves et al. 2006; Shi, Bai & Yao 2015", task="line"),
    _own("picture_reader", "reader", "Graves et al. 2006; Shi, Bai & Yao 2015", task="line"),
    _own("finder", "finder", "Ronneberger, Fischer & Brox 2015; Lin et al. 2017", task="page"),
    _own("grouper", "grouper", "Vaswani et al. 2017; Xu et al. 2021", task="gaps"),
)
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
            raise UsageError(
                f"Two architectures are named '{row.name}': {table[row.name].target} and {row.target}.",
                "Uninstall one of the packages, or rename its entry point.",
            )
        table[row.name] = row
    del table[ENSEMBLE.name]
    return table


def _import_target(target: str) -> Any:
    module, _, name = target.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def _plugins() -> list[Architecture]:
    from importlib.metadata import entry_points  # slow to import, and --help does not need it

    return [
        Architecture(point.name, _distribution(point), task, "", point.value)
        for group, task in ENTRY_POINT_GROUPS.items()
        for point in sorted(entry_points(group=group), key=lambda point: point.name)
    ]


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "plug-in"


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
        return Architecture(name, "torchvision", "digit", "", target)
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
            raise UsageError(
                f"Architecture '{name}' does not accept the argument '{argument}'.",
                did_you_mean(argument, accepted) if accepted else "It accepts no arguments.",
            )
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
            raise UsageError(
                f"Architecture '{name}' does not support {option_name(setting)}.",
                _remedy_without(setting, architecture.task),
            )
    resolved = replace(recipe, **changes)
    check_effects(resolved, changes, recipe)
    return resolved


def _remedy_without(setting: str, task: Task) -> str:
    """Return the remedy for a setting that an architecture does not have, with some that have it."""
    able = [row.name for row in ARCHITECTURES if row.task == task and _has_setting(row, setting)]
    others = f", or choose an architecture that has it: {', '.join(able[:NAMED_OTHERS])}" if able else ""
    return f"Leave {option_name(setting)} out{others}."


def _has_setting(architecture: Architecture, setting: str) -> bool:
    return getattr(RECIPES[architecture.name], setting) is not None


def _stored_recipe(architecture: Architecture) -> Recipe:
    """Return the recipe in our table, or the attribute `recipe` of the function of a plug-in."""
    if architecture in ARCHITECTURES:
        return RECIPES[architecture.name]
    if architecture == ENSEMBLE:
        cause = "An ensemble has no recipe of its own, because its members are trained one by one."
        raise UsageError(cause, "Train one with, for example: digitcli train --arch cnn --members 5")
    if architecture.name.startswith(TORCHVISION):
        return TORCHVISION_RECIPE
    builder = architecture.load()
    recipe = getattr(builder, "recipe", Recipe(loss="ctc") if architecture.task == "line" else Recipe())
    if not isinstance(recipe, Recipe):
        cause = f"The recipe of architecture '{architecture.name}' is a {type(recipe).__name__}."
        raise ModelError(cause, PLUGIN_REMEDY)
    dropout = inspect.signature(builder).parameters.get("dropout")
    if recipe.dropout is None and dropout is not None:
        return replace(recipe, dropout=dropout.default)
    return recipe
