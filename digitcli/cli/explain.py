"""`digitcli explain`: show why a model reads a digit as it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

from typer import Argument, Option

from digitcli import console
from digitcli.atomic_write import check_writable
from digitcli.cli.explain_run import ExplainOptions, run
from digitcli.cli.options import DRAWINGS, DeviceOption, model_argument
from digitcli.data.files import PICTURE_SUFFIXES
from digitcli.errors import UsageError, did_you_mean, quoted
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.interpretation.explanation import LINE_PANEL, PANEL, ChangeKind, Method

SUFFIXES = (*DRAWINGS, ".npz")
TEST_DIGITS = 10_000
# Methods of the literature that the command does not offer, by a sanity check in docs/explanation.md.
WITHDRAWN = ("grad-cam", "attention")
# Why a model of lines cannot take an option.
REFUSED_FOR_LINES = {
    "--test-digit": "test digits of MNIST are no lines",
    "--class": "it shows the mean of test digits of MNIST",
    "--counterfactual": "it redraws the image of a single digit",
    "--all": "it searches training digits, each of which stands alone",
    "--method prototype": "it searches training digits, each of which stands alone",
}

ModelArgument = Annotated[str, model_argument("Explain")]
Pictures = Annotated[
    list[Path] | None,
    Argument(
        metavar="PICTURE",
        help="Pictures of one digit each, or of one number each for a model of lines.",
        show_default=False,
    ),
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
        f"{' and '.join(PANEL)}; with a model of lines, {' and '.join(LINE_PANEL)}).",
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
Position = Annotated[
    int | None,
    Option(
        metavar="N",
        min=1,
        help="With a model of lines, explain this digit of the number, counted from 1 (default: the least "
        "certain).",
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
    Option(
        "--all",
        help="Search the nearest digits among all 55,000 training digits, not 2,000; with --class, average "
        "over all test digits of the class, not 50.",
    ),
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
    position: Position = None,
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
    _check_not_a_picture(model)
    if not pictures and not test_digit and not classes:
        remedy = "Name a picture of one digit, or give --test-digit N or --class DIGIT."
        raise UsageError("No picture is named.", remedy)
    if classes and (method or layer or (against, counterfactual) != (None, None)):
        remedy = "Leave --method, --layer, --against and --counterfactual out."
        raise UsageError("--class has a method of its own.", remedy)
    methods = _chosen_methods(method, layer, search_all)
    changes = _chosen_changes(counterfactual, adversarial)
    if device is not None:
        check_device_name(device)
    if save is not None:
        _check_target(save, force)
    resolved = resolve_model(model)
    if resolved.header.task == "line":
        given = {
            "--test-digit": test_digit,
            "--class": classes,
            "--counterfactual": changes,
            "--all": search_all,
            "--method prototype": method and "prototype" in methods,
        }
        _refuse_for_lines(resolved, [option for option, value in given.items() if value])
        methods = methods if method else LINE_PANEL
    elif position is not None:
        cause = f"--position chooses a digit of a line, and {resolved.name} does not read lines."
        raise UsageError(cause, "Leave it out, or name a model of lines, for example reader.")
    options = ExplainOptions(
        pictures=pictures or [], test_digits=test_digit or [], classes=classes or [], methods=methods,
        layer=layer, against=against, position=position, changes=changes, search_all=search_all,
        device=device or "auto", save=save, format=format,
    )  # fmt: skip
    run(resolved, options)


def _refuse_for_lines(model: ResolvedModel, given: list[str]) -> None:
    if given:
        cause = f"{model.name} reads lines, and {given[0]} needs a model of single digits: "
        remedy = f"Leave {given[0]} out, or name a model of single digits, for example cnn."
        raise UsageError(f"{cause}{REFUSED_FOR_LINES[given[0]]}.", remedy)


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


def _check_not_a_picture(model: str) -> None:
    if Path(model).suffix.lower().lstrip(".") in PICTURE_SUFFIXES:
        cause = f"{model} is a picture, not a model."
        remedy = f"Give the model first, for example: digitcli explain cnn {quoted(model)}"
        raise UsageError(cause, remedy)


def _checked(method: str) -> Method:
    if method in WITHDRAWN:
        cause = f"The method '{method}' is not offered: it tells no more than the digit itself does."
        raise UsageError(cause, "Give --method occlusion; docs/explanation.md has the measurement.")
    if method not in get_args(Method):
        cause = f"There is no method '{method}'."
        raise UsageError(cause, did_you_mean(method, get_args(Method)))
    return cast(Method, method)


def _check_target(save: Path, force: bool) -> None:
    if save.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--save cannot write {save}.", f"Name a file that ends with {', '.join(SUFFIXES)}.")
    check_writable(save, force)
