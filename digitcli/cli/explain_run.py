"""Run `digitcli explain`: read the pictures, explain them one by one, show and save the explanations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli import console
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import DigitcliError, InputError, PartialInputError, PictureError
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.interpretation.explanation import ChangeKind, Method

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from digitcli.interpretation.line_explanation import AnyExplanation

    NamedImages = Iterator[tuple[str, npt.NDArray[np.uint8]]]


@dataclass(frozen=True)
class ExplainOptions:
    """What is explained, and how; see the options of the command."""

    pictures: Sequence[Path]
    test_digits: Sequence[int]
    classes: Sequence[int]
    methods: Sequence[Method]
    layer: str | None
    against: int | None
    position: int | None
    changes: Sequence[tuple[ChangeKind, int]]
    search_all: bool
    device: str
    save: Path | None
    format: console.Format


def run(model: ResolvedModel, options: ExplainOptions) -> None:
    """Explain the answers of a model to pictures, and show and save the explanations.

    Raises:
        InputError: no picture could be explained.
        PartialInputError: some pictures could not be explained.
    """
    errors: list[DigitcliError] = []
    of_task = _of_lines if model.header.task == "line" else _of_digits
    wanted = [options.against, *(digit for _, digit in options.changes)]
    explanations = _shown(of_task(model, options, errors), wanted, options.format)
    if options.save is not None and explanations:
        from digitcli.interpretation.drawing import save_explanations

        save_explanations(options.save, explanations)
    _conclude(errors, len(explanations))


def _of_digits(
    model: ResolvedModel, options: ExplainOptions, errors: list[DigitcliError]
) -> Iterator[AnyExplanation]:
    with console.Busy("Loading the model"), wait_with_signals():
        from digitcli.interpretation.explain import explain, explain_class
    images = itertools.chain(
        _readable(options.pictures, _read_digit, errors), _test_digits(options.test_digits)
    )
    yield from explain(
        model,
        images,
        options.methods,
        options.against,
        changes=options.changes,
        layer=options.layer,
        device=options.device,
        search_all=options.search_all,
    )
    for digit in options.classes:
        yield explain_class(model, digit, device=options.device)


def _of_lines(
    model: ResolvedModel, options: ExplainOptions, errors: list[DigitcliError]
) -> Iterator[AnyExplanation]:
    with console.Busy("Loading the model"), wait_with_signals():
        from digitcli.interpretation.explain_lines import explain_lines
    from digitcli.imaging import open_picture
    from digitcli.recognition.line_input import line_cutter, longest_line

    cut = line_cutter(model.header.architecture, options.device)

    def read_line(path: Path) -> npt.NDArray[np.uint8]:
        lines = cut(open_picture(path))
        if len(lines) > 1:
            console.show_notice(f"{path} has {len(lines)} lines; the longest is explained.")
        return longest_line(lines, str(path))

    yield from explain_lines(
        model,
        _readable(options.pictures, read_line, errors),
        options.methods,
        options.against,
        position=options.position,
        layer=options.layer,
        device=options.device,
        on_missing_digit=lambda error: _add(errors, error),
    )


def _readable(
    pictures: Sequence[Path], read: Callable[[Path], npt.NDArray[np.uint8]], errors: list[DigitcliError]
) -> NamedImages:
    """Yield what is read of pictures; a picture that cannot be read is named and left out."""
    for path in pictures:
        try:
            image = read(path)
        except PictureError as error:
            _add(errors, error)
        else:
            yield str(path), image


def _add(errors: list[DigitcliError], error: DigitcliError) -> None:
    """Add an error, and show the one before it: the last one is the end of the program."""
    if errors:
        console.show_error(errors[-1])
    errors.append(error)


def _read_digit(path: Path) -> npt.NDArray[np.uint8]:
    from digitcli.imaging import digit_from_picture

    digit = digit_from_picture(path)
    if not digit.any():
        raise PictureError("blank", f"Nothing is written in {path}.", "Name a picture of a digit.")
    return digit


def _test_digits(numbers: Sequence[int]) -> NamedImages:
    from digitcli.data.mnist import load_mnist_test

    if numbers:
        digits = load_mnist_test()
        for number in numbers:
            yield f"test digit {number}, a {digits.labels[number]}", digits.images[number]


def _shown(
    explanations: Iterator[AnyExplanation], others: Sequence[int | None], format: console.Format
) -> list[AnyExplanation]:
    """Show explanations one by one, or all as JSON, and return them."""
    done: list[AnyExplanation] = []
    for explanation in explanations:
        done.append(explanation)
        if explanation.digit is not None and explanation.digit in others:
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


def _conclude(errors: list[DigitcliError], done: int) -> None:
    if len(errors) == 1 and not done:
        raise errors[0]
    if errors:
        console.show_error(errors[-1])
    if errors and not done:
        raise InputError("No picture could be explained.", "Mend what is said above of each.")
    if errors:
        cause = f"{console.counted(len(errors), 'picture')} could not be explained; the others were."
        raise PartialInputError(cause, "Mend what is said above of each, or leave it out.")
