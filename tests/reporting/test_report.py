"""Reports of what each command writes: escaped, with pictures and charts, and honest errors."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from digitcli.errors import InputError, UsageError
from digitcli.reporting.report import (
    PICTURE_PX,
    crop_pictures,
    in_cell,
    read_source,
    render,
    write_report,
)
from digitcli.training.trainer import train
from tests.support.browser import CHROMIUM, PALE_TEXTS, browser
from tests.support.pictures import drawn
from tests.support.predictions import put
from tests.support.training import train_config

# A file name that would run a script if a page did not escape it.
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e"


def html_of(value: Any, source: str = "source.json") -> str:
    """Return the page of a value on one line, with each cell in its own place."""
    html = " ".join(render(value, "Title", source, "0" * 64).split())
    return re.sub(r"<style>.*?</style>", "", html)


def test_a_record_becomes_facts_and_sections_and_every_text_is_escaped() -> None:
    html = html_of(
        {
            "model": HOSTILE,
            "accuracy": 0.9961,
            "nll": 0.0140512,
            "n": 10000,
            "robustness": None,
            "confusion": [[979, 1], [0, 1133]],
            "per_class": [{"digit": 0, "recall": 0.999}, {"digit": 1, "recall": 0.5}],
            "definition": {"recipe": {"weight_decay": 0.01}},
        }
    )
    assert "<td>&lt;img src=x onerror=alert(1)&gt;\N{REPLACEMENT CHARACTER}[31m" in html
    assert "\x1b" not in html and "\u202e" not in html and "onerror" not in re.sub(r"&lt;.*?&gt;", "", html)
    for cells in ("<td>99.61 %</td>", "<td>0.01405</td>", "<td>10,000</td>"):
        assert cells in html
    assert "robustness" not in html, "what was not measured is left out"
    assert "<h3>confusion</h3>" in html and "<td>0</td><td>979</td><td>1</td>" in html
    assert '<th scope="col">digit</th><th scope="col">recall</th>' in html
    assert "<td>1</td><td>50.00 %</td>" in html
    assert "<h4>recipe</h4>" in html and "<td>weight decay</td><td>0.01</td>" in html
    assert "default-src 'none'" in html and "http" not in html.replace("http-equiv", "")


def test_records_over_epochs_are_drawn() -> None:
    rows = [{"epoch": n, "lr": 0.1, "loss": 1 / n, "note": "a"} for n in (1, 2, 3)]
    html = html_of({"epochs": rows})
    assert 'alt="Chart of the table below: lr, loss"' in html
    url = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert url and b">loss<" in base64.b64decode(url[1])
    assert "data:image/svg" not in html_of({"epochs": rows[:1]}), "one row is no curve"


def test_lists_of_records_have_their_own_sections() -> None:
    runs = [{"seed": 0, "misread": list(range(300))}, {"seed": 1, "misread": [7]}]
    html = html_of({"models": [{"label": "mlp", "runs": runs}]})
    assert "<h4>mlp: runs</h4>" in html or "<h3>mlp: runs</h3>" in html
    assert "<td>300 values</td>" in html and "<td>7</td>" in html
    many = html_of([{"index": n} for n in range(700)])
    assert "500 of 700 are shown." in many and "<td>499</td>" in many and "<td>500</td>" not in many


def reading(file: str, status: str = "read", **fields: Any) -> dict[str, Any]:
    return {"schema": 1, "file": file, "page": None, "status": status, "reason": None, "text": None} | fields


def number(text: str, confidence: float, **fields: Any) -> dict[str, Any]:
    box = [20, 40, 160, 120]
    return {"text": text, "status": "read", "confidence": confidence, "box": box, "digits": []} | fields


def test_readings_are_sorted_by_doubt_and_have_the_pictures_that_are_at_hand(tmp_path: Path) -> None:
    put(tmp_path / "five.png", "5")
    doubtful = number("71", 0.31, status="refused", reason="low_confidence")
    records = [
        reading("five.png", text="5", confidence=0.99, numbers=[number("5", 0.99)]),
        reading("lost.png", "partial", text="12 71", confidence=0.3, numbers=[number("12", 0.9), doubtful]),
        reading(HOSTILE, "error", reason="not_an_image"),
    ]
    path = tmp_path / "readings.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    html = html_of(read_source(str(path))[0], str(path))
    Path("rows.csv").write_text(
        "file,status,text,confidence\na.png,read,7,0.9\nb.png,error,,\nc.png,read,8,0.2\n"
    )
    rows = html_of(read_source("rows.csv")[0])
    assert rows.index("<td>b.png</td>") < rows.index("<td>c.png</td>") < rows.index("<td>a.png</td>")
    assert "<td>partial</td><td>1</td>" in html and "<td>error</td><td>1</td>" in html
    places = [html.index(f"<td>{text}</td>") for text in ("71", "12", "5")]
    assert places == sorted(places) and "<td>low_confidence</td>" in html
    assert html.count("data:image/jpeg") == 1
    assert html.index("data:image/jpeg") > html.index("<td>12</td>")


def sizes(records: Sequence[dict[str, Any]], folder: str = ".") -> dict[int, tuple[int, int]]:
    figures = crop_pictures(records, Path(folder)).items()
    data = {index: base64.b64decode(each.url.partition(",")[2]) for index, each in figures}
    return {index: Image.open(io.BytesIO(each)).size for index, each in data.items()}


def test_a_number_is_cut_out_of_its_upright_page_with_some_paper_around_it() -> None:
    put("five.png", "5")
    Image.fromarray(drawn("5", 100)[:, :50]).save("narrow.png")
    pages = [Image.new("L", (30, 40)), Image.new("L", (60, 40))]
    pages[0].save("two.tif", save_all=True, append_images=pages[1:])
    records = [
        {"file": "five.png", "box": [80, 60, 40, 40]},
        {"file": "five.png"},  # the whole picture, smaller
        {"file": "narrow.png"},
        {"file": "narrow.png", "rotation": 90},
        {"file": "two.tif", "page": 2},
        {"file": "two.tif", "page": 1},
        {"file": "two.tif", "page": 3},
    ]
    assert sizes(records) == {
        0: (64, 64), 1: (PICTURE_PX[1], PICTURE_PX[1]), 2: (36, 72), 3: (100, 50), 4: (60, 40), 5: (30, 40),
    }  # fmt: skip


def test_what_is_no_picture_or_lies_outside_of_it_has_none() -> None:
    Path("text.png").write_text("no picture")
    for file in ("none.png", "text.png", "", ".", "a\0b", "n" * 5000, "-", "/dev/null", None, 7):
        assert sizes([{"file": file, "box": [0, 0, 9, 9]}]) == {}, file
    put("five.png", "5")
    for box in ([900, 900, 9, 9], [5, 5, 0, 0], [1, 2, 3], "12", [1.5, 2, 3, 4], [-9, -9, 1, 1]):
        assert sizes([{"file": "five.png", "box": box}]) == {}, box


def test_of_two_different_pictures_with_one_name_none_is_shown() -> None:
    for file, text in {
        "five.png": "5",
        "same.png": "5",
        "beside/five.png": "7",
        "beside/same.png": "5",
    }.items():
        put(file, text)
    names = ("five.png", "same.png", str(Path("five.png").absolute()))
    assert crop_pictures([{"file": name} for name in names], Path("beside")).keys() == {1, 2}


def test_a_run_folder_shows_its_result_its_curves_and_its_settings(few_digits: Path, tmp_path: Path) -> None:
    train(train_config(few_digits, "softmax", recipe={"epochs": 2}), out=tmp_path / "run")
    written = write_report(str(tmp_path / "run"), tmp_path / "run.html")
    html = (tmp_path / "run.html").read_text()
    assert written.title == "Report of run" and written.size_bytes == len(html.encode())
    for words in ("test accuracy", "validation loss", "Chart of the table below", "batch size", "torch"):
        assert words in html
    for file in ("model.safetensors", "metrics.csv"):
        (tmp_path / "run" / file).unlink()
    write_report(str(tmp_path / "run"), tmp_path / "begun.html")
    assert "<h1>Report of run</h1>" in (tmp_path / "begun.html").read_text()


def test_a_damaged_file_is_an_input_error() -> None:
    for name, content, words in (
        ("a.json", "{", "cannot be reported"),
        ("a.json", "[]", "holds no record"),
        ("a.json", "7", "holds no record"),
        ("a.json", "[" * 100_000, "cannot be reported"),
        ("a.jsonl", '{"file": "a"}\n{"file"', "cannot be reported"),
        ("a.json", "\udcff", "cannot be reported"),
    ):
        Path(name).write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(InputError, match=words):
            read_source(name)


def test_other_sources_are_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cnn is a model") as caught:
        read_source("cnn")
    assert caught.value.remedy.endswith("digitcli evaluate cnn -o evaluation.json")
    with pytest.raises(InputError, match="There is no file or folder 'nothing'"):
        read_source("nothing")
    with pytest.raises(InputError, match="no folder of a run or an adaptation"):
        read_source(str(tmp_path))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_is_silent_and_legible_in_a_browser(tmp_path: Path) -> None:
    rows = [{"epoch": n, "loss": 1 / n, "a_long_name_of_a_column": HOSTILE * 3} for n in (1, 2)]
    (tmp_path / "a.json").write_text(json.dumps({"metrics": {"n": 1}, "epochs": rows}))
    write_report(str(tmp_path / "a.json"), tmp_path / "a.html")
    with browser(tmp_path / "profile") as tab:
        for colours in ("light", "dark"):
            tab.look(400, colours)
            tab.open((tmp_path / "a.html").as_uri())
            assert tab.evaluate("document.scripts.length") == 0
            assert tab.evaluate("document.documentElement.scrollWidth") <= 400, "it scrolls sideways"
            assert tab.evaluate("[...document.images].filter(each => !each.naturalWidth).length") == 0
            assert tab.evaluate(PALE_TEXTS) == []


def test_cells_are_short_texts() -> None:
    cells = {None: "", True: "yes", 12345: "12,345", 0.5: "0.5", "a" * 300: "a" * 200 + "..."}
    assert {value: in_cell(value) for value in cells} == cells
    assert in_cell([1, 2.5, "x"]) == "1, 2.5, x" and in_cell(["word " * 9] * 9) == "9 values"
    assert in_cell(0.5, "test_accuracy") == "50.00 %"
