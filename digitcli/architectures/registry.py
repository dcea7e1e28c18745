"""The table of architectures. It loads no torch, and no architecture before its name is asked for."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from digitcli.config import Recipe, TrainConfig, change, spoken
from digitcli.errors import DigitcliError, InputError, ModelError, UsageError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from torch import nn

Task = Literal["digit", "line"]
HOLD_NO_DIGITS = ("fashion-mnist", "kmnist")
TORCHVISION = "torchvision/"  # before the name of one of its classifiers
IMPORTED = "digitcli.architectures.torchvision_models:builder_of"
RECIPES = "digitcli.architectures.recipes:RECIPES"
REPLACE_NORMALISATION = "digitcli.architectures.variants:replace_normalization"
NOT_IN_ALL = {
    "dropout": "dropout",
    "stochastic_depth": "residual branches to leave out",
    "normalization": "batch normalization to replace",
}
WAYS_TO_AUGMENT = (
    "affine",
    "stroke_width",
    "elastic",
    "random_lines",
    "random_convolution",
    "random_erasing",
    "mixup",
)
ENTRY_POINT_GROUPS: dict[str, Task] = {
    "digitcli.architectures": "digit",
    "digitcli.architectures.line": "line",
}


_PROVIDER = "Reinstall or remove the package that provides it."


@dataclass(frozen=True)
class Architecture:
    """A row of the table; `target` is `module:function`, the form of an entry point."""

    name: str
    family: str
    task: Task
    paper: str
    target: str

    def load(self) -> Callable[..., nn.Module]:
        """Import and return the function that builds the network.

        Raises:
            UsageError: torchvision has none of that name.
            ModelError: a plug-in cannot be imported.
        """
        try:
            builder: Callable[..., nn.Module] = _loaded(self.target)
            if self.name.startswith(TORCHVISION):
                builder = _loaded(self.target)(self.name.removeprefix(TORCHVISION))
        except DigitcliError:
            raise
        except Exception as error:  # a plug-in may raise anything
            raise ModelError(
                f"Architecture '{self.name}' cannot be imported from {self.target}: {error}", _PROVIDER
            ) from error
        return builder

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Within it a network is built or run; what a plug-in raises is a `ModelError`, our bugs are not."""
        try:
            yield
        except (DigitcliError, MemoryError):
            raise
        except Exception as error:
            if self in ARCHITECTURES:
                raise
            raise ModelError(
                f"Architecture '{self.name}', {self.target}, fails: {error}", _PROVIDER
            ) from error


def _own(name: str, family: str, paper: str, task: Task = "digit") -> Architecture:
    return Architecture(name, family, task, paper, f"digitcli.architectures.{family}:{name}")


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
    _own("mobilenet", "mobilenet", "Howard et al. 2017"),
    _own("convmixer", "patches", "Trockman & Kolter 2022"),
    _own("vit", "patches", "Dosovitskiy et al. 2021"),
    _own("mixer", "patches", "Tolstikhin et al. 2021"),
    _own("lstm", "recurrent", "Hochreiter & Schmidhuber 1997"),
    _own("capsnet", "capsules", "Sabour, Frosst & Hinton 2017"),
    _own("tiny", "small", "Lin, Chen & Yan 2014"),
    _own("micro", "small", "Chollet 2017"),
    _own("hog", "hog", "Dalal & Triggs 2005"),
    _own("reader", "reader", "Graves et al. 2006; Shi, Bai & Yao 2015", task="line"),
)


@functools.cache
def architectures() -> dict[str, Architecture]:
    """Every architecture by name: ours in table order, then those of installed plug-ins.

    Raises:
        UsageError: two architectures claim one name.
    """
    table: dict[str, Architecture] = {}
    for row in (*ARCHITECTURES, *_plugins()):
        if row.name in table:
            raise UsageError(
                f"Two architectures are named '{row.name}': {table[row.name].target} and {row.target}.",
                "Uninstall one of the packages, or rename its entry point.",
            )
        table[row.name] = row
    return table


def _loaded(target: str) -> Any:
    """What `module:name` stands for."""
    module, _, name = target.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def _plugins() -> list[Architecture]:
    from importlib.metadata import entry_points  # which a mere --help need not load

    return [
        Architecture(point.name, _distribution(point), task, "", point.value)
        for group, task in ENTRY_POINT_GROUPS.items()
        for point in sorted(entry_points(group=group), key=lambda point: point.name)
    ]


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "plug-in"


def is_architecture(name: str) -> bool:
    """Whether an architecture has that name, or may have: what torchvision has is not looked up."""
    return name in architectures() or name.startswith(TORCHVISION)


def find_architecture(name: str) -> Architecture:
    """The architecture of that name; `torchvision/NAME` is torchvision's, see `architectures/imported.py`.

    Raises:
        UsageError: there is none; the remedy suggests the nearest names.
    """
    table = architectures()
    if name.startswith(TORCHVISION):
        return Architecture(name, "torchvision", "digit", "", IMPORTED)
    if name not in table:
        raise UsageError(f"There is no architecture named '{name}'.", did_you_mean(name, table))
    return table[name]


def takes(name: str, argument: str) -> bool:
    """Whether an architecture is built with an argument of that name.

    Raises:
        UsageError: an unknown architecture.
        ModelError: a plug-in cannot be imported.
    """
    return argument in inspect.signature(find_architecture(name).load()).parameters


def create_model(name: str, /, **arguments: Any) -> nn.Module:
    """Build an architecture with fresh weights, e.g. `create_model("cnn", dropout=0.2)`.

    `normalization` goes with every architecture, see `architectures/switches.py`.

    Raises:
        UsageError: an unknown architecture, or an argument it does not take.
        ModelError: a plug-in cannot be imported, or fails.
    """
    architecture = find_architecture(name)
    builder = architecture.load()
    accepted = inspect.signature(builder).parameters
    normalization = None if "normalization" in accepted else arguments.pop("normalization", None)
    for argument in arguments:
        if argument not in accepted:
            raise UsageError(
                f"Architecture '{name}' takes no argument '{argument}'.",
                did_you_mean(argument, accepted) if accepted else "It takes none.",
            )
    if "dropout" in accepted:
        arguments = {"dropout": recipe_of(name).dropout, **arguments}
    with architecture.used():
        network = builder(**arguments)
        if not callable(getattr(network, "state_dict", None)):
            raise TypeError(f"it gives a {type(network).__name__}, which is no network")
    if normalization is not None:
        _loaded(REPLACE_NORMALISATION)(network, normalization)
    return network


def recipe_of(name: str, /, **changes: Any) -> Recipe:
    """The whole recipe an architecture is trained by, with those changes. Ours load no torch.

    Raises:
        UsageError: a value out of range, or one for what the architecture does not have.
        ModelError: a plug-in cannot be imported.
    """
    recipe = _stored_recipe(find_architecture(name))
    for setting, spoken_of in NOT_IN_ALL.items():
        if getattr(recipe, setting) is None and changes.get(setting) is not None:
            cause = f"Architecture '{name}' has no {spoken_of}."
            if name.startswith(TORCHVISION):
                cause = f"What '{name}' is built of is torchvision's own choice."
            raise UsageError(cause, f"Leave {spoken(setting)} out.")
    resolved = change(recipe, **changes)
    ways = [setting for setting in WAYS_TO_AUGMENT if changes.get(setting)]
    if "augment" in changes:  # a whole recipe may be given, with what it is by default
        ways = [setting for setting in ways if changes[setting] != getattr(recipe, setting)]
    if ways and not resolved.augment:
        raise UsageError(f"{spoken(ways[0])} is a part of augmentation.", "Give --augment too.")
    return resolved


def located(config: TrainConfig) -> TrainConfig:
    """What was chosen for a run, with absolute paths of strokes and fonts.

    Raises:
        InputError: there are no such strokes or fonts.
    """
    for source in ("strokes", "fonts"):
        path = getattr(config, source)
        if path is not None and not os.path.exists(path):  # noqa: PTH110 (which raises nothing)
            raise InputError(f"There is no file or folder {path}.", f"Name the {source}.")
        if path is not None:
            config = change(config, **{source: str(Path(path).resolve())})
    return config


def check_together(config: TrainConfig) -> None:
    """Whether what was chosen for a run goes together.

    Raises:
        UsageError: it does not, or a value is out of range.
        ModelError: a plug-in cannot be imported.
    """
    if config.pretrained and not config.arch.startswith(TORCHVISION):
        raise UsageError(
            f"Architecture '{config.arch}' has no pretrained weights.", "Leave --pretrained out."
        )
    recipe = recipe_of(config.arch, **config.recipe)
    if config.pretrained and recipe.initialization != "default":
        cause = "Weights that are drawn anew are not pretrained."
        raise UsageError(cause, "Leave --initialization or --pretrained out.")
    own, usual = recipe_of(config.arch), Recipe()
    for setting in ("beta1", "beta2") if recipe.optimizer == "sgd" else ("momentum",):
        if getattr(recipe, setting) not in (getattr(own, setting), getattr(usual, setting)):
            cause = f"The optimizer {recipe.optimizer} has no {spoken(setting)}."
            raise UsageError(cause, "Leave it out, or take another --optimizer.")
    check_what_is_drawn(config, recipe)


def check_what_is_drawn(config: TrainConfig, recipe: Recipe) -> None:
    """Whether strokes, fonts and drawn characters go with the architecture.

    Raises:
        UsageError: they do not.
    """
    lines = find_architecture(config.arch).task == "line"
    if lines and recipe.synthetic:
        raise UsageError("Drawn characters are for architectures of digits.", "Leave --synthetic out.")
    if config.strokes is not None and not lines:
        raise UsageError(f"Architecture '{config.arch}' reads digits, not lines.", "Leave --strokes out.")
    if recipe.synthetic and config.data in HOLD_NO_DIGITS:
        raise UsageError(f"{config.data} holds no digits, which are drawn.", "Leave --synthetic out.")
    if config.fonts is not None and not recipe.synthetic:
        raise UsageError("Fonts are to draw characters from.", "Give --synthetic too, or leave --fonts out.")


def _stored_recipe(architecture: Architecture) -> Recipe:
    """From our table, or from a plug-in's function, which may carry one as its attribute `recipe`."""
    recipes: dict[str, Recipe] = _loaded(RECIPES)
    if architecture in ARCHITECTURES:
        return recipes[architecture.name]
    if architecture.name.startswith(TORCHVISION):
        return recipes[TORCHVISION]
    builder = architecture.load()
    usual = Recipe(loss="ctc") if architecture.task == "line" else Recipe()
    recipe = getattr(builder, "recipe", usual)
    if not isinstance(recipe, Recipe):
        cause = f"The recipe of architecture '{architecture.name}' is a {type(recipe).__name__}."
        raise ModelError(cause, _PROVIDER)
    dropout = inspect.signature(builder).parameters.get("dropout")
    if recipe.dropout is None and dropout is not None:
        return change(recipe, dropout=dropout.default)
    return recipe
