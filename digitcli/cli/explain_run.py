"""Run `digitcli explain`: read the pictures, explain them one by one, show and save the explanations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from digitcli import console
from digitcli.cli.signals import wait_with_signals
from digitcli.errors import DigitcliError, InputError, PartialInputError, PictureError, counted, quoted
from digitcli.inference.model_resolution import ResolvedModel
from digitcli.interpretation.explanation import ChangeKind, Method

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from digitcli.interpretation.line_explanation import AnyExplanation, LineExplanation
    from digitcli.recognition.reader import Reader

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
    explanations = _shown(of_task(model, options, errors), options)
    if options.save is not None and explanations:
        from digitcli.interpretation.drawing import save_explanations

        save_explanations(options.save, explanations)
        console.show_notice(f"The explanations are in {options.save}.")
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
        yield explain_class(model, digit, device=options.device, every=options.search_all)


def _of_lines(
    model: ResolvedModel, options: ExplainOptions, errors: list[DigitcliError]
) -> Iterator[AnyExplanation]:
    with console.Busy("Loading the model"), wait_with_signals():
        from digitcli.interpretation.explain_lines import explain_lines
    from digitcli.imaging.opening import open_picture
    from digitcli.recognition.line_crops import line_cutter, longest_line
    from digitcli.recognition.reader import reader_with

    cut = line_cutter(model.header.architecture, options.device)

    def read_line(path: Path) -> npt.NDArray[np.uint8]:
        lines = cut(open_picture(path))
        if len(lines) > 1:
            console.show_notice(f"{path} has {len(lines)} lines; the longest is explained.")
        return longest_line(lines, str(path))

    reader = reader_with(model, options.device)
    for explanation in explain_lines(
        model,
        _readable(options.pictures, read_line, errors),
        options.methods,
        options.against,
        position=options.position,
        layer=options.layer,
        device=options.device,
        on_missing_digit=lambda error: _add(errors, error),
    ):
        notes = () if reader is None else _note_on_predict(explanation, reader)
        yield replace(explanation, notes=(*explanation.notes, *notes))


def _note_on_predict(explanation: LineExplanation, reader: Reader) -> Iterator[str]:
    """Yield that `predict` with the same model reads another text, if it does."""
    from digitcli.recognition.line_crops import FINDER
    from digitcli.recognition.readings import as_percentage, contains

    reading = reader.read(explanation.file)
    if contains(reading, explanation.text):
        return
    answer = f"{reading.text} with {as_percentage(reading.confidence or 0.0)}" if reading.text else "no digit"
    turned = f" and turns the picture by {reading.rotation} degrees" if reading.rotation else ""
    finder = f"{FINDER} -m " if explanation.image.ndim == 3 else ""  # strips are those of a page finder
    name = finder + explanation.model.rpartition("@")[0]
    yield (
        f"predict -m {name} reads {answer}: it takes several crops of a line and other networks into "
        f"account{turned}. One crop is explained here, as this network alone reads it."
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
    from digitcli.imaging.opening import open_picture
    from digitcli.recognition.digits_apart import central_digit

    digit = central_digit(open_picture(path), str(path))
    if digit.count > 1:
        console.show_notice(
            f"{path} shows {digit.count} digits, of which the central one is explained. Cut out another one, "
            f"or name a model of lines: digitcli explain reader {quoted(path)}"
        )
    elif digit.may_touch:
        console.show_notice(
            f"The digit in {path} is wide, but is explained as one. If it is two digits that touch, name a "
            f"model of lines: digitcli explain reader {quoted(path)}"
        )
    return digit.image


def _test_digits(numbers: Sequence[int]) -> NamedImages:
    from digitcli.data.mnist import load_mnist_test

    if numbers:
        digits = load_mnist_test()
        for number in numbers:
            yield f"test digit {number}, a {digits.labels[number]}", digits.images[number]


def _shown(explanations: Iterator[AnyExplanation], options: ExplainOptions) -> list[AnyExplanation]:
    """Show explanations one by one, or all as JSON, and return them."""
    done: list[AnyExplanation] = []
    for explanation in explanations:
        done.append(explanation)
        for note in (*_notes_on_options(explanation, options), *explanation.notes):
            console.show_notice(f"{explanation.file}: {note}")
        if options.format == "table":
            from digitcli.cli.views.explanation import draw_explanation

            console.show_table(draw_explanation(explanation))
    if options.format == "json":
        console.show_json([explanation.record() for explanation in done])
    elif done:
        _explain_characters(options)
    return done


def _explain_characters(options: ExplainOptions) -> None:
    """Say what stands for red and blue where there are no colours."""
    from digitcli.cli.views.terminal_image import draws_colours

    if not draws_colours(console.out):
        save = "" if options.save else " --save FILE draws colours."
        console.show_notice(
            "Without colours, + and # stand for red, which speaks for the digit or is added ink, and - and = "
            f"for blue, which speaks against it or is erased ink.{save}"
        )


def _notes_on_options(explanation: AnyExplanation, options: ExplainOptions) -> Iterator[str]:
    """Yield that an option asks for the digit that is read already."""
    if explanation.digit is None:
        return
    if explanation.digit == options.against:
        other = explanation.other_digit
        yield f"It is read as {explanation.digit}, so it is shown against the likeliest other digit, {other}."
    if explanation.digit in [digit for _, digit in options.changes]:
        yield f"It is read as {explanation.digit} already."


def _conclude(errors: list[DigitcliError], done: int) -> None:
    if len(errors) == 1 and not done:
        raise errors[0]
    if errors:
        console.show_error(errors[-1])
    if errors and not done:
        raise InputError("No picture could be explained.", "Mend what is said above of each.")
    if errors:
        cause = f"{counted(len(errors), 'picture')} could not be explained; the others were."
        raise PartialInputError(cause, "Mend what is said above of each, or leave it out.")
