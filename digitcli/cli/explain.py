"""`digitcli explain`: show why a model reads a digit as it does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

from typer import Argument, Option

from digitcli import console
from digitcli.atomic_write import check_writable
from digitcli.cli.options import DeviceOption, complete_shipped
from digitcli.cli.signals import wait_with_signals
from digitcli.data.files import PICTURE_SUFFIXES
from digitcli.errors import InputError, PartialInputError, PictureError, UsageError, did_you_mean
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.interpretation.explanation import PANEL, ChangeKind, Method

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from digitcli.interpretation.explanation import Explanation

SUFFIXES = (".png", ".svg", ".html", ".npz")
TEST_DIGITS = 10_000

ModelArgument = Annotated[
    str,
    Argument(
        metavar="MODEL",
        help="Explain this shipped model, checkpoint file or run folder.",
        autocompletion=complete_shipped,
        show_default=False,
    ),
]
Pictures = Annotated[
    list[Path] | None,
    Argument(metavar="PICTURE", help="Pictures of one digit each.", show_default=False),
]
TestDigit = Annotated[
    list[int] | None,
    Option(
        metavar="N",
        min=0,
        max=TEST_DIGITS - 1,
        help="Also explain the answer to this test digit of MNIST, counted from 0, as evaluate numbers them. "
        "May be given several times.",
    ),
]
Class = Annotated[
    list[int] | None,
    Option(
        "--class",
        metavar="DIGIT",
        min=0,
        max=9,
        help="Show what the model believes this digit is: the mean of test digits, what speaks for it in the "
        "mean, and an input for which the model is as sure as can be. May be given several times.",
    ),
]
Methods = Annotated[
    list[str] | None,
    Option(
        "--method",
        "-m",
        metavar="METHOD",
        help=f"Explain by this method: {', '.join(get_args(Method))}. May be given several times (default: "
        f"{' and '.join(PANEL)}).",
        autocompletion=lambda: list(get_args(Method)),
    ),
]
LayerOption = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="With --method feature-maps, show every map of this layer, named as by digitcli models MODEL.",
    ),
]
Against = Annotated[
    int | None,
    Option(
        metavar="DIGIT",
        min=0,
        max=9,
        help="Show what speaks against this digit (default: the second likeliest).",
    ),
]
Counterfactual = Annotated[
    int | None,
    Option(
        metavar="DIGIT",
        min=0,
        max=9,
        help="Also show a small change of the ink after which the digit is read as this one: added ink "
        "in red, erased ink in blue.",
    ),
]
Adversarial = Annotated[
    bool,
    Option(
        "--adversarial",
        help="With --counterfactual, also show the faintest noise that was found to do the same.",
    ),
]
All = Annotated[
    bool,
    Option("--all", help="Search the nearest digits among all 55,000 training digits, not 2,000."),
]
Save = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Also draw the explanations in a .png, .svg or .html file, or write all arrays to an .npz file.",
    ),
]
Force = Annotated[bool, Option("--force", help="Replace the file of --save if it exists.")]
Format = Annotated[
    console.Format, Option("--format", help="Print pictures for people, or JSON with all values.")
]


def explain(
    model: ModelArgument,
    pictures: Pictures = None,
    test_digit: TestDigit = None,
    classes: Class = None,
    method: Methods = None,
    layer: LayerOption = None,
    against: Against = None,
    counterfactual: Counterfactual = None,
    adversarial: Adversarial = False,
    search_all: All = False,
    device: DeviceOption = None,
    save: Save = None,
    force: Force = False,
    format: Format = "table",
) -> None:
    """Show what in a picture made a model read it as one digit and not as another.

    Example: digitcli explain cnn image.png
    """
    if not pictures and not test_digit and not classes:
        remedy = "Name a picture of one digit, or give --test-digit N or --class DIGIT."
        raise UsageError("No picture is named.", remedy)
    if classes and (method or layer or search_all or (against, counterfactual) != (None, None)):
        remedy = "Leave --method, --layer, --against, --counterfactual and --all out."
        raise UsageError("--class has a method of its own.", remedy)
    methods = _chosen_methods(method, layer, search_all)
    changes = _chosen_changes(counterfactual, adversarial)
    if device is not None:
        check_device_name(device)
    if save is not None:
        _check_target(save, force)
    resolved = _resolve(model)
    with console.Busy("Loading the model"), wait_with_signals():
        from digitcli.interpretation import explain as interpretation
    errors: list[PictureError] = []
    of_images = interpretation.explain(
        resolved,
        _images(pictures or [], test_digit or [], errors),
        methods,
        against,
        changes=changes,
        layer=layer,
        device=device or "auto",
        search_all=search_all,
    )
    of_classes = (
        interpretation.explain_class(resolved, digit, device=device or "auto") for digit in classes or ()
    )
    explanations = _shown(itertools.chain(of_images, of_classes), (against, counterfactual), format)
    if save is not None and explanations:
        from digitcli.interpretation.drawing import save_explanations

        save_explanations(save, explanations)
    _conclude(errors, len(explanations))


def _chosen_methods(names: list[str] | None, layer: str | None, search_all: bool) -> tuple[Method, ...]:
    """Return the methods, after a check of the options that belong to one of them."""
    methods = tuple(_checked(name) for name in names or PANEL)
    if layer is not None and "feature-maps" not in methods:
        raise UsageError("--layer chooses feature maps.", "Give --method feature-maps too.")
    if search_all and "prototype" not in methods:
        raise UsageError("--all searches the nearest training digits.", "Give --method prototype too.")
    return methods


def _chosen_changes(counterfactual: int | None, adversarial: bool) -> list[tuple[ChangeKind, int]]:
    if adversarial and counterfactual is None:
        raise UsageError("--adversarial needs a digit.", "Give --counterfactual DIGIT too.")
    kinds: tuple[ChangeKind, ...] = ("counterfactual", "adversarial") if adversarial else ("counterfactual",)
    return [] if counterfactual is None else [(kind, counterfactual) for kind in kinds]


def _resolve(model: str) -> ResolvedModel:
    if Path(model).suffix.lower().lstrip(".") in PICTURE_SUFFIXES:
        cause = f"{model} is a picture, not a model."
        raise UsageError(cause, f"Give the model first, for example: digitcli explain cnn {model}")
    return resolve_model(model)


def _shown(
    explanations: Iterator[Explanation], others: Sequence[int | None], format: console.Format
) -> list[Explanation]:
    """Show explanations one by one, or all as JSON, and return them."""
    done: list[Explanation] = []
    for explanation in explanations:
        done.append(explanation)
        if explanation.digit in others:
            console.show_notice(f"{explanation.file} is read as {explanation.digit} already.")
        for note in explanation.notes:
            console.show_notice(f"{explanation.file}: {note}")
        if format == "table":
            from digitcli.cli.views.explanation import draw_explanation

            console.show_table(draw_explanation(explanation))
    if format == "json":
        console.show_json([explanation.record() for explanation in done])
    elif console.out.color_system is None and done:
        console.show_notice("Without colours, red and blue look the same: --save draws them in a file.")
    return done


def _checked(method: str) -> Method:
    if method not in get_args(Method):
        cause = f"There is no method '{method}'."
        raise UsageError(cause, did_you_mean(method, get_args(Method)))
    return cast(Method, method)


def _check_target(save: Path, force: bool) -> None:
    if save.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--save cannot write {save}.", f"Name a file that ends with {', '.join(SUFFIXES)}.")
    check_writable(save, force)


def _images(
    pictures: list[Path], test_digits: list[int], errors: list[PictureError]
) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Yield the digits of pictures and test digits; a picture that cannot be read is named and left out."""
    from digitcli.data.mnist import load_mnist_test
    from digitcli.imaging import digit_from_picture

    for path in pictures:
        try:
            digit = digit_from_picture(path)
            if not digit.any():
                raise PictureError("blank", f"Nothing is written in {path}.", "Name a picture of a digit.")
        except PictureError as error:
            if errors:
                console.show_error(errors[-1])  # the last one is the end of the program
            errors.append(error)
        else:
            yield str(path), digit
    if test_digits:
        digits = load_mnist_test()
        for number in test_digits:
            yield f"test digit {number}, a {digits.labels[number]}", digits.images[number]


def _conclude(errors: list[PictureError], done: int) -> None:
    if len(errors) == 1 and not done:
        raise errors[0]
    if errors:
        console.show_error(errors[-1])
    if errors and not done:
        raise InputError("No picture could be read.", "Repair or replace the files that are named above.")
    if errors:
        cause = f"{console.counted(len(errors), 'picture')} could not be read; the others were explained."
        raise PartialInputError(cause, "Repair or remove the files that are named above.")
