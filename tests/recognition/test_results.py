"""The records other programs rely on."""

from __future__ import annotations

import json

import numpy as np

from digitcli.errors import PictureError
from digitcli.recognition.results import FIELDS, Digit, Number, Reading, text_of
from tests.support.processes import modules_loaded_by

RECORD = {"schema", "file", "page", "status", "reason", "text", "raw", "confidence", "numbers", "model"}
RECORD |= {"changed"}
NUMBER = {"text", "raw", "confidence", "box", "digits", "alternatives"}
DIGIT = {"digit", "confidence", "box", "alternatives"}

ONE = Digit("1", 0.9, (40, 10, 8, 30), (("7", 0.08), ("4", 0.02)))
SEVEN = Digit("7", 0.5, (60, 4, 20, 31))
NUMBERS = (Number((ONE, SEVEN), 0.45, "1.7", (("11", 0.2),)), Number((SEVEN,), 0.5, "7"))


def reading(**changes: object) -> Reading:
    usual = {
        "file": "cheque.jpg",
        "page": None,
        "status": "read",
        "reason": None,
        "text": text_of(NUMBERS),
        "confidence": 0.225,
        "numbers": NUMBERS,
        "model": "cnn@1a2b3c4d",
    }
    return Reading(**{**usual, **changes})  # type: ignore[arg-type]


def test_a_number_goes_around_its_digits() -> None:
    number = Number((ONE, SEVEN), 0.45, "17")
    assert number.text == "17"
    assert number.box == (40, 4, 40, 36)
    assert Number((ONE,), 0.9, "1").box == ONE.box


def test_numbers_are_joined_by_one_space() -> None:
    assert text_of(NUMBERS) == "17 7" and text_of(()) == ""


def test_the_digits_of_a_reading_come_in_reading_order() -> None:
    assert reading().digits == (ONE, SEVEN, SEVEN)


def test_a_record_has_exactly_the_keys_of_the_design() -> None:
    record = reading().record()
    assert record.keys() == RECORD
    assert all(number.keys() == NUMBER for number in record["numbers"])
    assert all(digit.keys() == DIGIT for number in record["numbers"] for digit in number["digits"])
    assert set(FIELDS) == RECORD - {"schema", "numbers", "changed"}
    assert FIELDS == ("file", "page", "status", "reason", "text", "raw", "confidence", "model")


def test_a_record_holds_what_was_read() -> None:
    record = reading(page=3).record()
    assert (record["schema"], record["file"], record["page"]) == (1, "cheque.jpg", 3)
    assert (record["text"], record["raw"]) == ("17 7", "1.7 7")
    first = record["numbers"][0]
    assert (first["text"], first["confidence"], first["box"]) == ("17", 0.45, [40, 4, 40, 36])
    assert (first["raw"], first["alternatives"]) == ("1.7", [["11", 0.2]])
    assert first["digits"][0] == {
        "digit": "1",
        "confidence": 0.9,
        "box": [40, 10, 8, 30],
        "alternatives": [["7", 0.08], ["4", 0.02]],
    }


def test_a_record_of_an_error_has_no_text() -> None:
    fault = PictureError("corrupt", "It is damaged.")
    record = reading(status="error", reason="corrupt", text=None, confidence=None, numbers=(), error=fault)
    assert record.record() == {
        **dict.fromkeys(("page", "text", "raw", "confidence")),
        "schema": 1,
        "file": "cheque.jpg",
        "status": "error",
        "reason": "corrupt",
        "numbers": [],
        "model": "cnn@1a2b3c4d",
        "changed": False,
    }


def test_confidences_are_plain_rounded_numbers() -> None:
    digit = Digit("1", float(np.float32(0.12345678)), (0, 0, 1, 1), (("7", float(np.float32(1 / 3))),))
    record = reading(numbers=(Number((digit,), 0.123457, "1"),), confidence=np.float32(2 / 3)).record()
    assert json.loads(json.dumps(record)) == record
    assert record["confidence"] == 0.666667
    assert record["numbers"][0]["digits"][0]["confidence"] == 0.123457
    assert record["numbers"][0]["digits"][0]["alternatives"] == [["7", 0.333333]]


def test_pictures_do_not_matter_to_whether_readings_are_equal() -> None:
    assert reading(picture=np.zeros((2, 2))) == reading(picture=np.ones((3, 3)), ink=np.ones((3, 3)))
    assert "picture" not in repr(reading(picture=np.zeros((2, 2))))


def test_results_load_no_numpy() -> None:
    assert "numpy" not in modules_loaded_by(
        "import digitcli.recognition.results, digitcli.recognition.formats"
    )
