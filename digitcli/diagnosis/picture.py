"""Examine a picture that is read wrongly or with doubt.

It is read again after each of several corrections, and its digits and paper are measured. A correction that
helps names a fault only if no measurement contradicts it: sharpening helps thin strokes, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from digitcli.diagnosis.findings import Diagnosis, Finding, percent
from digitcli.errors import PictureError, counted, quoted
from digitcli.imaging.binarization import find_ink, rescale
from digitcli.imaging.digits import MAX_HEIGHT, MIN_HEIGHT, ConnectedComponents, mean_stroke_width
from digitcli.imaging.grayscale import Box, quantile, rotate
from digitcli.imaging.opening import open_picture
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Reading, describe_confidence

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

# A reading is doubtful below this confidence, and a correction has to reach it.
CONFIDENT = 0.9
# A digit that is nearer to the edge than this, in its heights, may lack paper around it; of the pictures that
# are read well, three quarters have more (benchmarks/doctor.py usual).
LEAST_MARGIN = 0.026
# Rounds of k-means, after which the levels hardly move.
ROUNDS = 20
# Height in pixels to which a digit is enlarged before its strokes are measured: a hairline is 4 pixels wide.
FINE_PX = 400
# Height in pixels at which edges are measured, so that the noise of a large picture is averaged.
COARSE_PX = 40
# Lower digits have edges of one or two pixels, a tenth of their height, however sharp they are.
LEAST_FOR_EDGES_PX = 25
# Paper around a digit that belongs to its edges, as a share of its height: half of a wide stroke.
MARGIN = 0.15
# Range of the middle 80 % of a normal distribution, in standard deviations.
MIDDLE_80 = 2.563

# What removes each fault.
REMEDIES = {
    "inverted": "Scan it as dark ink on light paper.",
    "turned": "Turn it, or say how it lies.",
    "too_thin": "Write with a thicker pen, or scan finer.",
    "too_small": "Scan or photograph it with more pixels.",
    "blurred": "Hold the camera still, and focus on the paper.",
    "noisy": "Give it more light, or scan it.",
    "uneven_background": "Avoid shadows and patterned paper.",
    "cut_off": "Leave a margin around the number.",
}
# These are faults only if other digits are read after the correction: a 0 upside down is none.
CHANGES_ANSWER = ("inverted", "turned")


@dataclass(frozen=True)
class Correction:
    """A change of a picture (H, W), grey, that removes one fault.

    rule: the fault that the picture has if the changed one is read better.
    change: what the change does, after "if the picture is".
    apply: changes a picture.
    options: options of `digitcli predict` that do the same.
    """

    rule: str
    change: str
    apply: Callable[[Grey], Grey]
    options: str | None = None


def _ink_is_dark(picture: Grey) -> bool:
    """Return whether the ink is darker than the paper, which covers most of the picture."""
    return float(np.median(picture)) > (quantile(picture, 0.01) + quantile(picture, 0.99)) / 2


def _thicken(picture: Grey) -> Grey:
    """Make strokes thicker by a two-hundredth of the longer side, two pixels at least."""
    size = max(3, max(picture.shape) // 100 | 1)
    change = cv2.erode if _ink_is_dark(picture) else cv2.dilate
    return np.asarray(change(picture, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), np.uint8)


def _enlarge(picture: Grey) -> Grey:
    return np.asarray(cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)


def _sharpen(picture: Grey, share: float, amount: float) -> Grey:
    """Add the difference from a copy that is blurred by a share of the shorter side (unsharp masking)."""
    blurred = cv2.GaussianBlur(picture, (0, 0), max(1.5, share * min(picture.shape)))
    return np.asarray(cv2.addWeighted(picture, 1 + amount, blurred, -amount, 0), np.uint8)


def _smooth(picture: Grey) -> Grey:
    """Smooth by the mean of similar places (Buades, Coll & Morel 2005), as strongly as there is noise."""
    return np.asarray(cv2.fastNlMeansDenoising(picture, None, max(20.0, noise_of(picture))), np.uint8)


def _flatten(picture: Grey) -> Grey:
    """Divide by the paper around each pixel: closing removes dark ink from it, and opening light ink."""
    side = max(15, min(picture.shape) // 6 | 1)
    kind = cv2.MORPH_CLOSE if _ink_is_dark(picture) else cv2.MORPH_OPEN
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    paper = cv2.GaussianBlur(cv2.morphologyEx(picture, kind, kernel), (0, 0), side / 3)
    return np.asarray(cv2.divide(picture, paper, scale=200), np.uint8)


def _keep_dark_ink(picture: Grey) -> Grey:
    """Make white what is clearly paler than dark ink, such as squares and other patterns.

    The levels are divided into three (k-means, Lloyd 1982), of which the darkest is ink.
    """
    counts, levels = np.bincount(picture.ravel(), minlength=256), np.arange(256)
    centres = np.array([quantile(picture, share) for share in (0.005, 0.5, 0.995)])
    for _ in range(ROUNDS):
        nearest = np.abs(levels - centres[:, None]).argmin(axis=0)
        for index in np.unique(nearest[counts > 0]):
            centres[index] = np.average(levels[nearest == index], weights=counts[nearest == index])
    ink, paler = centres[0], (centres[0] + centres[1]) / 2
    return np.asarray(np.clip((picture - ink) * 255 / max(1.0, paler - ink), 0, 255), np.uint8)


def _pad(picture: Grey) -> Grey:
    """Add paper around the picture, half of its shorter side."""
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return np.pad(picture, min(picture.shape) // 2, constant_values=int(np.median(edge)))


CORRECTIONS = (
    Correction("inverted", "inverted", lambda picture: 255 - picture),
    *(
        Correction(
            "turned",
            f"rotated by {degrees} degrees clockwise",
            partial(rotate, degrees=degrees),
            f"--rotate {degrees}",
        )
        for degrees in (90, 180, 270)
    ),
    Correction("too_thin", "drawn with thicker strokes", _thicken),
    Correction("too_small", "enlarged three times", _enlarge),
    Correction("blurred", "sharpened", partial(_sharpen, share=0.01, amount=2.0)),
    Correction("blurred", "sharpened strongly", partial(_sharpen, share=0.033, amount=3.0)),
    Correction("noisy", "smoothed", _smooth),
    Correction("uneven_background", "freed from shadows", _flatten),
    Correction("uneven_background", "freed from everything that is paler than its dark ink", _keep_dark_ink),
    Correction(
        "uneven_background",
        "freed from everything that is darker than its light ink",
        lambda picture: _keep_dark_ink(255 - picture),
    ),
    Correction("cut_off", "surrounded by paper", _pad),
)


@dataclass(frozen=True)
class Range:
    """What pictures that are read well have.

    sentence: tells the value.
    common: three quarters of them are better.
    limit: 95 % of them are better.
    in_pixels: whether the value is in pixels; otherwise it is a share.
    """

    sentence: str
    common: float
    limit: float
    in_pixels: bool = False

    def nearness(self, value: float) -> float:
        """Return how far a value is from the common ones, which are 0 or less, to a fault, above 1."""
        return (value - self.common) / (self.limit - self.common)

    def evidence(self, value: float) -> str:
        """Return the value, and those of pictures that are read well."""
        better = "more" if self.limit < self.common else "less"
        share, usual = ("95 %", self.limit) if self.nearness(value) > 1 else ("three quarters", self.common)
        shown, usual_shown = (
            f"{each:.0f} pixels" if self.in_pixels else f"{100 * each:.2f} %" for each in (value, usual)
        )
        usual_values = f"of pictures that are read well, {share} have {usual_shown} or {better}."
        return f"{self.sentence.format(shown)}; {usual_values}"


# By `python benchmarks/doctor.py usual --pictures 3000`: synthetic pictures of MNIST's validation digits,
# held-out writers and fonts, as photographs and scans of good and poor quality, of which 1,503 are read as
# what they show at 90 % or more.
USUAL = {
    "too_small": Range("The tallest digit is {} high", 25, 14, in_pixels=True),
    "too_thin": Range("The strokes of the thinnest digit are {} of its height wide", 0.088, 0.034),
    "blurred": Range("The edges of the strokes are {} of the digits' height wide", 0.076, 0.116),
    "noisy": Range("The noise of the paper is {} of the contrast", 0.0056, 0.032),
    "uneven_background": Range("The brightness around the digits varies by {} of the contrast", 0.091, 0.229),
}


def examine_picture(
    path: Path, label: str | None = None, reader: Reader | None = None, device: str = "auto"
) -> Diagnosis:
    """Return how a picture, or a document's first page, is read, and what makes it read better.

    Of a page with several numbers, the facts tell where the least certain one is.

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
    reason = "" if reading.reason is None else f": {reading.reason.replace('_', ' ')}"
    answer = f"{reading.text or 'no digit'} ({reading.status}{reason})"
    meaning = describe_confidence(reading.status, reading.text)
    facts = {
        "size": f"{width} x {height} pixels",
        "answer": "nothing is written" if reading.status == "blank" else answer,
        "confidence": f"{percent(reading.confidence or 0, 1)} {meaning}".rstrip(),
    }
    if not _is_doubtful(reading, label):
        return Diagnosis(f"picture {path}", facts)
    upright = rotate(picture, reading.rotation)  # the boxes of the digits are in it
    corrections = tuple(_effective_corrections(picture, reading, reader, path, label))
    if len(reading.numbers) > 1:
        number = min(reading.numbers, key=lambda each: each.confidence)
        x, y, width, height = number.box
        place = f"{width} x {height} pixels from ({x}, {y})"
        facts["least certain number"] = f"{number.text} at {percent(number.confidence, 1)}, {place}"
    values = measure_picture(upright, _boxes(reading))
    findings = (*explained(corrections, values, reading, upright), *other_count(reading, label))
    if not (findings := merged(findings or nearest_fault(worst_first(values)))):
        wanted = "a confident answer" if label is None or _shows(reading, label) else label
        evidence = (
            f"The picture is read as {reading.text or 'nothing'} at {percent(reading.confidence or 0, 1)}"
        )
        evidence += f", and no known correction leads to {wanted}."
        remedy = "Look at it yourself, or photograph it again: whole, sharp, evenly lit and large."
        findings = (Finding("unexplained", "warning", evidence, remedy),)
    return Diagnosis(f"picture {path}", facts, findings)


def _boxes(reading: Reading) -> list[Box]:
    return [digit.box for digit in reading.digits]


def _without_spaces(text: str | None) -> str:
    """Return the digits of a text, in which numbers are separated by a space."""
    return "".join((text or "").split())


def _shows(reading: Reading, label: str) -> bool:
    return _without_spaces(reading.text) == _without_spaces(label)


def _is_sure(reading: Reading) -> bool:
    return reading.status == "read" and (reading.confidence or 0.0) >= CONFIDENT


def _is_doubtful(reading: Reading, label: str | None) -> bool:
    """Tell whether a reading is wrong or unsure; on a page of several numbers each of them has to be sure."""
    if label is not None and not _shows(reading, label):
        return True
    if len(reading.numbers) > 1 and label is None:
        return any(each.status != "read" or each.confidence < CONFIDENT for each in reading.numbers)
    return reading.status != "blank" and not _is_sure(reading)


def _effective_corrections(
    picture: Grey, first: Reading, reader: Reader, path: Path, label: str | None
) -> Iterator[Finding]:
    """Yield the corrections after which the answer is not doubtful any more, the most certain first.

    One that loses digits is none, unless it leads to the label.
    """
    effective: list[tuple[Reading, Finding]] = []
    for correction in CORRECTIONS:
        try:
            reading = reader.read(correction.apply(picture))
        except PictureError:  # it became too large
            continue
        is_same = _without_spaces(reading.text) == _without_spaces(first.text)
        if not _is_better(reading, first, label) or (is_same and correction.rule in CHANGES_ANSWER):
            continue
        answer = f"{reading.text} at {percent(reading.confidence or 0.0, 1)}"
        evidence = f"If the picture is {correction.change}, it is read as {answer}."
        command = f"digitcli predict {correction.options} {quoted(path)}" if correction.options else None
        remedy = REMEDIES[correction.rule]
        effective.append((reading, Finding(correction.rule, "warning", evidence, remedy, command)))
    # Where turning it helps, a correction after which the reader turns it by itself helps by that.
    if any(finding.rule == "turned" for _, finding in effective):
        effective = [each for each in effective if each[0].rotation == first.rotation]
    yield from (finding for _, finding in sorted(effective, key=lambda pair: -(pair[0].confidence or 0.0)))


def _is_better(reading: Reading, first: Reading, label: str | None) -> bool:
    """Tell whether a reading improves the first one: it is right, if that is known, and sure or surer."""
    if not reading.text:
        return label is not None and _shows(reading, label)
    if label is None:
        return _is_sure(reading) and len(_without_spaces(reading.text)) >= len(_without_spaces(first.text))
    if _shows(first, label):
        return _shows(reading, label) and _is_sure(reading)
    certainty = first.confidence or 0.0 if first.text else 0.0
    return _shows(reading, label) and (_is_sure(reading) or (reading.confidence or 0.0) > certainty)


def explained(
    corrections: Sequence[Finding], values: Mapping[str, float], reading: Reading, picture: Grey
) -> Sequence[Finding]:
    """Return what the upright picture's measurements show, and what the effective corrections do.

    A correction of a fault that the measurements rule out helped by something else: it counts for the fault
    that was measured or, without one, for the measurement that is nearest to a fault. Without either, it
    counts for the fault that it removes, unless another correction explains the picture. Corrections of
    faults that were measured come first.
    """
    if corrections and corrections[0].rule == "turned":
        return corrections  # digits on their side were measured
    graded = worst_first(values)
    faults = [finding for nearness, finding in graded if nearness > 1]
    measured = {finding.rule for finding in faults}
    faults += cut_off(reading, picture, has_clear_ink=not {"noisy", "uneven_background"} & measured)
    measured = {finding.rule for finding in faults}
    ruled_out = {finding.rule for nearness, finding in graded if nearness <= 0}
    ruled_out |= {"too_thin", "blurred"} - values.keys() if values else set()  # noise or few pixels hide them
    if reading.digits and min(distances_from_edge(_boxes(reading), picture)) > LEAST_MARGIN:
        ruled_out |= {"cut_off"} - measured
    credible = [finding for finding in corrections if finding.rule not in ruled_out]
    doubted = [finding for finding in corrections if finding.rule in ruled_out]
    if doubted and not faults and not credible:
        faults = nearest_fault(graded)
    if faults:
        cause = faults[0]
        doubted = [replace(each, rule=cause.rule, remedy=cause.remedy, command=None) for each in doubted]
    elif credible:
        doubted = []
    credible.sort(key=lambda finding: finding.rule not in measured)
    return (*credible, *doubted, *faults)


def worst_first(values: Mapping[str, float]) -> list[tuple[float, Finding]]:
    """Return how near each measured value is to a fault, and its finding."""
    graded = []
    for rule, value in values.items():
        finding = Finding(rule, "warning", USUAL[rule].evidence(value), REMEDIES[rule])
        graded.append((USUAL[rule].nearness(value), finding))
    return sorted(graded, key=lambda pair: -pair[0])


def nearest_fault(graded: Sequence[tuple[float, Finding]]) -> list[Finding]:
    """Return the measured value that is nearest to a fault, if it is unusual."""
    return [finding for nearness, finding in graded[:1] if nearness > 0]


def cut_off(reading: Reading, picture: Grey, *, has_clear_ink: bool) -> Iterator[Finding]:
    """Yield that a digit or, where ink is clear, ink beside the digits touches the edge of the picture."""
    distances, what = distances_from_edge(_boxes(reading), picture), None
    if distances and min(distances) <= 0:
        what = f"The digit read as {reading.digits[int(np.argmin(distances))].digit}"
    elif has_clear_ink and digit_at_edge(picture, _boxes(reading)):
        what = "Ink as high as a digit"
    if what:
        evidence = f"{what} touches the edge of the picture."
        yield Finding("cut_off", "warning", evidence, REMEDIES["cut_off"])


def other_count(reading: Reading, label: str | None) -> Iterator[Finding]:
    """Yield that more or less is read than the picture shall show, which is a part of the other."""
    shown, wanted = _without_spaces(reading.text), _without_spaces(label)
    count = counted(abs(len(shown) - len(wanted)), "digit")
    if shown and wanted and shown != wanted and wanted in shown:
        evidence = f"The picture is read as {reading.text}: something else than {label} is taken for {count}."
        yield Finding("several_digits", "warning", evidence, "Cut out the number that you mean.")
    elif shown and shown != wanted and shown in wanted:
        evidence = f"The picture is read as {reading.text}, which is {label} without {count}."
        remedy = "Leave a margin around the number, and write each digit whole."
        yield Finding("missing_digits", "warning", evidence, remedy)


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings, those with the same rule and remedy as one that has the evidence of all."""
    together: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = finding.rule, finding.remedy
        before = together.get(key)
        evidence = finding.evidence if before is None else f"{before.evidence} {finding.evidence}"
        together[key] = replace(before or finding, evidence=evidence)
    return tuple(together.values())


def measure_picture(picture: Grey, boxes: Sequence[Box]) -> dict[str, float]:
    """Return a value for each rule of `USUAL`, for an upright picture (H, W) and the boxes of its digits.

    Without boxes the ink as a whole is measured, and nothing if there is none. Where the noise is a fault, or
    where there are too few pixels, the width of strokes and edges cannot be measured and is left out.
    """
    ink = find_ink(picture.astype(np.float32) / 255)
    boxes = [box for box in boxes or [_box_of(ink)] if min(box[2:]) > 1]
    if not boxes:
        return {}
    tallest = float(max(box[3] for box in boxes))
    contrast = max(1.0, quantile(picture, 0.999) - quantile(picture, 0.001))
    is_ink = (ink > 0).astype(np.uint8)
    paper = cv2.dilate(is_ink, np.ones((5, 5), np.uint8)) == 0
    noise = noise_of(picture, paper if 2 * is_ink.sum() < is_ink.size else None)  # else it is taken for ink
    values = {"too_small": tallest, "noisy": noise / contrast}
    around = _unevenness(picture, boxes)
    values |= {} if around is None else {"uneven_background": around / contrast}
    if USUAL["noisy"].nearness(values["noisy"]) > 1:
        return values
    digits = [ink[area_of(box)] for box in boxes]
    widths = [mean_stroke_width(rescale(digit, FINE_PX / len(digit))) / FINE_PX for digit in digits]
    values |= {"too_thin": min(filter(None, widths))} if any(widths) else {}  # without digits without ink
    if tallest >= LEAST_FOR_EDGES_PX:
        values["blurred"] = float(np.median([_edge_width(picture[area_of(box, MARGIN)]) for box in boxes]))
    return values


def distances_from_edge(boxes: Sequence[Box], picture: Grey) -> list[float]:
    """Return the distance of each box from the edge of a picture (H, W), in heights of the box."""
    height, width = picture.shape
    return [min(x, y, width - x - w, height - y - h) / max(h, 1) for x, y, w, h in boxes]


def digit_at_edge(picture: Grey, boxes: Sequence[Box]) -> bool:
    """Tell whether ink that may be a digit touches the edge of an upright picture, level with the digits.

    Without boxes the ink as a whole is taken for a digit.
    """
    pixels = find_ink(picture.astype(np.float32) / 255)
    boxes, ink = boxes or [_box_of(pixels)], ConnectedComponents(pixels)
    height = float(np.median([box[3] for box in boxes]))
    top, bottom = min(box[1] for box in boxes), max(box[1] + box[3] for box in boxes)
    beside = np.minimum(ink.y + ink.height, bottom) - np.maximum(ink.y, top)
    is_digit = (beside >= MIN_HEIGHT * height) & (ink.height <= MAX_HEIGHT * height)
    return bool((is_digit & ink.touches_edge)[1:].any())


def noise_of(picture: Grey, where: Mask | None = None) -> float:
    """Return the standard deviation of the noise in levels. Immerkær, "Fast noise variance estimation", 1996.

    The difference of two second derivatives is zero for paper and for straight edges.

    where: bool (H, W), pixels to measure, if there are any.
    """
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    differences = np.abs(cv2.filter2D(picture.astype(np.float32), -1, mask))
    if where is not None and where.any():
        differences = differences[where]
    return float(differences.mean() * np.sqrt(np.pi / 2) / 6)


def _box_of(ink: npt.NDArray[np.float32]) -> Box:
    """Return the box around all ink (H, W)."""
    x, y, width, height = cv2.boundingRect((ink > 0.5).astype(np.uint8))
    return x, y, width, height


def _unevenness(picture: Grey, boxes: Sequence[Box]) -> float | None:
    """Return how much the brightness around the digits varies, without noise, in levels; None without ground.

    It is the standard deviation of a normal distribution with the same range of the middle 80 %, in which
    other writing does not count.
    """
    around = np.ones(picture.shape, bool)
    for box in boxes:
        around[area_of(box, MARGIN)] = False
    if not around.any():
        return None
    spread = (quantile(picture[around], 0.9) - quantile(picture[around], 0.1)) / MIDDLE_80
    return float(np.sqrt(max(0.0, spread**2 - noise_of(picture, around) ** 2)))


def _edge_width(digit: Grey) -> float:
    """Return over which share of the height of a digit (h, w) its edges go from paper to ink.

    It is the contrast divided by the slope of the steepest edges.
    """
    coarse = rescale(digit.astype(np.float32), COARSE_PX / digit.shape[0])
    slopes = np.hypot(*(cv2.Sobel(coarse, cv2.CV_32F, *axes) / 8 for axes in ((1, 0), (0, 1))))
    contrast = quantile(coarse, 0.98) - quantile(coarse, 0.02)
    return contrast / max(quantile(slopes, 0.95), 1e-6) / COARSE_PX


def area_of(box: Box, margin: float = 0.0) -> tuple[slice, slice]:
    """Return the rows and columns of a box and of a margin around it, as a share of its height."""
    x, y, width, height = box
    more = round(margin * height)
    return slice(max(0, y - more), y + height + more), slice(max(0, x - more), x + width + more)
