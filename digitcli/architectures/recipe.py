"""Recipes: how each architecture is trained. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from digitcli.errors import UsageError
from digitcli.settings import check_settings, option_name, setting, settings_of

Loss = Literal["cross_entropy", "squared_error", "margin", "ctc", "text_regions", "binary_cross_entropy"]
Optimizer = Literal["sgd", "adam", "adamw", "muon"]
Schedule = Literal["constant", "cosine", "linear"]
Initialization = Literal["default", "glorot", "he", "lecun", "orthogonal"]
Normalization = Literal["batch", "group", "layer", "instance", "none"]
Dtype = Literal["auto", "float32", "bfloat16"]

OPTIMIZATION, REGULARIZATION, DISTILLATION = "optimization", "regularization", "distillation"
AUGMENTATION, DATA, TRANSFER = "augmentation", "data", "transfer"
WITH_ADAM = ("optimizer", ("adam", "adamw", "muon"))
WITH_AUGMENT = ("augment", (True,))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings by which an architecture is trained.

    `dropout`, `stochastic_depth` and `normalization` are None if the architecture has no such layers.

    Raises:
        UsageError: a value has the wrong type or lies outside its range.
    """

    # fmt: off
    epochs: int = setting(10, OPTIMIZATION, "Pass over the training data this many times.",
        at_least=1, unit="epochs", letter="-e")
    batch_size: int = setting(128, OPTIMIZATION, "Use this many training examples for each step.",
        at_least=1, unit="examples", letter="-b")
    min_epoch_steps: int = setting(0, OPTIMIZATION,
        "Repeat a small dataset until an epoch has at least this many steps; 0 passes over it once.",
        at_least=0, unit="steps")
    optimizer: Optimizer = setting("adamw", OPTIMIZATION, "Update the weights with this optimizer.")
    lr: float = setting(1e-3, OPTIMIZATION, "Use this peak learning rate.", above=0, unit="rate")
    schedule: Schedule = setting("cosine", OPTIMIZATION,
        "Lower the learning rate by this schedule after the warm-up; cosine and linear end at zero.")
    warmup: float = setting(0.1, OPTIMIZATION,
        "Raise the learning rate linearly over this fraction of the training.",
        at_least=0, below=1, unit="fraction")
    momentum: float = setting(0.0, OPTIMIZATION, "Use this Nesterov momentum with the optimizer sgd.",
        at_least=0, below=1, unit="fraction", requires=("optimizer", ("sgd",)))
    beta1: float = setting(0.9, OPTIMIZATION,
        "Average gradients with this decay in adam, adamw and the part of muon that is adamw.",
        at_least=0, below=1, unit="decay", requires=WITH_ADAM)
    beta2: float = setting(0.999, OPTIMIZATION,
        "Average squared gradients with this decay in adam, adamw and the part of muon that is adamw.",
        at_least=0, below=1, unit="decay", requires=WITH_ADAM)
    max_grad_norm: float = setting(0.0, OPTIMIZATION,
        "Clip the norm of the gradient to this value; 0 turns clipping off.", at_least=0, unit="norm")
    loss: Loss = setting("cross_entropy", OPTIMIZATION, "Minimize this loss.", is_option=False)
    initialization: Initialization = setting("default", OPTIMIZATION,
        "Initialize the weights by this method; default keeps that of the architecture.")
    dtype: Dtype = setting("float32", OPTIMIZATION,
        "Compute in this number format; auto takes bfloat16 if the device has native bfloat16 instructions.")
    weight_decay: float = setting(0.0, REGULARIZATION,
        "Apply this weight decay to matrices and kernels, but not to biases and normalization layers.",
        at_least=0, unit="rate")
    dropout: float | None = setting(None, REGULARIZATION,
        "Drop this fraction of the activations during training.", at_least=0, below=1, unit="fraction")
    stochastic_depth: float | None = setting(None, REGULARIZATION,
        "Skip the last residual branch with this probability during training, and earlier ones less often.",
        at_least=0, below=1, unit="probability")
    normalization: Normalization | None = setting(None, REGULARIZATION,
        "Replace batch normalization by this kind; none keeps only its scale and shift.")
    label_smoothing: float = setting(0.0, REGULARIZATION,
        "Spread this fraction of each label evenly over all ten digits.",
        at_least=0, below=1, unit="fraction")
    ema_decay: float = setting(0.0, REGULARIZATION,
        "Keep an exponential moving average of the weights with this decay as the model; 0 turns it off.",
        at_least=0, below=1, unit="decay")
    # Chosen on validation digits: docs/distillation.md has the figures.
    distillation_temperature: float = setting(2.0, DISTILLATION,
        "Divide the logits of the network and of its --teacher by this temperature before they are compared.",
        above=0, at_most=100, unit="temperature")
    distillation_weight: float = setting(0.9, DISTILLATION,
        "Give the answers of --teacher this weight in the loss, and the labels the rest.",
        above=0, at_most=1, unit="fraction", is_option=False)
    augment: bool = setting(False, AUGMENTATION,
        "Change the training digits at random by the augmentations below; most recipes have this on.")
    stroke_width: bool = setting(True, AUGMENTATION,
        "Make the strokes of half of the digits thicker or thinner.", requires=WITH_AUGMENT, is_option=False)
    affine: bool = setting(True, AUGMENTATION, "Shift, rotate, scale and shear each digit a little.",
        requires=WITH_AUGMENT, is_option=False)
    elastic: float = setting(0.0, AUGMENTATION,
        "Bend each digit by smooth displacements with this standard deviation in pixels.",
        at_least=0, at_most=5, unit="pixels", requires=WITH_AUGMENT)
    random_lines: float = setting(0.0, AUGMENTATION,
        "Draw one to three straight lines across this fraction of the digits.",
        at_least=0, at_most=1, unit="fraction", requires=WITH_AUGMENT)
    random_convolution: float = setting(0.0, AUGMENTATION,
        "Apply a random filter and random greys for ink and paper to this fraction of the digits.",
        at_least=0, at_most=1, unit="fraction", requires=WITH_AUGMENT)
    random_erasing: float = setting(0.0, AUGMENTATION,
        "Erase a random rectangle from this fraction of the digits.",
        at_least=0, at_most=1, unit="fraction", requires=WITH_AUGMENT)
    mixup: float = setting(0.0, AUGMENTATION,
        "Blend pairs of digits and their labels by a weight from Beta(ALPHA, ALPHA); 0 turns it off.",
        at_least=0, at_most=10, unit="alpha", requires=WITH_AUGMENT)
    synthetic: float = setting(0.0, DATA,
        "Add this many synthetic characters per training digit; half of them are letters, which the model "
        "learns to reject.", at_least=0, at_most=10, unit="characters")
    freeze: int = setting(0, TRANSFER,
        "Keep the weights of this many stages as they are, counted from the input; -1 trains only the last.",
        unit="stages")
    rehearse: float = setting(0.0, TRANSFER,
        "Take this fraction of each batch from the data that the start model was trained on.",
        at_least=0, below=1, unit="fraction")
    # fmt: on

    def __post_init__(self) -> None:
        check_settings(self)
        for name in ("label_smoothing", "synthetic"):
            if getattr(self, name) > 0 and self.loss != "cross_entropy":
                cause = f"{option_name(name)} is {getattr(self, name)}, but the loss is {self.loss}."
                raise UsageError(cause, f"Leave {option_name(name)} out.")


# The settings of earlier versions, with the values that turned them off.
REMOVED = {"layer_decay": None}


def stored_recipe(settings: Mapping[str, Any]) -> Recipe:
    """Return a recipe as a file holds it, also one of an earlier version.

    Raises:
        TypeError: there is no such setting, or it is no longer there and was on.
        UsageError: a value is out of range.
    """
    is_removed = {name for name, off in REMOVED.items() if settings.get(name) == off}
    return Recipe(**{name: value for name, value in settings.items() if name not in is_removed})


def augmentations() -> tuple[str, ...]:
    """Return the settings that change training digits if `augment` is on."""
    return tuple(declared.name for declared in settings_of(Recipe) if declared.requires == WITH_AUGMENT)


# The recipes of kinds of networks; `registry.ARCHITECTURES` has those of each architecture.
# fmt: off
CONVOLUTIONS = Recipe(
    lr=4e-3, weight_decay=0.05, normalization="batch", augment=True, ema_decay=0.999, dtype="auto")
RESIDUAL = replace(CONVOLUTIONS, stochastic_depth=0.0)
TOKENS = Recipe(
    epochs=14, lr=2e-3, weight_decay=0.05, warmup=0.2, stochastic_depth=0.0, augment=True, ema_decay=0.999,
    max_grad_norm=1.0, dtype="auto")
LINES = Recipe(
    epochs=40, batch_size=32, optimizer="muon", lr=3e-3, weight_decay=0.02, warmup=0.02, loss="ctc",
    dropout=0.1, stochastic_depth=0.0, normalization="batch", ema_decay=0.999, max_grad_norm=2.0,
    dtype="auto")
# fmt: on
TORCHVISION_RECIPE = replace(CONVOLUTIONS, epochs=4, lr=1e-3, normalization=None)
