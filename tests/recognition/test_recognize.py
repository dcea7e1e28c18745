"""What networks answer becomes numbers: their strings, places, confidences, and what was asked of them."""

from __future__ import annotations

import numpy as np
import pytest

from digitcli.inference.runtime import LineOutput
from digitcli.recognition.constraints import asked_of
from digitcli.recognition.hypotheses import LineEvidence
from digitcli.recognition.line_crops import LineView
from digitcli.recognition.recognize import Found, read_region
from digitcli.recognition.segmentation import Region, Shape

ALPHABET = "0123456789.,-=/"
GAP = 9  # columns from one character to the next


def evidence(*characters: dict[str, float], empty: float = 0.98) -> LineEvidence:
    """A line in which each place shows characters with these probabilities, and the blank with the rest."""
    columns = np.full((GAP * max(len(characters), 1), len(ALPHABET) + 1), 1e-7, np.float32)
    columns[:, -1] = 1
    for place, shown in enumerate(characters):
        for character, probability in shown.items():
            columns[GAP * place + 4, ALPHABET.index(character)] = probability
        columns[GAP * place + 4, -1] = max(1e-7, 1 - sum(shown.values()))
    distances = np.tile(np.array([0.6, 0.6, 0.2, 1.8], np.float32), (len(columns), 1))
    return LineEvidence.of(LineOutput(np.log(columns), distances), ALPHABET, 1.0)


def region(shapes: int = 1, views: int = 1, whole: bool = True, seen: bool = False) -> Region:
    image = np.zeros((40, 200), np.uint8)
    to_page = np.array([[2.0, 0, 10], [0, 2.0, 20]])
    looks = np.zeros((2 if seen else 0, 28, 28), np.uint8)
    boxes = [(10 + 60 * number, 20, 40, 70) for number in range(shapes)]
    return Region(
        tuple(Shape(box, looks, False) for box in boxes),
        tuple(LineView(image, to_page, (900, 200)) for _ in range(views)),
        whole,
    )


def read(
    *lines: LineEvidence,
    digits: np.ndarray | None = None,
    place: Region | None = None,
    doubts: bool = False,
    **asked: str,
) -> Found:
    shown = place or region(views=len(lines))
    return read_region(shown, list(enumerate(lines)), digits, asked_of(**asked), top_k=3, doubts=doubts)


def test_a_line_is_read_with_its_marks() -> None:
    found = read(evidence({"1": 0.99}, {".": 0.99}, {"5": 0.99}, {"0": 0.99}, {"-": 0.99}))
    (number,) = found.numbers
    assert (number.text, number.raw) == ("150", "1.50-")
    assert found.confidence == pytest.approx(0.99**3, abs=0.01)
    assert not found.changed and not found.unmet


def test_boxes_are_on_the_page() -> None:
    (number,) = read(evidence({"1": 0.99}, {"5": 0.99})).numbers
    first, second = (digit.box for digit in number.digits)
    middle = 4.5 * 4 * 2 + 10  # columns of 4 pixels, twice as large on the page, which begins at 10
    assert first == (round(middle - 24), 20 + 8, 48, 64)
    assert second[0] - first[0] == 2 * 4 * GAP


def test_separate_digits_keep_the_boxes_of_their_ink() -> None:
    place = region(shapes=2, whole=False)
    (number,) = read(evidence({"1": 0.99}, {"5": 0.99}), place=place).numbers
    assert [digit.box for digit in number.digits] == [shape.box for shape in place.shapes]


def test_next_likely_digits_and_strings_are_told() -> None:
    (number,) = read(evidence({"1": 0.7, "7": 0.3}, {"5": 0.8, "6": 0.2})).numbers
    assert number.text == "15"
    assert [text for text, _ in number.alternatives] == ["75", "16"]
    first, second = number.digits
    assert first.confidence == pytest.approx(0.7, abs=0.01) and first.alternatives[0][0] == "7"
    assert second.alternatives[0] == ("6", pytest.approx(0.2, abs=0.01))


def test_views_are_averaged() -> None:
    found = read(evidence({"1": 0.9, "7": 0.1}), evidence({"1": 0.3, "7": 0.7}))
    assert found.numbers[0].text == "1" and found.confidence == pytest.approx(0.6, abs=0.01)
    assert found.rival == pytest.approx(0.4, abs=0.01)


def test_a_view_that_shows_nothing_does_not_count_against_another() -> None:
    found = read(evidence({}), evidence({"8": 0.95}))
    assert found.numbers[0].text == "8" and found.confidence == pytest.approx(0.95, abs=0.02)


def test_where_no_view_shows_anything_nothing_is_read() -> None:
    found = read(evidence({"1": 0.1}), evidence({"1": 0.2}))
    assert found.numbers == () and found.confidence == pytest.approx(0.8, abs=0.02)


def test_an_uncertain_digit_is_read_rather_than_nothing() -> None:
    found = read(evidence({"1": 0.3, "7": 0.25}))
    assert found.numbers[0].text == "1" and found.confidence == pytest.approx(0.3, abs=0.02)


def one(**probabilities: float) -> np.ndarray:
    return np.array([[probabilities.get(f"d{digit}", 0.0) for digit in range(10)]])


def test_digit_networks_have_their_say_about_a_lone_shape() -> None:
    found = read(evidence({"1": 0.55, "7": 0.45}), digits=one(d7=0.9, d1=0.1), place=region(seen=True))
    assert found.numbers[0].text == "7"
    assert found.confidence == pytest.approx(0.7 * 0.45 + 0.3 * 0.9, abs=0.01)


def test_digit_networks_make_no_digit_of_what_is_none() -> None:
    found = read(evidence({"1": 0.04}), digits=one(d1=1.0), place=region(seen=True))
    assert found.numbers == () and found.confidence == pytest.approx(0.96, abs=0.01)


def even(share: float, digit: int = 7) -> np.ndarray:
    """Probabilities (1, 10) of a digit, mixed with even ones."""
    return (1 - share) * np.eye(10)[[digit]] + share / 10


def test_networks_that_doubt_make_a_lone_shape_less_likely_a_digit() -> None:
    line = evidence({"7": 0.9})
    sure = read(line, digits=even(0.0), doubts=True)
    assert sure.confidence == pytest.approx(read(line, digits=even(0.0)).confidence)
    doubted = read(line, digits=even(0.4), doubts=True)
    assert doubted.numbers[0].text == "7"
    assert doubted.confidence == pytest.approx(0.6 * read(line, digits=even(0.4)).confidence)
    assert not read(line, digits=even(0.97), doubts=True).numbers


def test_doubt_without_a_line_network_leaves_nothing_to_read() -> None:
    assert read(digits=even(0.2), doubts=True).confidence == pytest.approx(0.8 * 0.82)
    assert not read(digits=even(0.9), doubts=True).numbers
    assert read(digits=even(0.9)).numbers


def test_of_several_shapes_none_is_doubted() -> None:
    both = np.concatenate([even(0.9, 1), even(0.9, 5)])
    line = evidence({"1": 0.9}, {"5": 0.9})
    place = region(shapes=2, whole=False)
    assert read(line, digits=both, place=place, doubts=True) == read(line, digits=both, place=place)


def test_what_is_asked_does_not_silence_doubt() -> None:
    asked = read(evidence({"7": 0.9}), digits=even(0.4), doubts=True, values="0-9")
    assert asked.numbers[0].text == "7" and 0.5 < asked.confidence < 1


def test_separate_digits_alone_are_the_product_of_their_probabilities() -> None:
    rows = np.vstack([one(d3=0.9, d5=0.1), one(d0=0.8, d6=0.2)])
    found = read_region(region(shapes=2, whole=False, seen=True), [], rows, None, top_k=10)
    (number,) = found.numbers
    assert (number.text, number.raw) == ("30", "30")
    assert found.confidence == pytest.approx(0.72, abs=0.001)
    assert [digit.confidence for digit in number.digits] == pytest.approx([0.9, 0.8])
    assert len(number.digits[0].alternatives) == 9


def test_what_is_asked_for_is_read_where_it_is_likely() -> None:
    line = evidence({"1": 0.6, "7": 0.4}, {"8": 0.9, "9": 0.1})
    free, luhn = read(line), read(line, check="luhn")
    assert free.numbers[0].text == "18" and luhn.numbers[0].text == "18" and not luhn.changed
    ranged = read(line, values="70-99")
    assert ranged.numbers[0].text == "78" and ranged.changed and not ranged.unmet
    assert ranged.confidence == pytest.approx(0.36 / (0.4 + 0.05 * 0.6), abs=0.01)


def test_what_nothing_likely_meets_is_unmet() -> None:
    found = read(evidence({"1": 0.99}, {"8": 0.99}), length="5")
    assert found.unmet and not found.changed and found.numbers[0].text == "18"


def test_asking_makes_no_number_of_nothing() -> None:
    assert read(evidence({}), length="1").numbers == ()


def test_a_strip_with_a_wide_gap_holds_two_numbers() -> None:
    characters = [{"1": 0.99}, {"2": 0.99}, {}, {}, {}, {"3": 0.99}, {"4": 0.99}]
    found = read(evidence(*characters))
    assert [number.text for number in found.numbers] == ["12", "34"]
    assert found.confidence <= found.numbers[0].confidence < 0.99


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
    found = read(evidence(*spelt))
    assert [(number.text, number.raw) for number in found.numbers] == [("15", "1.5"), ("27", "2.7-")]


def test_two_digits_far_apart_are_two_numbers() -> None:
    assert [number.text for number in read(evidence({"7": 0.99}, {}, {}, {"3": 0.99})).numbers] == ["7", "3"]


def test_what_is_asked_holds_for_each_number_of_a_strip() -> None:
    line = evidence({"1": 0.99}, {"2": 0.99}, {}, {}, {}, {"3": 0.99}, {"4": 0.99})
    assert [number.text for number in read(line, length="2").numbers] == ["12", "34"]
    assert [number.text for number in read(line, length="4").numbers] == ["1234"]


def test_where_one_number_is_asked_for_two_are_not_accepted() -> None:
    gap = [evidence({"1": 0.99}, {}, {}, {}, {}, {}, {}, {"5": 0.99})]
    assert len(read(*gap, length="1").numbers) == 2
    single = read_region(region(), list(enumerate(gap)), None, asked_of(single=True), top_k=3)
    assert len(single.numbers) == 1 and single.confidence < 0.5


def test_what_is_asked_makes_nothing_unlikely_sure() -> None:
    found = read(evidence({"1": 0.98, "7": 0.01}), values="7")
    assert found.numbers[0].text == "7" and found.changed and found.confidence < 0.3


def test_digit_networks_count_as_much_under_a_constraint() -> None:
    line, digits = evidence({"1": 0.97, "7": 0.01}), one(d1=0.5, d7=0.5)
    found = read(line, digits=digits, values="7", place=region(seen=True))
    assert found.numbers[0].text == "7" and found.confidence > 0.7


def test_a_lone_shape_at_the_edge_is_cut_off() -> None:
    shape = Shape((0, 0, 10, 30), np.zeros((2, 28, 28), np.uint8), True)
    found = read_region(Region((shape,)), [], one(d1=0.4, d7=0.3), None, top_k=2)
    assert found.cut_off
