"""Examine a picture that is read wrongly or with doubt.

It is read again after each of several corrections, and its digits and paper are measured. A correction that
helps names a fault only if no measurement contradicts it: sharpening helps thin strokes, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from digitcli.diagnosis.findings import Diagnosis, Finding, percent
from digitcli.diagnosis.picture_quality import (
    CORRECTIONS,
    REMEDIES,
    USUAL,
    digit_at_edge,
    distances_from_edge,
    measure_picture,
)
from digitcli.errors import PictureError, counted, quoted
from digitcli.imaging.grayscale import rotate
from digitcli.imaging.opening import open_picture
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Reading, describe_confidence

Grey = npt.NDArray[np.uint8]

# A reading is doubtful below this confidence, and a correction has to reach it.
CONFIDENT = 0.9
# A digit that is nearer to the edge than this, in its heights, may lack paper around it; of the pictures that
# are read well, three quarters have more (benchmarks/doctor.py usual).
LEAST_MARGIN = 0.026


def examine_picture(
    path: Path, label: str | None = None, reader: Reader | None = None, device: str = "auto"
) -> Diagnosis:
    """Return how a picture, or a document's first page, is read, and what makes it read better.

    Of a page with several numbers, the facts tell where the least certain one is, and why any are refused.

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
    if len(reading.numbers) > 1:
        number = min(reading.numbers, key=lambda each: each.confidence)
        x, y, width, height = number.box
        place = f"{width} x {height} pixels from ({x}, {y})"
        facts["least certain number"] = f"{number.text} at {percent(number.confidence, 1)}, {place}"
    if refused := [each for each in reading.numbers if each.status == "refused"]:
        facts["refused numbers"] = "; ".join(
            f"{each.text} from ({each.box[0]}, {each.box[1]}): {(each.reason or '').replace('_', ' ')}"
            f" at {percent(each.confidence, 1)}"
            for each in refused
        )
    values = measure_picture(upright, [digit.box for digit in reading.digits])
    findings = (*explained(corrections, values, reading, upright), *other_count(reading, label))
    findings = merged(findings or nearest_fault(values)) or (_unexplained(reading, label),)
    return Diagnosis(f"picture {path}", facts, findings)


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
    grades = {rule: USUAL[rule].grade(value) for rule, value in values.items()}
    worst_first = sorted(values, key=lambda rule: -USUAL[rule].nearness(values[rule]))
    faults = [_measured(rule, values[rule]) for rule in worst_first if grades[rule] == "fault"]
    faults += cut_off(reading, picture, has_clear_ink=not {"noisy", "uneven_background"} & _rules(faults))
    ruled_out = {rule for rule, grade in grades.items() if grade == "usual"}
    ruled_out |= {"too_thin", "blurred"} - values.keys() if values else set()  # noise or few pixels hide them
    if reading.digits and min(_distances(reading, picture)) > LEAST_MARGIN:
        ruled_out |= {"cut_off"} - _rules(faults)
    credible = [finding for finding in corrections if finding.rule not in ruled_out]
    doubted = [finding for finding in corrections if finding.rule in ruled_out]
    if doubted and not faults and not credible:
        faults = nearest_fault(values)
    if faults:
        cause = faults[0]
        doubted = [replace(each, rule=cause.rule, remedy=cause.remedy, command=None) for each in doubted]
    elif credible:
        doubted = []
    measured = _rules(faults)
    credible.sort(key=lambda finding: finding.rule not in measured)
    return (*credible, *doubted, *faults)


def _rules(findings: Iterable[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


def _measured(rule: str, value: float) -> Finding:
    return Finding(rule, "warning", USUAL[rule].evidence(value), REMEDIES[rule])


def nearest_fault(values: Mapping[str, float]) -> list[Finding]:
    """Return the measured value that is nearest to a fault, if one is unusual."""
    nearness = {rule: USUAL[rule].nearness(value) for rule, value in values.items()}
    rule = max(nearness, key=lambda each: nearness[each], default="")
    return [_measured(rule, values[rule])] if rule and nearness[rule] > 0 else []


def cut_off(reading: Reading, picture: Grey, *, has_clear_ink: bool = True) -> Iterator[Finding]:
    """Yield that a digit or, where ink is clear, ink beside the digits touches the edge of the picture."""
    distances = _distances(reading, picture)
    evidence = None
    if distances and min(distances) <= 0:
        nearest = reading.digits[int(np.argmin(distances))]
        evidence = f"The digit read as {nearest.digit} touches the edge of the picture."
    elif has_clear_ink and digit_at_edge(picture, [digit.box for digit in reading.digits]):
        evidence = "Ink as high as a digit touches the edge of the picture."
    if evidence:
        yield Finding("cut_off", "warning", evidence, REMEDIES["cut_off"])


def _distances(reading: Reading, picture: Grey) -> list[float]:
    return distances_from_edge([digit.box for digit in reading.digits], picture)


def _is_doubtful(reading: Reading, label: str | None) -> bool:
    """Tell whether a reading is wrong or unsure; on a page of several numbers each of them has to be sure."""
    if label is not None and not _shows(reading, label):
        return True
    if len(reading.numbers) > 1 and label is None:
        return any(each.status != "read" or each.confidence < CONFIDENT for each in reading.numbers)
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
    rotations = []
    for correction in CORRECTIONS:
        try:
            reading = reader.read(correction.apply(picture))
        except PictureError:  # it became too large
            continue
        is_same = _without_spaces(reading.text) == _without_spaces(first.text)
        if not _is_better(reading, first, label) or (is_same and correction.changes_answer):
            continue
        confidence = reading.confidence or 0.0
        answer = f"{reading.text} at {percent(confidence, 1)}"
        evidence = f"If the picture is {correction.change}, it is read as {answer}."
        command = f"digitcli predict {correction.options} {quoted(path)}" if correction.options else None
        finding = Finding(correction.rule, "warning", evidence, REMEDIES[correction.rule], command)
        effective.append((confidence, finding))
        rotations.append(reading.rotation)
    # Where turning it helps, a correction after which the reader turns it by itself helps by that.
    if "turned" in _rules(finding for _, finding in effective):
        effective = [each for each, turn in zip(effective, rotations, strict=True) if turn == first.rotation]
    yield from (finding for _, finding in sorted(effective, key=lambda pair: -pair[0]))


def _is_better(reading: Reading, first: Reading, label: str | None) -> bool:
    """Tell whether a reading improves the first one: it is right, if that is known, and sure or surer."""
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
        "Look at it yourself, or photograph it again: whole, sharp, evenly lit and large.",
    )
