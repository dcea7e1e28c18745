"""Printed letters are rendered from fonts, and damaged fonts are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from digitcli.errors import InputError
from digitcli.synthesis.letters import hash_fonts, render_letters


def test_the_letters_of_a_font_are_rendered(fonts: Path) -> None:
    without, letters = render_letters(), render_letters(fonts)
    added = letters[len(without) :]
    assert len(added) == len(without) / 5 and all(image.shape == (28, 28) for image in letters)
    assert all(image.any() for image in letters)
    assert len({image.tobytes() for image in added}) == len(added)
    assert len(render_letters(fonts / "below" / "one.ttf")) == len(letters)


def test_the_digest_depends_only_on_the_fonts(fonts: Path) -> None:
    before = hash_fonts(fonts)
    (fonts / "below" / "OFL.txt").write_text("another")
    assert hash_fonts(fonts) == before
    (fonts / "two.otf").write_bytes(b"more")
    assert hash_fonts(fonts) != before


@pytest.mark.parametrize("content", [b"", b"no font at all", b"\x00\x01\x00\x00" + bytes(400)])
def test_a_damaged_font_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.ttf").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.ttf"):
        render_letters(tmp_path)


def test_a_folder_without_fonts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no font"):
        render_letters(tmp_path)
