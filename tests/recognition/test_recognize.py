"""The answers of networks become numbers: their texts, boxes, confidences, and the effect of constraints."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.inference.runtime import LineOutput
from digitcli.recognition.constraints import parse_constraints
from digitcli.recognition.crops import LineCrop, RegionCrops
from digitcli.recognition.hypotheses import LineEvidence
from digitcli.recognition.recognize import RegionEvidence, RegionResult, recognize_region
from digitcli.recognition.segmentation import Component, Region

ALPHABET = "0123456789.,-=/"
GAP = 9  # columns from one character to the next


CROP = LineCrop(np.zeros((40, 200), np.uint8), np.array([[2.0, 0, 10], [0, 2.0, 20]]), (900, 200))


def evidence(*characters: dict[str, float], alphabet: str = ALPHABET) -> LineEvidence:
    """Return the answer to a line whose places show characters with these probabilities, else the blank."""
    columns = np.full((GAP * max(len(characters), 1), len(alphabet) + 1), 1e-7, np.float32)
    columns[:, -1] = 1
    for place, shown in enumerate(characters):
        for character, probability in shown.items():
            columns[GAP * place + 4, alphabet.index(character)] = probability
        columns[GAP * place + 4, -1] = max(1e-7, 1 - sum(shown.values()))
    distances = np.tile(np.array([0.6, 0.6, 0.2, 1.8], np.float32), (len(columns), 1))
    return LineEvidence.of(CROP, LineOutput(np.log(columns), distances), alphabet, 1.0)


def region(components: int = 1, whole: bool = True) -> Region:
    boxes = [(10 + 60 * number, 20, 40, 70) for number in range(components)]
    return Region(tuple(Component(box, False) for box in boxes), whole)


def read(
    *lines: LineEvidence,
    digits: np.ndarray | None = None,
    place: Region | None = None,
    can_reject: bool = False,
    top_k: int = 3,
    **constraints: str | bool,
) -> RegionResult:
    """Recognize a region with these answers of the networks."""
    count = 0 if digits is None else len(digits)
    crops = RegionCrops(place or region(), tuple(line.crop for line in lines), np.zeros((count, 2, 28, 28)))
    answers = RegionEvidence(crops, lines, digits, can_reject)
    return recognize_region(answers, parse_constraints(**constraints), top_k)  # type: ignore[arg-type]


def test_a_line_is_read_with_its_marks() -> None:
    result = read(evidence({"1": 0.99}, {".": 0.99}, {"5": 0.99}, {"0": 0.99}, {"-": 0.99}))
    (number,) = result.numbers
    assert (number.text, number.raw) == ("150", "1.50-")
    assert result.confidence == pytest.approx(0.99**3, abs=0.01)
    assert not result.is_changed and not result.breaks_constraints


def test_boxes_are_on_the_page() -> None:
    (number,) = read(evidence({"1": 0.99}, {"5": 0.99})).numbers
    first, second = (digit.box for digit in number.digits)
    middle = 4.5 * 4 * 2 + 10  # columns of 4 pixels, twice as large on the page, which begins at 10
    assert first == (round(middle - 24), 20 + 8, 48, 64)
    assert second[0] - first[0] == 2 * 4 * GAP


def test_separate_digits_keep_the_boxes_of_their_ink() -> None:
    place = region(components=2, whole=False)
    (number,) = read(evidence({"1": 0.99}, {"5": 0.99}), place=place).numbers
    assert [digit.box for digit in number.digits] == [component.box for component in place.components]


def test_alternatives_are_the_next_likely_digits_and_texts() -> None:
    (number,) = read(evidence({"1": 0.7, "7": 0.3}, {"5": 0.8, "6": 0.2})).numbers
    assert number.text == "15"
    assert [text for text, _ in number.alternatives] == ["75", "16"]
    first, second = number.digits
    assert first.confidence == pytest.approx(0.7, abs=0.01) and first.alternatives[0][0] == "7"
    assert second.alternatives[0] == ("6", pytest.approx(0.2, abs=0.01))


def test_crops_are_averaged() -> None:
    result = read(evidence({"1": 0.9, "7": 0.1}), evidence({"1": 0.3, "7": 0.7}))
    assert result.numbers[0].text == "1" and result.confidence == pytest.approx(0.6, abs=0.01)
    assert result.rival_confidence == pytest.approx(0.4, abs=0.01)


def test_a_crop_that_shows_nothing_does_not_count_against_another() -> None:
    result = read(evidence({}), evidence({"8": 0.95}))
    assert result.numbers[0].text == "8" and result.confidence == pytest.approx(0.95, abs=0.02)


def test_nothing_is_read_if_no_crop_shows_anything() -> None:
    result = read(evidence({"1": 0.1}), evidence({"1": 0.2}))
    assert result.numbers == () and result.confidence == pytest.approx(0.8, abs=0.02)


def test_an_uncertain_digit_is_read_rather_than_nothing() -> None:
    result = read(evidence({"1": 0.3, "7": 0.25}))
    assert result.numbers[0].text == "1" and result.confidence == pytest.approx(0.3, abs=0.02)


def probabilities(**by_digit: float) -> np.ndarray:
    return np.array([[by_digit.get(f"d{digit}", 0.0) for digit in range(10)]])


def test_digit_networks_weigh_in_on_a_lone_component() -> None:
    result = read(evidence({"1": 0.55, "7": 0.45}), digits=probabilities(d7=0.9, d1=0.1), place=region())
    assert result.numbers[0].text == "7"
    assert result.confidence == pytest.approx(0.7 * 0.45 + 0.3 * 0.9, abs=0.01)


def test_digit_networks_make_no_digit_of_a_blank_line() -> None:
    result = read(evidence({"1": 0.04}), digits=probabilities(d1=1.0), place=region())
    assert result.numbers == () and result.confidence == pytest.approx(0.96, abs=0.01)


def even(share: float, digit: int = 7) -> np.ndarray:
    """Probabilities (1, 10) of a digit, mixed with even ones."""
    return (1 - share) * np.eye(10)[[digit]] + share / 10


def test_networks_that_reject_make_a_lone_component_less_likely_a_digit() -> None:
    line = evidence({"7": 0.9})
    sure = read(line, digits=even(0.0), can_reject=True)
    assert sure.confidence == pytest.approx(read(line, digits=even(0.0)).confidence)
    doubted = read(line, digits=even(0.4), can_reject=True)
    assert doubted.numbers[0].text == "7"
    assert doubted.confidence == pytest.approx(0.6 * read(line, digits=even(0.4)).confidence)
    assert not read(line, digits=even(0.97), can_reject=True).numbers


def test_networks_that_reject_leave_nothing_to_read_without_a_line_network() -> None:
    assert read(digits=even(0.2), can_reject=True).confidence == pytest.approx(0.8 * 0.82)
    assert not read(digits=even(0.9), can_reject=True).numbers
    assert read(digits=even(0.9)).numbers


def test_none_of_several_components_is_rejected() -> None:
    both = np.concatenate([even(0.9, 1), even(0.9, 5)])
    line = evidence({"1": 0.9}, {"5": 0.9})
    place = region(components=2, whole=False)
    assert read(line, digits=both, place=place, can_reject=True) == read(line, digits=both, place=place)


def test_constraints_do_not_silence_rejection() -> None:
    result = read(evidence({"7": 0.9}), digits=even(0.4), can_reject=True, values="0-9")
    assert result.numbers[0].text == "7" and 0.5 < result.confidence < 1


def test_separate_digits_alone_are_the_product_of_their_probabilities() -> None:
    rows = np.vstack([probabilities(d3=0.9, d5=0.1), probabilities(d0=0.8, d6=0.2)])
    result = read(digits=rows, place=region(components=2, whole=False), top_k=10)
    (number,) = result.numbers
    assert (number.text, number.raw) == ("30", "30")
    assert result.confidence == pytest.approx(0.72, abs=0.001)
    assert [digit.confidence for digit in number.digits] == pytest.approx([0.9, 0.8])
    assert len(number.digits[0].alternatives) == 9


def test_a_text_that_meets_the_constraints_is_read_where_it_is_likely() -> None:
    line = evidence({"1": 0.6, "7": 0.4}, {"8": 0.9, "9": 0.1})
    free, luhn = read(line), read(line, check_digit="luhn")
    assert free.numbers[0].text == "18" and luhn.numbers[0].text == "18" and not luhn.is_changed
    ranged = read(line, values="70-99")
    assert ranged.numbers[0].text == "78" and ranged.is_changed and not ranged.breaks_constraints
    assert ranged.confidence == pytest.approx(0.36 / (0.4 + 0.05 * 0.6), abs=0.01)


def test_constraints_that_no_likely_text_meets_are_broken() -> None:
    result = read(evidence({"1": 0.99}, {"8": 0.99}), length="5")
    assert result.breaks_constraints and not result.is_changed and result.numbers[0].text == "18"


def test_constraints_make_no_number_of_nothing() -> None:
    assert read(evidence({}), length="1").numbers == ()


def test_a_strip_with_a_wide_gap_holds_two_numbers() -> None:
    characters = [{"1": 0.99}, {"2": 0.99}, {}, {}, {}, {"3": 0.99}, {"4": 0.99}]
    result = read(evidence(*characters))
    assert [number.text for number in result.numbers] == ["12", "34"]
    assert result.confidence <= result.numbers[0].confidence < 0.99


def test_marks_go_with_the_number_they_stand_in() -> None:
    spelt = [
        {"1": 0.99},
        {".": 0.99},
        {"5": 0.99},
        {},
        {},
        {},
        {"2": 0.99},
        {".": 0.99},
        {"7": 0.99},
        {"-": 0.99},
    ]
    result = read(evidence(*spelt))
    assert [(number.text, number.raw) for number in result.numbers] == [("15", "1.5"), ("27", "2.7-")]


def test_operators_separate_numbers() -> None:
    result = read(evidence({"1": 0.99}, {"2": 0.99}, {"=": 0.99}, {"1": 0.99}, {"-": 0.99}, {"2": 0.99}))
    assert [(number.text, number.raw) for number in result.numbers] == [("12", "12="), ("12", "1-2")]


def test_two_digits_far_apart_are_two_numbers() -> None:
    assert [number.text for number in read(evidence({"7": 0.99}, {}, {}, {"3": 0.99})).numbers] == ["7", "3"]


def test_constraints_hold_for_each_number_of_a_strip() -> None:
    line = evidence({"1": 0.99}, {"2": 0.99}, {}, {}, {}, {"3": 0.99}, {"4": 0.99})
    assert [number.text for number in read(line, length="2").numbers] == ["12", "34"]
    assert [number.text for number in read(line, length="4").numbers] == ["1234"]


def test_two_numbers_do_not_meet_the_constraint_of_a_single_digit() -> None:
    line = evidence({"1": 0.99}, {}, {}, {}, {}, {}, {}, {"5": 0.99})
    assert len(read(line, length="1").numbers) == 2
    single = read(line, single_digit=True)
    assert len(single.numbers) == 1 and single.confidence < 0.5


def test_constraints_make_no_unlikely_text_certain() -> None:
    result = read(evidence({"1": 0.98, "7": 0.01}), values="7")
    assert result.numbers[0].text == "7" and result.is_changed and result.confidence < 0.3


def test_digit_networks_count_as_much_under_a_constraint() -> None:
    line, digits = evidence({"1": 0.97, "7": 0.01}), probabilities(d1=0.5, d7=0.5)
    result = read(line, digits=digits, values="7", place=region())
    assert result.numbers[0].text == "7" and result.confidence > 0.7


def test_a_lone_component_at_the_edge_is_cut_off() -> None:
    cut_off = Region((Component((0, 0, 10, 30), True),))
    assert read(digits=probabilities(d1=0.4, d7=0.3), place=cut_off).is_cut_off
