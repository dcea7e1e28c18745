"""The contact sheet of doubtful labels in every kind of file."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from digitcli.data.dataset import Digits
from digitcli.diagnosis import contact_sheet
from digitcli.diagnosis.contact_sheet import save_contact_sheet
from digitcli.diagnosis.data import ExaminedData
from digitcli.diagnosis.findings import Diagnosis
from digitcli.diagnosis.label_errors import DoubtfulLabel


@pytest.fixture
def data() -> ExaminedData:
    """Three digits, of which two have doubtful labels; the second is the more doubtful one."""
    images = np.zeros((3, 28, 28), np.uint8)
    images[1, 5:20, 10:14] = 200
    return ExaminedData(
        Diagnosis("dataset <b>"),
        Digits(images, np.array([8, 7, 3])),
        "train",
        ("0.png", "<i>.png", "2.png"),
        0.9,
        (DoubtfulLabel(1, 7, 1, 0.01, True), DoubtfulLabel(2, 3, 5, 0.2, False)),
    )


@pytest.mark.parametrize("suffix", [".svg", ".html"])
def test_each_doubtful_label_is_drawn_with_its_number_and_the_likelier_digit(
    data: ExaminedData, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"sheet{suffix}"
    save_contact_sheet(path, data, "my <digits>")
    text = path.read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "2 doubtful labels in the train part of my &lt;digits&gt;" in text and "are drawn" not in text
    assert text.count("data:image/png") == 2 and "http://" not in text.replace("http://www.w3.org", "")
    assert text.index("#1: 7, rather 1!") < text.index("#2: 3, rather 5")
    assert "rather 5!" not in text
    assert ("its label has 1.0 %, &lt;i&gt;.png" in text) == (suffix == ".html")


def test_a_picture_shows_the_ink(data: ExaminedData, tmp_path: Path) -> None:
    save_contact_sheet(tmp_path / "sheet.png", data, "digits")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert 200 in np.asarray(picture.convert("L"))
        assert picture.width > 2 * 168


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_a_sheet_of_nothing_and_names_of_any_bytes_are_drawn(
    data: ExaminedData, tmp_path: Path, suffix: str
) -> None:
    name, path = os.fsdecode(b"caf\xe9"), tmp_path / f"sheet{suffix}"
    save_contact_sheet(path, dataclasses.replace(data, files=(name,) * 3), name)
    assert path.stat().st_size and (suffix == ".png" or "caf?" in path.read_text())
    save_contact_sheet(path, dataclasses.replace(data, doubtful=()), name)
    assert path.stat().st_size


def test_the_texts_are_no_wider_than_the_sheet(data: ExaminedData, tmp_path: Path) -> None:
    save_contact_sheet(
        tmp_path / "sheet.svg", dataclasses.replace(data, doubtful=data.doubtful[:1]), 90 * "w"
    )
    text = (tmp_path / "sheet.svg").read_text()
    width, font = int(text.split("viewBox=")[1].split()[2]), ImageFont.load_default(13)
    lines = [line.split("</text>")[0] for line in text.split('">') if "</text>" in line]
    assert len(lines) > 4 and max(map(font.getlength, lines)) < width
    assert " ".join(contact_sheet.LEGEND.split()) in " ".join(lines)


def test_a_long_list_is_cut_off_and_says_so(
    data: ExaminedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "MOST_DRAWN", 1)
    save_contact_sheet(tmp_path / "sheet.svg", data, "digits")
    text = (tmp_path / "sheet.svg").read_text()
    assert "2 doubtful labels in the train part of digits, of which the first 1 are drawn" in text
    assert "#1: 7" in text and "#2: 3" not in text
