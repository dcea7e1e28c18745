"""torch.export: one file without a pickle, which a process without digitcli runs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from digitcli.export.export import export
from tests.support.exports import model_of


@pytest.mark.usefixtures("on_few_digits")
def test_the_file_is_run_in_a_process_of_its_own_and_holds_no_pickle() -> None:
    result = export(model_of("softmax"), "torch")
    assert result.path == "softmax.pt2" and result.parity is not None
    assert result.parity.different_answers == 0 and result.parity.largest_difference < 1e-4
    with zipfile.ZipFile("softmax.pt2") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    (facts,) = [json.loads(content) for name, content in contents.items() if name.endswith("digitcli.json")]
    assert facts["architecture"] == "softmax" and facts["parity"].endswith("those of PyTorch")
    assert not any(content.startswith((b"\x80\x02", b"PK")) for content in contents.values())
    folder = str(Path(__file__).parents[2]).encode()
    assert not any(folder in content for content in contents.values()), "it names a folder of this machine"
