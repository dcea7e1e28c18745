"""The fault that is planted in a picture is found by reading the corrected picture; a good one has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from digitcli.diagnosis import picture as module
from digitcli.diagnosis.findings import Finding
from digitcli.diagnosis.picture import (
    CORRECTIONS,
    USUAL,
    digit_at_edge,
    examine_picture,
    explained,
    measure_picture,
    merged,
    noise_of,
    other_count,
)
from digitcli.errors import PictureError
from digitcli.imaging.grayscale import Box
from digitcli.recognition.reader import Reader
from digitcli.recognition.readings import Reading

NUMBER = Path(__file__).parents[2] / "docs" / "pictures" / "number.jpg"


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(device="cpu")


def saved(picture: np.ndarray) -> Path:
    cv2.imwrite("picture.png", picture)
    return Path("picture.png")


def blank() -> Path:
    return saved(np.full((60, 90), 255, np.uint8))


def test_a_good_picture_has_no_findings(reader: Reader) -> None:
    diagnosis = examine_picture(NUMBER, reader=reader)
    assert diagnosis.findings == () and diagnosis.facts["answer"] == "40713 (read)"
    assert examine_picture(NUMBER, "40713", reader).findings == ()


def test_a_picture_upside_down_is_found() -> None:
    picture = cv2.imread(str(NUMBER), cv2.IMREAD_GRAYSCALE)
    reader = Reader(device="cpu", rotate="0")  # by default it is turned before it is read
    (finding,) = examine_picture(saved(np.rot90(picture, 2)), reader=reader).findings
    assert finding.rule == "turned" and "read as 40713" in finding.evidence
    assert finding.command == "digitcli predict --rotate 180 picture.png"


def test_a_patterned_ground_is_found_where_the_number_is_known(reader: Reader) -> None:
    picture = cv2.imread(str(NUMBER), cv2.IMREAD_GRAYSCALE)
    findings = examine_picture(saved(squares(picture, 0.45)), "40713", reader).findings
    assert "uneven_background" in [finding.rule for finding in findings]


def squares(picture: np.ndarray, depth: float) -> np.ndarray:
    """Put a number on a chequered ground."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return (picture * (1 - depth * ((columns // 12 + rows // 12) % 2))).astype(np.uint8)


def noise(picture: np.ndarray, deviation: float) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.clip(40 + 0.7 * picture + random.normal(0, deviation, picture.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("rule", "plant"),
    [
        ("blurred", lambda picture, times: cv2.GaussianBlur(picture, (0, 0), 5 * times)),
        ("noisy", lambda picture, times: noise(cv2.resize(picture, None, fx=2, fy=2), 130 * times)),
    ],
)
def test_a_fault_that_is_planted_is_found_by_a_real_correction(
    reader: Reader,
    rule: str,
    plant: Callable[[np.ndarray, float], np.ndarray],
) -> None:
    picture = cv2.resize(cv2.imread(str(NUMBER), cv2.IMREAD_GRAYSCALE), None, fx=0.5, fy=0.5)
    files = (saved(plant(picture, times)) for times in np.arange(0.5, 2, 0.1))
    diagnoses = (examine_picture(file, "40713", reader) for file in files)
    (finding, *_) = next(diagnosis.findings for diagnosis in diagnoses if diagnosis.findings)  # the weakest
    assert finding.rule == rule and "read as 40713" in finding.evidence
    assert examine_picture(saved(picture), "40713", reader).findings == ()


@pytest.mark.parametrize(
    ("rule", "plant"),
    [
        ("too_thin", lambda picture, times: cv2.dilate(picture, np.ones((times + 6,) * 2, np.uint8))),
        ("blurred", lambda picture, times: cv2.GaussianBlur(picture, (0, 0), 4 + 2 * times)),
        ("uneven_background", lambda picture, times: squares(picture, 0.05 * times)),
    ],
)
def test_a_fault_that_no_correction_removes_is_measured(
    reader: Reader,
    rule: str,
    plant: Callable[[np.ndarray, int], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CORRECTIONS", ())
    picture = cv2.imread(str(NUMBER), cv2.IMREAD_GRAYSCALE)
    files = (saved(plant(picture, times)) for times in range(1, 12))
    diagnoses = (examine_picture(file, "40713", reader) for file in files)
    (finding, *_) = next(diagnosis.findings for diagnosis in diagnoses if diagnosis.findings)  # the weakest
    assert finding.rule == rule and "of pictures that are read well" in finding.evidence
    assert examine_picture(saved(picture), "40713", reader).findings == ()


def effective(*rules: str) -> list[Finding]:
    return [Finding(rule, "warning", f"Mending {rule} helps.", module.REMEDIES[rule]) for rule in rules]


@pytest.mark.parametrize(
    ("corrections", "values", "rules"),
    [
        (["blurred"], {}, ["blurred"]),  # nothing was measured
        (
            ["blurred"],
            {"too_thin": 0.02, "blurred": 0.06},
            ["too_thin"],
        ),  # sharpening helps thin strokes, too
        (["blurred"], {"too_thin": 0.05, "blurred": 0.06}, ["too_thin"]),  # they are thin, but no fault alone
        (["blurred"], {"too_thin": 0.1, "blurred": 0.06}, ["blurred"]),  # nothing else is unusual
        (["blurred"], {"too_thin": 0.1, "blurred": 0.2}, ["blurred"]),
        (["blurred"], {"too_thin": 0.02, "blurred": 0.1}, ["blurred", "too_thin"]),
        (["blurred", "inverted"], {"too_thin": 0.1, "blurred": 0.06}, ["inverted"]),
        (["inverted", "blurred"], {"blurred": 0.2}, ["blurred", "inverted"]),  # what was measured comes first
        (["too_thin"], {"noisy": 0.1}, ["noisy"]),  # noise hides the strokes
        ([], {"too_thin": 0.05}, []),
        (["turned"], {"too_thin": 0.02}, ["turned"]),  # digits on their side were measured
    ],
)
def test_a_correction_counts_for_the_fault_that_was_measured(
    corrections: list[str], values: dict[str, float], rules: list[str]
) -> None:
    reading = Reading("", None, "read", None, "12", 0.6, (), "")
    findings = merged(explained(effective(*corrections), values, reading, np.full((60, 90), 255, np.uint8)))
    assert [finding.rule for finding in findings] == rules
    if len(rules) == 1 and corrections == ["blurred"]:
        assert findings[0].evidence.startswith("Mending blurred helps.")


def test_a_page_is_examined_by_its_least_certain_number(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CORRECTIONS", ())
    page = cv2.imread(str(NUMBER.with_name("page.jpg")), cv2.IMREAD_GRAYSCALE)
    strict = Reader(device="cpu", min_confidence=0.97)
    for times in (0, 1):  # on its side, it is turned before it is read
        diagnosis = examine_picture(saved(np.rot90(page, times)), reader=strict)
        assert diagnosis.facts["answer"].startswith("8052 314 159 ")
        assert diagnosis.facts["least certain number"].startswith("57721 at ")
        assert "cut_off" not in [finding.rule for finding in diagnosis.findings]
    number = cv2.imread(str(NUMBER), cv2.IMREAD_GRAYSCALE)
    diagnosis = examine_picture(saved(np.vstack([number, number])), reader=reader)  # each of them is sure
    assert diagnosis.facts["answer"].startswith("40713 40713") and diagnosis.findings == ()


def test_a_correction_after_which_the_page_is_turned_removes_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    padding, turning = (
        next(each for each in CORRECTIONS if each.rule == rule) for rule in ("cut_off", "turned")
    )
    monkeypatch.setattr(module, "CORRECTIONS", [padding, turning])
    rules = []
    for rotation in (0, 90):
        readings = {
            (60, 90): Reading("", None, "read", None, "6", 0.5, (), ""),
            (120, 150): Reading("", None, "read", None, "7", 0.98, (), "", rotation=rotation),
            (90, 60): Reading("", None, "read", None, "7", 0.99, (), ""),
        }
        fake: Any = SimpleNamespace(read=lambda picture, readings=readings: readings[picture.shape])
        findings = examine_picture(blank(), reader=fake).findings
        rules.append([finding.rule for finding in findings])
    assert rules == [["turned", "cut_off"], ["turned"]]


def test_small_and_cut_off_digits_are_found(reader: Reader) -> None:
    picture = cv2.imread(str(NUMBER), cv2.IMREAD_GRAYSCALE)
    tiny = cv2.resize(picture, None, fx=0.04, fy=0.04, interpolation=cv2.INTER_AREA)
    assert "too_small" in [f.rule for f in examine_picture(saved(tiny), "40713", reader).findings]
    rows, columns = np.nonzero(picture < 100)
    for cut in (40, 60):  # the outer digits by a third or more
        tight = picture[rows.min() : rows.max(), columns.min() + cut : columns.max() - cut]
        assert "cut_off" in [f.rule for f in examine_picture(saved(tight), reader=reader).findings]


def test_more_and_fewer_digits_than_the_label_are_found(reader: Reader) -> None:
    reading = reader.read(NUMBER)
    for label, rule, evidence in (
        ("071", "several_digits", "something else than 071 is taken for 2 digits"),
        ("407138", "missing_digits", "407138 without 1 digit"),
    ):
        (finding,) = other_count(reading, label)
        assert finding.rule == rule and evidence in finding.evidence
    for label in ("99", "40713", None):
        assert not list(other_count(reading, label)), label


def test_a_picture_that_nothing_improves_says_so(reader: Reader) -> None:
    (finding,) = examine_picture(blank(), "5", reader).findings
    assert finding.rule == "unexplained" and "read as nothing" in finding.evidence
    diagnosis = examine_picture(blank(), reader=reader)
    assert diagnosis.findings == () and diagnosis.facts["answer"] == "nothing is written"
    assert diagnosis.facts["confidence"].endswith(" % that nothing is written")
    refused = Reading("", None, "refused", "not_a_digit", "", 0.7, (), "")
    fake: Any = SimpleNamespace(read=lambda picture: refused)
    answer = examine_picture(blank(), reader=fake).facts["answer"]
    assert answer == "no digit (refused: not a digit)"


@dataclass
class FakeReader:
    """Reads a picture with doubt, and with confidence after one of the corrections."""

    effective: int
    count: int = -1
    text: str = "12"

    def read(self, picture: np.ndarray) -> Reading:
        self.count += 1
        good = self.count == self.effective + 1
        return Reading("", None, "read", None, self.text if good else "421", 0.99 if good else 0.6, (), "")


def test_every_correction_is_found_by_its_effect() -> None:
    for index, correction in enumerate(CORRECTIONS):
        fake: Any = FakeReader(index, text="321")
        (finding,) = examine_picture(blank(), reader=fake).findings
        assert finding.rule == correction.rule and "read as 321" in finding.evidence


def test_a_correction_that_makes_a_picture_too_large_is_left_out() -> None:
    class SmallReader(FakeReader):
        def read(self, picture: np.ndarray) -> Reading:
            if picture.size > 60 * 90:
                raise PictureError("too_large", "It has too many pixels.", "Make it smaller.")
            return super().read(picture)

    picture = blank()
    reader: Any = SmallReader(0, text="321")
    assert [finding.rule for finding in examine_picture(picture, reader=reader).findings] == ["inverted"]


def test_digits_may_be_lost_only_if_that_is_right() -> None:
    picture = blank()
    with_label, without_label, in_two_numbers = (
        examine_picture(picture, label, FakeReader(0, text=text)).findings  # type: ignore[arg-type]
        for label, text in (("12", "12"), (None, "12"), ("1 2", "12"))
    )
    assert [finding.rule for finding in with_label] == ["inverted"]
    assert [finding.rule for finding in without_label] == ["unexplained"]
    assert [finding.rule for finding in in_two_numbers] == ["inverted"]


def test_what_no_correction_leads_to_is_said() -> None:
    """The fake reader reads 421 with doubt, once also upside down, which is no fault."""
    for label, missed in {None: "a confident answer", "421": "a confident answer", "12": "12"}.items():
        fake: Any = FakeReader(1, text="421") if label == "421" else FakeReader(len(CORRECTIONS))
        (finding,) = examine_picture(blank(), label, fake).findings
        assert finding.rule == "unexplained" and finding.evidence.endswith(f"leads to {missed}.")


@dataclass
class Polarity:
    """Reads light ink as one answer and dark ink, which an inverted picture has, as another."""

    light: tuple[str, float]
    dark: tuple[str, float]

    def read(self, picture: np.ndarray) -> Reading:
        text, confidence = self.dark if np.median(picture) > 127 else self.light
        return Reading("", None, "read", None, text, confidence, (), "")


def test_light_ink_is_a_cause_only_if_inverting_gives_a_more_certain_right_answer() -> None:
    picture = saved(np.zeros((60, 90), np.uint8))
    for light, dark, label, is_cause in (
        (("42", 0.89), ("42", 0.92), None, False),  # the same answer, which was found without inverting
        (("42", 0.6), ("42", 0.99), "42", False),
        (("42", 0.6), ("47", 0.99), None, True),
        (("42", 0.76), ("47", 0.5), "47", False),  # the right answer is less certain than the wrong one
        (("42", 0.5), ("47", 0.76), "47", True),
        (("42", 0.95), ("47", 0.93), "47", True),
    ):
        fake: Any = Polarity(light, dark)
        rules = [finding.rule for finding in examine_picture(picture, label, fake).findings]
        assert ("inverted" in rules) is is_cause, (light, dark, label)


# The boxes of three digits, each 66 pixels high.
BOXES = [(40, 40, 50, 66), (110, 40, 50, 66), (180, 40, 50, 66)]
# Corners of the digits 4, 7 and 1, in pixels of their box.
CORNERS = (
    [(38, 60), (38, 6), (6, 40), (44, 40)],
    [(6, 6), (44, 6), (20, 60)],
    [(10, 18), (26, 6), (26, 60)],
)


def drawn(thickness: int = 10) -> np.ndarray:
    picture = np.full((146, 270), 255, np.uint8)
    for corners, box in zip(CORNERS, BOXES, strict=True):
        cv2.polylines(picture, [np.array(corners) + box[:2]], False, 0, thickness)
    return picture


def scaled(boxes: list[Box], factor: float) -> list[Box]:
    return [
        (round(x * factor), round(y * factor), round(w * factor), round(h * factor)) for x, y, w, h in boxes
    ]


def nearness(rule: str, picture: np.ndarray, boxes: list[Box]) -> float:
    return USUAL[rule].nearness(measure_picture(picture, boxes)[rule])


def fewer_pixels(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, None, fx=1 / 6, fy=1 / 6, interpolation=cv2.INTER_AREA)


def test_a_planted_fault_is_measured() -> None:
    faults: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "too_small": fewer_pixels,
        "too_thin": lambda picture: drawn(thickness=1),
        "blurred": lambda picture: cv2.GaussianBlur(picture, (0, 0), 8),
        "noisy": lambda picture: noise(picture, 70),
    }
    for rule, plant in faults.items():
        picture, planted = drawn(), plant(drawn())
        boxes = scaled(BOXES, planted.shape[0] / picture.shape[0])
        for before, after in ((picture, planted), (255 - picture, 255 - planted)):
            for given, scaled_boxes in ((BOXES, boxes), ([], [])):
                assert nearness(rule, before, given) <= 0, rule
                assert nearness(rule, after, scaled_boxes) > 1, rule


def test_a_pattern_around_the_digits_is_measured_but_not_other_writing() -> None:
    assert nearness("uneven_background", squares(drawn(), 0.6), BOXES) > 1
    assert nearness("uneven_background", drawn(), BOXES[:2]) <= 0


def test_noise_and_few_pixels_hide_the_width_of_strokes_and_edges() -> None:
    assert {"too_thin", "blurred"} <= measure_picture(drawn(), BOXES).keys()
    assert not {"too_thin", "blurred"} & measure_picture(noise(drawn(), 70), BOXES).keys()
    assert measure_picture(np.full((60, 90), 255, np.uint8), []) == {}, "nothing is written"
    small = measure_picture(fewer_pixels(drawn()), scaled(BOXES, 1 / 6))
    assert "blurred" not in small and "too_thin" in small


def test_ink_at_the_edge_is_a_digit_only_if_it_is_as_high_as_one() -> None:
    assert not digit_at_edge(drawn(), BOXES)
    assert digit_at_edge(drawn()[:, :208], BOXES[:2])  # a part of the last digit, which is not read
    dirt = drawn()
    dirt[60:70, -8:] = 0
    assert not digit_at_edge(dirt, BOXES)
    assert digit_at_edge(drawn()[:, :145], []) and not digit_at_edge(drawn(), [])


def test_the_evidence_tells_the_limit_of_a_fault_and_common_values_otherwise() -> None:
    height = USUAL["too_small"]
    assert height.evidence(9).endswith(
        "is 9 pixels high; of pictures that are read well, 95 % have 14 pixels or more."
    )
    assert height.evidence(20).endswith("three quarters have 25 pixels or more.")
    assert USUAL["noisy"].evidence(0.1).endswith("95 % have 3.20 % or less.")


def test_noise_is_measured_in_levels() -> None:
    for deviation in (5, 20, 60):
        random = np.random.default_rng(0)
        picture = np.full((90, 120), 128.0) + random.normal(0, deviation, (90, 120))
        assert noise_of(picture.astype(np.uint8)) == pytest.approx(deviation, rel=0.1)
