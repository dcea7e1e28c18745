"""The pictures of explanations and their captions, for the terminal and for files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from digitcli.errors import counted
from digitcli.interpretation.explanation import Attribution, Change, Layer
from digitcli.interpretation.line_explanation import AnyExplanation, LineExplanation

# Red speaks for the digit and blue against it, as in most drawings of attributions.
FOR, AGAINST = np.array([1.0, 0.25, 0.2]), np.array([0.25, 0.55, 1.0])
# Brightness of the ink below an attribution.
INK = 0.3
# Percentile of the absolute values that has full colour: single pixels must not make all others pale.
FULL_COLOUR = 99.5
# Sizes in a file, in pixels: the side of the picture of a digit, the pixels for each of a strip, and the
# greatest width of a strip, which is that of eight digits in a row.
SIDE_PX, STRIP_SCALE, WIDEST_PX = 168, 4, 1428
# Height in pixels of the bar below a strip that marks the explained digit.
BAR_PX = 2
# Methods whose names are too long for a caption.
SHORT_NAMES = {"integrated-gradients": "integrated grad."}
# Share that is too small to be told from none.
LEAST_SHARE = 0.0001

Rgb = npt.NDArray[np.uint8]  # H, W, 3


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture, uint8 (H, W, 3), and what it shows.

    caption: one line that is about as wide as the picture of a digit, for drawings.
    description: the same in more words, for the terminal and for HTML.
    size_px: its width and height in a file, in pixels.
    """

    pixels: Rgb
    caption: str
    description: str
    size_px: tuple[int, int] = (SIDE_PX, SIDE_PX)


def pictures_of(explanation: AnyExplanation) -> list[CaptionedPicture]:
    """Return the pictures of an explanation: the digit or the line, its attributions, and the rest."""
    if isinstance(explanation, LineExplanation):
        return _pictures_of_line(explanation)
    share = percent(explanation.probabilities[explanation.digit])
    captions = f"read as {explanation.digit}", f"read as {explanation.digit} with {share}"
    if explanation.optimal is not None:
        captions = "mean", "the mean of the test digits"
    digit = CaptionedPicture(in_colours(explanation.image), *captions)
    attributions = [
        CaptionedPicture(_overlay(explanation.image, each), _caption(each), _describe(each))
        for each in explanation.attributions
    ]
    neighbours = [
        CaptionedPicture(
            in_colours(each.image),
            f"a {each.label}, #{each.index}: {each.distance:.2f}",
            f"training digit #{each.index}, a {each.label}, distance {each.distance:.2f}",
        )
        for each in explanation.neighbours
    ]
    changes = [
        picture for each in explanation.changes for picture in _pictures_of_change(explanation.image, each)
    ]
    optimal = []
    if explanation.optimal is not None:
        words = f"the optimal input, read as {explanation.digit} with {share}"
        optimal = [CaptionedPicture(in_colours(explanation.optimal), "optimal", words)]
    return [digit, *attributions, *optimal, *changes, *neighbours, *_pictures_of_layers(explanation.layers)]


def _pictures_of_line(explanation: LineExplanation) -> list[CaptionedPicture]:
    """Return the pictures of a line: a bar below it marks the explained digit."""
    caption = "no digit is read"
    if explanation.text:
        caption = f"read as {explanation.text}; the bar marks digit {explanation.position}"
    strips = [(in_colours(explanation.picture), (caption, caption))]
    strips += [
        (_overlay(explanation.ink, each), (_caption(each), _describe(each)))
        for each in explanation.attributions
    ]
    bar = np.zeros((BAR_PX, explanation.image.shape[-1], 3), np.uint8)
    bar[:, slice(*explanation.span)] = 255
    pictures = [CaptionedPicture(np.concatenate([pixels, bar]), *words) for pixels, words in strips]
    pictures += _pictures_of_layers(explanation.layers)
    return [replace(picture, size_px=_size_of_strip(picture.pixels)) for picture in pictures]


def _size_of_strip(pixels: Rgb) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    scale = min(STRIP_SCALE, WIDEST_PX / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def printable(name: str) -> str:
    """Return the name of a file as a text that every drawing can hold; bytes of no encoding become `?`."""
    return "".join(character if character.isprintable() else "?" for character in name)


def title_of(explanation: AnyExplanation) -> str:
    """Return one line with the answer and the runner-up."""
    name = printable(explanation.file)
    if isinstance(explanation, LineExplanation):
        return f"{name}: {_answer_of_line(explanation)}"
    answer, other = (
        f"{digit} with {percent(explanation.probabilities[digit])}"
        for digit in (explanation.digit, explanation.runner_up)
    )
    if explanation.optimal is not None:
        return f"{name}: the optimal input is read as {answer}"
    return f"{name}: {answer}, then {other}"


def _answer_of_line(explanation: LineExplanation) -> str:
    if explanation.digit is None:
        return "no digit is read"
    answer, other = (
        f"{'no digit' if digit is None else digit} with {percent(explanation.probability(digit))}"
        for digit in (explanation.digit, explanation.runner_up)
    )
    place = f"digit {explanation.position} of {len(explanation.text)}"
    return f"{explanation.text} with {percent(explanation.confidence)}; {place}: {answer}, then {other}"


def percent(share: float) -> str:
    """Return a probability as a percentage that is never 0 or 100 %."""
    if share > 1 - LEAST_SHARE:
        return f"over {100 - 100 * LEAST_SHARE:.2f} %"
    return f"{100 * share:.2f} %" if share >= LEAST_SHARE else f"under {100 * LEAST_SHARE:.2f} %"


def _caption(attribution: Attribution) -> str:
    against = "" if attribution.against is None else f", not {attribution.against}"
    return f"{attribution.digit}{against}: {SHORT_NAMES.get(attribution.method, attribution.method)}"


def in_colours(image: npt.NDArray[np.uint8]) -> Rgb:
    """Return a grey picture (H, W) as one of three equal colours (H, W, 3)."""
    return np.repeat(image[:, :, None], 3, axis=2)


def _overlay(image: npt.NDArray[np.uint8], attribution: Attribution) -> Rgb:
    """Return the digit in dim grey, with the attribution in colours over it."""
    values = attribution.values / _full_colour(attribution.values)
    strength = np.clip(np.abs(values), 0, 1)[:, :, None]
    colour = np.where(values[:, :, None] >= 0, FOR, AGAINST)
    ink = INK * image[:, :, None] / 255
    return np.asarray(255 * (ink * (1 - strength) + colour * strength), np.uint8)


def speaks_for(attribution: Attribution) -> str:
    """Return what the picture of an attribution shows, for example `speaks for 4, not 9`."""
    verb = "speaks" if attribution.is_signed else "matters"
    against = "" if attribution.against is None else f", not {attribution.against}"
    return f"{verb} for {attribution.digit}{against}"


def _describe(attribution: Attribution) -> str:
    return f"{speaks_for(attribution)} ({attribution.method})"


def _pictures_of_change(image: npt.NDArray[np.uint8], change: Change) -> list[CaptionedPicture]:
    """Return the changed digit, and what was changed in colours."""
    share, digit = f"{100 * change.after:.0f} %", change.digit
    if change.kind == "counterfactual":
        caption, colours = f"redrawn: {digit} with {share}", "the added and the erased ink"
        what = f"{change.added:.1f} pixels of ink added, {change.erased:.1f} erased"
    else:
        caption, colours = f"noise of {change.largest:.2f}: {digit}, {share}", "the noise"
        what = f"no pixel changed by more than {change.largest:.2f}"
    words = f"now read as {digit} ({percent(change.before)} → {percent(change.after)}; {what})"
    return [
        CaptionedPicture(in_colours(change.image), f"now read as {digit}", words),
        CaptionedPicture(_difference(image, change), caption, colours),
    ]


def _difference(image: npt.NDArray[np.uint8], change: Change) -> Rgb:
    """Return a changed digit in grey, with added ink in red and erased ink in blue."""
    before, after = image[:, :, None] / 255, change.image[:, :, None] / 255
    kept = 0.6 * np.minimum(before, after)
    pixels = kept + FOR * np.maximum(after - before, 0) + AGAINST * np.maximum(before - after, 0)
    return np.asarray(255 * np.clip(pixels, 0, 1), np.uint8)


def _pictures_of_layers(layers: Sequence[Layer]) -> list[CaptionedPicture]:
    """Return a mosaic of the filters and of the maps of each layer; of a single layer, a picture of each map.

    Full colour is the same for all maps of a layer, so that a map which hardly answers stays dark.
    """
    is_single = sum(layer.kind != "filters" for layer in layers) == 1
    pictures = []
    for layer in layers:
        if is_single and layer.kind != "filters":
            pictures += [
                CaptionedPicture(
                    _mosaic(layer.maps[index : index + 1], _full_colour(layer.maps)),
                    f"{layer.name}: map {index}",
                    f"layer {layer.name}: map {index}",
                )
                for index in range(len(layer.maps))
            ]
        else:
            mosaic = _mosaic(layer.maps, _full_colour(layer.maps))
            pictures.append(CaptionedPicture(mosaic, *_words_of_layer(layer)))
    return pictures


def _words_of_layer(layer: Layer) -> tuple[str, str]:
    """Return the caption and the description of all maps or filters of a layer."""
    count, height, width = layer.maps.shape
    things = "filter" if layer.kind == "filters" else "map"
    size = f"{counted(count, things)} of {height}x{width}"
    kind = "" if layer.kind == "filters" else f" ({layer.kind})"
    return f"{layer.name}: {size}", f"layer {layer.name}{kind}: {size}"


def _full_colour(values: npt.NDArray[np.float32]) -> float:
    """Return the size of a value that has full colour."""
    return float(np.percentile(np.abs(values), FULL_COLOUR)) or 1.0


def _mosaic(maps: npt.NDArray[np.float32], full: float) -> Rgb:
    """Return maps (N, H, W) in a square mosaic: positive values in red, negative ones in blue.

    full: the size of a value that has full colour.
    """
    count, height, width = maps.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    mosaic = np.zeros((rows * (height + 1), columns * (width + 1)))
    for index, values in enumerate(maps):
        row, column = divmod(index, columns)
        y, x = row * (height + 1), column * (width + 1)
        mosaic[y : y + height, x : x + width] = values
    mosaic = mosaic[:-1, :-1] / full
    strength = np.clip(np.abs(mosaic), 0, 1)[:, :, None]
    return np.asarray(255 * strength * np.where(mosaic[:, :, None] >= 0, FOR, AGAINST), np.uint8)
