"""The inputs of `digitcli predict`: files, folders, patterns, lists, standard input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.pictures import drawn, encoded
from tests.support.predictions import put, read, records
from tests.support.processes import Run


def test_a_folder_gives_its_pictures_in_natural_order_and_no_hidden_ones(predict: Run) -> None:
    for name in ("10.png", "2.PNG", "deep/er/1.jpg", "1.tif", ".hidden.png", ".git/a.png", "deep/x.txt"):
        put(f"scans/{name}")
    Path("scans/deep/up").symlink_to("..")
    Path("scans/deep/self.png").symlink_to("self.png")
    Path("empty").mkdir()
    done = predict("scans", "./scans/deep/", "empty", "--format", "jsonl")
    assert [record["file"] for record in records(done)] == [
        *("scans/1.tif", "scans/2.PNG", "scans/10.png", "scans/deep/er/1.jpg", "scans/deep/self.png"),
        *("./scans/deep/er/1.jpg", "./scans/deep/self.png", "./scans/deep/up/1.tif"),
        *("./scans/deep/up/2.PNG", "./scans/deep/up/10.png", "empty"),
    ]
    assert done.returncode == 4
    assert {record["reason"] for record in records(done) if record["text"] is None} == {"not_found"}


def test_folders_may_be_deeper_than_functions_may_call_each_other(predict: Run) -> None:
    folder = os.open(".", os.O_RDONLY)
    for _ in range(sys.getrecursionlimit() + 100):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    put("e.png")
    try:
        assert read(predict(".", "--format", "jsonl")) == [("./e.png", "5")]
        assert read(predict("**/*.png", "--format", "jsonl")) == [("e.png", "5")]
    finally:  # pytest removes folders by a function that calls itself
        subprocess.run(["rm", "-rf", "d"], check=True)


def test_a_list_names_pictures_and_folders(predict: Run) -> None:
    strange = os.fsdecode(b"\xff\n\r*.png")
    put("a.png", "2"), put("in/b.png", "7"), put("c.png", "4"), put(strange, "2")
    expected = [("c.png", "4"), ("a.png", "2"), ("in/b.png", "7"), ("none.png", None)]
    with_zero_bytes = b"a.png\0in\0none.png\0" + os.fsencode(strange) + b"\0*.png\0"
    for listing, more in (
        (b"a.png\nin\n\nnone.png\n", []),
        (b"\xef\xbb\xbfa.png\r\nin\r\nnone.png", []),
        (with_zero_bytes, [(strange, "2"), ("*.png", None)]),
    ):
        Path("list.txt").write_bytes(listing)
        for name in ("list.txt", "-"):
            done = predict("c.png", "--files-from", name, "--format", "jsonl", input=listing)
            assert read(done) == [*expected, *more] and done.returncode == 4


def test_a_list_that_is_missing_or_empty_is_code_3(predict: Run) -> None:
    Path("empty.txt").write_bytes(b"\n\r\n\n")
    put("5.png")
    for arguments in (["none.txt"], ["empty.txt"], ["."], ["", "5.png"]):
        done = predict("--files-from", *arguments, "--format", "jsonl")
        assert done.returncode == 3 and done.stdout == "" and "list" in done.stderr


def test_a_list_that_breaks_off_keeps_the_earlier_pictures(predict: Run) -> None:
    listing = os.fsencode(put("5.png")) + b"\n" + b"x" * 70_000
    done = predict("--files-from", "-", "-o", "out.jsonl", input=listing)
    assert done.returncode == 4 and "more than 32,768 bytes" in done.stderr
    read_here = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [(record["text"], record["reason"]) for record in read_here] == [("5", None), (None, "not_found")]


def test_a_picture_may_come_from_standard_input(predict: Run) -> None:
    done = predict(put("2.png", "2"), "-", "--format", "jsonl", input=encoded(drawn("7", 200), "JPEG"))
    assert read(done) == [("2.png", "2"), ("-", "7")] and done.returncode == 0
    empty = predict("-", "--format", "jsonl")
    assert records(empty)[0]["reason"] == "empty_file" and empty.returncode == 3
