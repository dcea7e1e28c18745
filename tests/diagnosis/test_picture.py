"""The fault that is planted in a picture is found by reading the corrected picture; a good one has none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from digitcli.diagnosis.picture import examine_picture
from digitcli.errors import PictureError
from digitcli.recognition.reader import Reader

NUMBER = Path(__file__).parents[2] / "docs" / "pictures" / "number.jpg"


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(device="cpu")


def saved(picture: np.ndarray) -> Path:
    cv2.imwrite("picture.png", picture)
    return Path("picture.png")


def test_a_good_picture_has_no_findings(reader: Reader) -> None:
    diagnosis = examine_picture(NUMBER, reader=reader)
    assert diagnosis.findings == () and diagnosis.facts["answer"] == "40713 (read)"
    assert examine_picture(NUMBER, "40713", reader).findings == ()


def test_a_picture_upside_down_is_found(reader: Reader) -> None:
    picture = cv2.imread(str(NUMBER), cv2.IMREAD_GRAYSCALE)
    (finding,) = examine_picture(saved(np.rot90(picture, 2)), reader=reader).findings
    assert finding.rule == "turned" and "read as 40713" in finding.evidence
    assert finding.command == "digitcli predict --rotate 180 picture.png"


def test_a_patterned_ground_is_found_where_the_number_is_known(reader: Reader) -> None:
    picture = cv2.imread(str(NUMBER), cv2.IMREAD_GRAYSCALE)
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    squares = 0.55 + 0.45 * ((columns // 12 + rows // 12) % 2)
    findings = examine_picture(saved((picture * squares).astype(np.uint8)), "40713", reader).findings
    assert "uneven_ground" in [finding.rule for finding in findings]


def test_small_and_cut_off_digits_are_found(reader: Reader) -> None:
    picture = cv2.imread(str(NUMBER), cv2.IMREAD_GRAYSCALE)
    tiny = cv2.resize(picture, None, fx=0.025, fy=0.025, interpolation=cv2.INTER_AREA)
    assert "too_small" in [f.rule for f in examine_picture(saved(tiny), "40713", reader).findings]
    rows, columns = np.nonzero(picture < 100)
    tight = picture[rows.min() + 10 : rows.max() - 10, columns.min() + 5 : columns.max() - 5]
    assert "cut_off" in [f.rule for f in examine_picture(saved(tight), reader=reader).findings]


def test_a_character_that_is_no_digit_is_far_from_the_training_digits(reader: Reader) -> None:
    picture = np.full((90, 90), 255, np.uint8)
    cv2.putText(picture, "K", (20, 70), cv2.FONT_HERSHEY_SIMPLEX, 2, 0, 5)
    findings = examine_picture(saved(picture), "4", reader).findings
    assert "unfamiliar_style" in [finding.rule for finding in findings]


def test_a_picture_that_nothing_mends_says_so(reader: Reader) -> None:
    (finding,) = examine_picture(saved(np.full((60, 90), 255, np.uint8)), "5", reader).findings
    assert finding.rule == "unexplained" and "read as nothing" in finding.evidence


def test_a_damaged_picture_is_an_error(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(PictureError):
        examine_picture(tmp_path / "bad.png", reader=reader)
