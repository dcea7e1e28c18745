"""Examine a picture that is read wrongly or with doubt.

It is read again after each of several corrections, and its digits and paper are measured. A correction that
helps names a fault only if no measurement contradicts it: sharpening helps thin strokes, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from digitcli.diagnosis.findings import Diagnosis, Finding, percent
from digitcli.diagnosis.picture_measurements import (
    USUAL,
    digit_at_edge,
    distances_from_edge,
    measure_picture,
    noise_of,
)
from digitcli.errors import counted, quoted
from digitcli.imaging import digit_from_grey
from digitcli.imaging.grayscale import quantile, rotate
from digitcli.imaging.opening import open_picture
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation.neighbours import NeighbourSearch
from digitcli.recognition.reader import Reader
from digitcli.recognition.results import Reading, describe_confidence

Grey = npt.NDArray[np.uint8]

# A reading is doubtful below this confidence, and a correction has to reach it.
CONFIDENT = 0.9
# The model whose features tell how similar two digits are, and the distance from the nearest training digit
# below which 99 % of 2,000 validation digits of MNIST are, in mean distances of two training digits.
STYLE_MODEL, USUAL_DISTANCE = "fast", 0.48
# A digit that is nearer to the edge than this, in its heights, may lack paper around it; of the pictures that
# are read well, three quarters have more (benchmarks/usual_pictures.py).
LEAST_MARGIN = 0.04
# Rounds of k-means, after which the levels hardly move.
ROUNDS = 20


@dataclass(frozen=True)
class Correction:
    """A change of a picture (H, W), grey, that mends one fault.

    rule: the fault that the picture has if the changed one is read better.
    change: what the change does, after "if the picture is".
    remedy: what mends the fault.
    apply: changes a picture.
    options: options of `digitcli predict` that do the same.
    changes_answer: whether the fault is one only if the changed picture is read otherwise.
    """

    rule: str
    change: str
    remedy: str
    apply: Callable[[Grey], Grey]
    options: str | None = None
    changes_answer: bool = False


def _ink_is_dark(picture: Grey) -> bool:
    """Return whether the ink is darker than the paper, which covers most of the picture."""
    return float(np.median(picture)) > (quantile(picture, 0.01) + quantile(picture, 0.99)) / 2


def _thicken(picture: Grey) -> Grey:
    """Make strokes thicker by a two-hundredth of the longer side, two pixels at least."""
    size = max(3, max(picture.shape) // 100 | 1)
    change = cv2.erode if _ink_is_dark(picture) else cv2.dilate
    return np.asarray(change(picture, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), np.uint8)


def _flatten(picture: Grey) -> Grey:
    """Divide by the paper around each pixel: closing removes dark ink from it, and opening light ink."""
    side = max(15, min(picture.shape) // 6 | 1)
    kind = cv2.MORPH_CLOSE if _ink_is_dark(picture) else cv2.MORPH_OPEN
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    paper = cv2.GaussianBlur(cv2.morphologyEx(picture, kind, kernel), (0, 0), side / 3)
    return np.asarray(cv2.divide(picture, paper, scale=200), np.uint8)


def _keep_ink(is_dark: bool) -> Callable[[Grey], Grey]:
    """Make white what is clearly paler than dark ink, such as squares and other patterns, and likewise black.

    The levels are divided into three (k-means, Lloyd 1982), of which the darkest is ink.
    """

    def kept(picture: Grey) -> Grey:
        dark = picture if is_dark else 255 - picture
        counts, levels = np.bincount(dark.ravel(), minlength=256), np.arange(256)
        centres = np.array([quantile(dark, share) for share in (0.005, 0.5, 0.995)])
        for _ in range(ROUNDS):
            nearest = np.abs(levels - centres[:, None]).argmin(axis=0)
            for index in np.unique(nearest[counts > 0]):
                centres[index] = np.average(levels[nearest == index], weights=counts[nearest == index])
        ink, paler = centres[0], (centres[0] + centres[1]) / 2
        return np.asarray(np.clip((dark - ink) * 255 / max(1.0, paler - ink), 0, 255), np.uint8)

    return kept


def _sharpen(share: float, amount: float) -> Callable[[Grey], Grey]:
    """Add the difference from a copy that is blurred by a share of the shorter side (unsharp masking)."""

    def sharpened(picture: Grey) -> Grey:
        blurred = cv2.GaussianBlur(picture, (0, 0), max(1.5, share * min(picture.shape)))
        return np.asarray(cv2.addWeighted(picture, 1 + amount, blurred, -amount, 0), np.uint8)

    return sharpened


def _pad(picture: Grey) -> Grey:
    """Add paper around the picture, half of its shorter side."""
    width = min(picture.shape) // 2
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return np.pad(picture, width, constant_values=int(np.median(edge)))


def _enlarge(picture: Grey) -> Grey:
    return np.asarray(cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)


def _smooth(picture: Grey) -> Grey:
    """Smooth by the mean of similar places (Buades, Coll & Morel 2005), as strongly as there is noise."""
    return np.asarray(cv2.fastNlMeansDenoising(picture, None, max(20.0, noise_of(picture))), np.uint8)


def _turn(times: int) -> Callable[[Grey], Grey]:
    return lambda picture: np.ascontiguousarray(np.rot90(picture, -times))


CORRECTIONS = (
    Correction(
        "inverted",
        "inverted",
        "Scan it as dark ink on light paper.",
        lambda picture: 255 - picture,
        changes_answer=True,  # light ink on dark paper, of which the same digits are read, is no fault
    ),
    *(
        Correction(
            "turned",
            f"turned by {90 * times} degrees clockwise",
            "Turn it, or say how it lies.",
            _turn(times),
            f"--rotate {90 * times}",
        )
        for times in (1, 2, 3)
    ),
    Correction(
        "too_thin", "drawn with thicker strokes", "Write with a thicker pen, or scan finer.", _thicken
    ),
    Correction("too_small", "enlarged three times", "Scan or photograph it with more pixels.", _enlarge),
    *(
        Correction("blurred", change, "Hold the camera still, and focus on the paper.", apply)
        for change, apply in (
            ("sharpened", _sharpen(0.01, 2.0)),
            ("sharpened strongly", _sharpen(0.033, 3.0)),
        )
    ),
    Correction("noisy", "smoothed", "Give it more light, or scan it.", _smooth),
    *(
        Correction("uneven_background", change, "Avoid shadows and patterned paper.", apply)
        for change, apply in (
            ("freed from shadows", _flatten),
            ("freed from everything that is paler than its dark ink", _keep_ink(is_dark=True)),
            ("freed from everything that is darker than its light ink", _keep_ink(is_dark=False)),
        )
    ),
    Correction("cut_off", "surrounded by paper", "Leave a margin around the number.", _pad),
)

REMEDIES = {correction.rule: correction.remedy for correction in CORRECTIONS}


def examine_picture(
    path: Path, label: str | None = None, reader: Reader | None = None, device: str = "auto"
) -> Diagnosis:
    """Return how a picture, or a document's first page, is read, and what makes it read better.

    label: the digits that the picture shows, if they are known: then a correction is better if it leads to
        them. Otherwise it is better if it makes a doubtful or refused answer confident.

    Raises:
        PictureError: the picture cannot be read.
        The errors of `Reader`.
    """
    reader = reader or Reader(device=device)
    picture = np.rint(255 * open_picture(path)).astype(np.uint8)
    reading = reader.read(picture)
    height, width = picture.shape
    meaning = describe_confidence(reading.status, reading.text)
    facts = {
        "size": f"{width} x {height} pixels",
        "answer": _in_words(reading),
        "confidence": f"{percent(reading.confidence or 0, 1)} {meaning}".rstrip(),
    }
    if not _is_doubtful(reading, label):
        return Diagnosis(f"picture {path}", facts)
    upright = rotate(picture, reading.rotation)  # the boxes of the digits are in it
    corrections = tuple(_effective_corrections(picture, reading, reader, path, label))
    findings = (*explained(corrections, reading, upright), *several_digits(reading, label))
    findings = findings or tuple(unfamiliar_style(reading, upright))
    return Diagnosis(f"picture {path}", facts, merged(findings) or (_unexplained(reading, label),))


def _in_words(reading: Reading) -> str:
    """Return the answer, whether it counts, and why not."""
    if reading.status == "blank":
        return "nothing is written"
    reason = "" if reading.reason is None else f": {reading.reason.replace('_', ' ')}"
    return f"{reading.text or 'no digit'} ({reading.status}{reason})"


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings, those with the same rule and remedy as one that has the evidence of all."""
    together: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = finding.rule, finding.remedy
        before = together.get(key)
        evidence = finding.evidence if before is None else f"{before.evidence} {finding.evidence}"
        together[key] = replace(before or finding, evidence=evidence)
    return tuple(together.values())


def several_digits(reading: Reading, label: str | None) -> Iterator[Finding]:
    """Yield that more is read than the picture shall show, which is a part of it."""
    shown, wanted = _without_spaces(reading.text), _without_spaces(label)
    if wanted and wanted != shown and wanted in shown:
        evidence = (
            f"The picture is read as {reading.text}: beside {label}, something else in it is taken for "
            f"{counted(len(shown) - len(wanted), 'digit')}."
        )
        yield Finding("several_digits", "warning", evidence, "Cut out the number that you mean.")


def cut_off(reading: Reading, picture: Grey) -> Iterator[Finding]:
    """Yield that a digit, or ink beside the digits, touches the edge of the upright picture."""
    boxes = [digit.box for digit in reading.digits]
    gaps = distances_from_edge(boxes, picture)
    evidence = None
    if gaps and min(gaps) <= 0:
        nearest = reading.digits[int(np.argmin(gaps))]
        evidence = f"The digit read as {nearest.digit} touches the edge of the picture."
    elif digit_at_edge(picture, boxes):
        evidence = "Beside the digits, ink as high as a digit touches the edge of the picture."
    if evidence:
        yield Finding("cut_off", "warning", evidence, REMEDIES["cut_off"])


def explained(corrections: Sequence[Finding], reading: Reading, picture: Grey) -> tuple[Finding, ...]:
    """Return what the upright picture's measurements show, and what the effective corrections do.

    A correction of a fault that the measurements rule out helped by something else: it counts for the fault
    that was measured or, without one, for the measurement that is nearest to a fault. Without either, it
    counts for the fault that it mends, unless another correction explains the picture.
    """
    boxes = [digit.box for digit in reading.digits]
    values = measure_picture(picture, boxes)
    grades = {rule: USUAL[rule].grade(value) for rule, value in values.items()}
    faults = [_measured(rule, values[rule]) for rule, grade in grades.items() if grade == "fault"]
    faults += cut_off(reading, picture)
    ruled_out = {rule for rule, grade in grades.items() if grade == "usual"}
    ruled_out |= {"too_thin", "blurred"} - values.keys() if values else set()  # noise or few pixels hide them
    if boxes and min(distances_from_edge(boxes, picture)) > LEAST_MARGIN:
        ruled_out |= {"cut_off"} - {fault.rule for fault in faults}
    credible = [finding for finding in corrections if finding.rule not in ruled_out]
    doubted = [finding for finding in corrections if finding.rule in ruled_out]
    if doubted and not faults and not credible:
        faults = _nearest_fault(values)
    if faults:
        cause = faults[0]
        doubted = [replace(each, rule=cause.rule, remedy=cause.remedy, command=None) for each in doubted]
    elif credible:
        doubted = []
    return (*credible, *doubted, *faults)


def _measured(rule: str, value: float) -> Finding:
    return Finding(rule, "warning", USUAL[rule].evidence(value), REMEDIES[rule])


def _nearest_fault(values: Mapping[str, float]) -> list[Finding]:
    """Return the unusual value that is nearest to its limit, if there is one."""
    nearness = {rule: USUAL[rule].nearness(value) for rule, value in values.items()}
    rule = max(nearness, key=lambda each: nearness[each])
    return [_measured(rule, values[rule])] if nearness[rule] > 0 else []


def unfamiliar_style(reading: Reading, picture: Grey) -> Iterator[Finding]:
    """Yield that a single character of the upright picture is far from the training digits, for a network."""
    if len(reading.digits) == 1:
        x, y, width, height = reading.digits[0].box
        picture = _pad(picture[y : y + height, x : x + width])
    elif reading.reason != "not_a_digit":
        return
    model = resolve_model(STYLE_MODEL)
    with torch.no_grad():
        search = NeighbourSearch(load_model(model), model)
        (nearest,) = search.nearest(digit_from_grey(picture), 1)
    if nearest.distance > USUAL_DISTANCE:
        yield Finding(
            "unfamiliar_style",
            "warning",
            "It looks unlike the digits that networks learn from. To the nearest of 2,000 training digits, a "
            f"{nearest.label}, its distance is {nearest.distance:.2f} times that of two of them in the mean; "
            f"for 99 % of MNIST's validation digits it is below {USUAL_DISTANCE:g}.",
            "If it is a digit, train on pictures like this one.",
            "digitcli train --arch cnn --data DIR",
        )


def _is_doubtful(reading: Reading, label: str | None) -> bool:
    if label is not None and not _shows(reading, label):
        return True
    return reading.status != "blank" and _is_unsure(reading)


def _shows(reading: Reading, label: str) -> bool:
    return _without_spaces(reading.text) == _without_spaces(label)


def _without_spaces(text: str | None) -> str:
    """Return the digits of a text, in which numbers are separated by a space."""
    return "".join((text or "").split())


def _is_unsure(reading: Reading) -> bool:
    return reading.status != "read" or (reading.confidence or 0.0) < CONFIDENT


def _effective_corrections(
    picture: Grey, first: Reading, reader: Reader, path: Path, label: str | None
) -> Iterator[Finding]:
    """Yield the corrections after which the answer is not doubtful any more, the most certain first.

    One that loses digits is none, unless it leads to the label.
    """
    effective: list[tuple[float, Finding]] = []
    for correction in CORRECTIONS:
        reading = reader.read(correction.apply(picture))
        is_same = _without_spaces(reading.text) == _without_spaces(first.text)
        if not _is_better(reading, first, label) or (is_same and correction.changes_answer):
            continue
        confidence = reading.confidence or 0.0
        answer = f"{reading.text} at {percent(confidence, 1)}"
        evidence = f"If the picture is {correction.change}, it is read as {answer}."
        command = f"digitcli predict {correction.options} {quoted(path)}" if correction.options else None
        finding = Finding(correction.rule, "warning", evidence, correction.remedy, command)
        effective.append((confidence, finding))
    yield from (finding for _, finding in sorted(effective, key=lambda pair: -pair[0]))


def _is_better(reading: Reading, first: Reading, label: str | None) -> bool:
    """Tell whether a reading mends the first one: it is right, if that is known, and sure or surer."""
    if not reading.text:
        return label is not None and _shows(reading, label)
    is_sure = not _is_unsure(reading)
    if label is None:
        return is_sure and len(_without_spaces(reading.text)) >= len(_without_spaces(first.text))
    if _shows(first, label):
        return _shows(reading, label) and is_sure
    certainty = first.confidence or 0.0 if first.text else 0.0
    return _shows(reading, label) and (is_sure or (reading.confidence or 0.0) > certainty)


def _unexplained(reading: Reading, label: str | None) -> Finding:
    wanted = "a confident answer" if label is None or _shows(reading, label) else label
    return Finding(
        "unexplained",
        "warning",
        f"The picture is read as {reading.text or 'nothing'} at {percent(reading.confidence or 0, 1)}, and "
        f"no known correction leads to {wanted}.",
        "Photograph it again: whole, sharp, evenly lit and large.",
    )
