"""`digitcli explain`: show why a model reads a digit as it does."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitcli import console
from digitcli.atomic_write import check_writable
from digitcli.cli.options import DRAWINGS, complete_shipped, device_setting
from digitcli.cli.signals import wait_with_signals
from digitcli.data.files import PICTURE_SUFFIXES
from digitcli.errors import InputError, PartialInputError, PictureError, UsageError, counted, quoted
from digitcli.inference.devices import check_device_name
from digitcli.inference.model_resolution import ResolvedModel, resolve_model
from digitcli.interpretation.explanation import LINE_PANEL, PANEL, Method
from digitcli.settings import argument, setting

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.console import RenderableType

    from digitcli.interpretation.explanation import Explanation

    NamedImages = Iterator[tuple[str, npt.NDArray[np.uint8]]]

SUFFIXES = (*DRAWINGS, ".npz")


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """What is explained, and how."""

    model: str = argument(
        "MODEL", "Explain this shipped model, checkpoint file or run folder.", complete=complete_shipped
    )
    pictures: tuple[Path, ...] = argument(
        "PICTURE", "Pictures of one digit each, or of one number each for a model of lines.", ()
    )
    test_digit: tuple[int, ...] = setting(
        (), "", "Explain the answer to this test digit of MNIST, counted from 0, as evaluate numbers them.",
        unit="N", at_least=0, at_most=9_999,
    )  # fmt: skip
    method: tuple[Method, ...] = setting(
        (), "", f"Explain by this method; may be repeated (default: {' and '.join(PANEL)}; for lines "
        f"{LINE_PANEL[0]}).", letter="-m",
    )  # fmt: skip
    against: int | None = setting(
        None, "", "Show what speaks against this digit (default: the second likeliest).",
        unit="digit", at_least=0, at_most=9,
    )  # fmt: skip
    position: int | None = setting(
        None, "", "With a model of lines, explain this digit of the number (default: the least certain).",
        unit="N", at_least=1,
    )  # fmt: skip
    counterfactual: int | None = setting(
        None, "", "Show a small change of the ink after which the digit is read as this one.",
        unit="digit", at_least=0, at_most=9,
    )  # fmt: skip
    device: str | None = device_setting()
    output: Path | None = setting(
        None, "", "Draw the explanations in a .png or .html file, or write all arrays to an .npz file.",
        letter="-o", unit="file", aliases=("--save", "--out"),
    )  # fmt: skip
    force: bool = setting(False, "", "Replace the file of --output if it exists.")
    format: console.Format = setting("table", "", "Print pictures for people, or JSON with all values.")


def explain(options: ExplainOptions) -> None:
    """Show what in a picture made a model read it as one digit and not as another.

    Example: digitcli explain cnn image.png
    """
    model, output = options.model, options.output
    if Path(model).suffix.lower().lstrip(".") in PICTURE_SUFFIXES:
        remedy = f"Give the model first, for example: digitcli explain cnn {quoted(model)}"
        raise UsageError(f"{model} is a picture, not a model.", remedy)
    if not options.pictures and not options.test_digit:
        remedy = "Name a picture of one digit, or give --test-digit N."
        raise UsageError("No picture is named.", remedy)
    check_device_name(options.device or "auto")
    if output is not None:
        if output.suffix.lower() not in SUFFIXES:
            remedy = f"Name a file that ends with {', '.join(SUFFIXES)}."
            raise UsageError(f"--output cannot write {output}.", remedy)
        check_writable(output, options.force)
    resolved = resolve_model(model)
    _check_task(resolved, options)
    failed: list[Path] = []
    explain_all = _of_lines if resolved.header.task == "line" else _of_digits
    explanations = _shown(explain_all(resolved, options, failed), options)
    if output is not None and explanations:
        from digitcli.interpretation.drawing import save_explanations

        save_explanations(output, explanations)
        console.show_notice(f"The explanations are in {output}.")
    if failed and not explanations:
        raise InputError("No picture could be explained.", "Correct what is said above of each.")
    if failed:
        cause = f"{counted(len(failed), 'picture')} could not be explained; the others were."
        raise PartialInputError(cause, "Correct what is said above of each, or leave it out.")


def _check_task(model: ResolvedModel, options: ExplainOptions) -> None:
    """Refuse the options that a model of lines cannot take, or only such a model takes."""
    if model.header.task != "line":
        if options.position is not None:
            cause = f"--position chooses a digit of a line, and {model.name} does not read lines."
            raise UsageError(cause, "Leave it out, or name a model of lines, for example reader.")
        return
    for option, is_given, reason in (
        ("--test-digit", bool(options.test_digit), "test digits of MNIST are no lines"),
        ("--counterfactual", options.counterfactual is not None, "it redraws the image of a single digit"),
        (
            "--method prototype",
            "prototype" in options.method,
            "it searches training digits, each of which stands alone",
        ),
    ):
        if is_given:
            cause = f"{model.name} reads lines, and {option} needs a model of single digits: {reason}."
            remedy = f"Leave {option} out, or name a model of single digits, for example cnn."
            raise UsageError(cause, remedy)


def _of_digits(model: ResolvedModel, options: ExplainOptions, failed: list[Path]) -> Iterator[Explanation]:
    with console.Busy("Loading the model"), wait_with_signals():
        from digitcli.interpretation.explain import explain as explain_digits
    pictures = _readable(options.pictures, _read_digit, failed)
    return explain_digits(
        model,
        itertools.chain(pictures, _test_digits(options.test_digit)),
        options.method or PANEL,
        options.against,
        change_to=options.counterfactual,
        device=options.device or "auto",
    )


def _of_lines(model: ResolvedModel, options: ExplainOptions, failed: list[Path]) -> Iterator[Explanation]:
    with console.Busy("Loading the model"), wait_with_signals():
        from digitcli.interpretation.explain import explain_lines
    from digitcli.imaging.opening import open_picture
    from digitcli.recognition.line_reading import line_cutter, longest_line

    device = options.device or "auto"
    cut = line_cutter(model.header.architecture, device)

    def read_line(path: Path) -> npt.NDArray[np.uint8]:
        lines = cut(open_picture(path))
        if len(lines) > 1:
            console.show_notice(f"{path} has {len(lines)} lines; the longest is explained.")
        return longest_line(lines, str(path))

    lines, methods = _readable(options.pictures, read_line, failed), options.method or LINE_PANEL
    return explain_lines(model, lines, methods, options.against, position=options.position, device=device)


def _readable(
    pictures: Sequence[Path], read: Callable[[Path], npt.NDArray[np.uint8]], failed: list[Path]
) -> NamedImages:
    """Yield what is read of pictures; one that cannot be read is told, and added to those that failed."""
    for path in pictures:
        try:
            image = read(path)
        except PictureError as error:
            console.show_error(error)
            failed.append(path)
        else:
            yield str(path), image


def _read_digit(path: Path) -> npt.NDArray[np.uint8]:
    from digitcli.imaging.opening import open_picture
    from digitcli.recognition.digits_apart import central_digit

    digit = central_digit(open_picture(path), str(path))
    command = f"name a model of lines: digitcli explain reader {quoted(path)}"
    if digit.count > 1:
        shown = f"{path} shows {digit.count} digits, of which the central one is explained."
        console.show_notice(f"{shown} Cut out another one, or {command}")
    elif digit.may_touch:
        shown = f"The digit in {path} is wide, but is explained as one."
        console.show_notice(f"{shown} If it is two digits that touch, {command}")
    return digit.image


def _test_digits(numbers: Sequence[int]) -> NamedImages:
    from digitcli.data.mnist import load_mnist_test

    if numbers:
        digits = load_mnist_test()
        for number in numbers:
            yield f"test digit {number}, a {digits.labels[number]}", digits.images[number]


def _shown(explanations: Iterator[Explanation], options: ExplainOptions) -> list[Explanation]:
    """Show explanations one by one, or all as JSON, and return them."""
    done: list[Explanation] = []
    for explanation in explanations:
        done.append(explanation)
        for note in explanation.notes:
            console.show_notice(f"{explanation.file}: {note}")
        if options.format == "table":
            console.show_table(draw_explanation(explanation))
    if options.format == "json":
        console.show_json([explanation.record() for explanation in done])
    elif done:
        from digitcli.cli.terminal_image import draws_colours

        if not draws_colours(console.out):
            advice = "" if options.output else " --output FILE draws colours."
            console.show_notice(
                "Without colours, + and # stand for red, which speaks for the digit or is added ink, and - "
                f"and = for blue, which speaks against it or is erased ink.{advice}"
            )
    return done


def draw_explanation(explanation: Explanation) -> Any:
    """Draw a digit, its attributions and its neighbours side by side, as wide as the terminal allows.

    Lines, and the maps of a layer, which are many, take as much width as there is.
    """
    from rich.console import Group
    from rich.text import Text

    from digitcli.cli.terminal_image import PICTURE_COLUMNS, Picture, picture_grid
    from digitcli.interpretation.drawing import pictures_of, title_of

    small: list[RenderableType] = []
    large: list[RenderableType] = []
    for picture in pictures_of(explanation):
        width = picture.pixels.shape[1]
        columns = min(width, console.out.width)
        is_small = width == PICTURE_COLUMNS and explanation.text is None
        words = textwrap.fill(picture.caption, PICTURE_COLUMNS if is_small else console.out.width)
        drawn = Group(Picture(picture.pixels, columns), Text(words))
        (small if is_small else large).append(drawn)
        if explanation.text is not None:
            large.append("")
    grid: list[RenderableType] = [picture_grid(small, console.out.width), ""] if small else []
    return Group(Text(title_of(explanation), "bold"), "", *grid, *large)
