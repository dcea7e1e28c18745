from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from digitcli.errors import InputError
from digitcli.json_records import read_json


@dataclass(frozen=True)
class Wheel:
    size: float
    spokes: int = 32


@dataclass(frozen=True)
class Bicycle:
    name: str
    wheels: tuple[Wheel, ...]
    kind: Literal["road", "city"]
    notes: Mapping[str, Any]
    owner: str | None = None


BICYCLE = {"name": "b", "wheels": [{"size": 28}, {"size": 26.5, "spokes": 36}], "kind": "city", "notes": {}}


def test_nested_records_are_read_with_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "bicycle.json"
    path.write_text(json.dumps(BICYCLE | {"colour": "red"}))
    bicycle = read_json(path, Bicycle, "a bicycle", "Buy one.")
    assert bicycle == Bicycle("b", (Wheel(28.0), Wheel(26.5, 36)), "city", {})


def test_an_error_names_the_file_and_the_key(tmp_path: Path) -> None:
    path = tmp_path / "bicycle.json"
    changes: list[tuple[dict[str, Any], str]] = [
        ({"name": 5}, "name"),
        ({"kind": "boat"}, "kind"),
        ({"notes": []}, "notes"),
        ({"owner": 1}, "owner"),
        ({"wheels": {}}, "wheels"),
        ({"wheels": [{"size": "large"}]}, "wheels[0].size"),
        ({"wheels": [{"size": 28, "spokes": True}]}, "wheels[0].spokes"),
        ({"wheels": [{"size": 28, "spokes": 1.5}]}, "wheels[0].spokes"),
        ({"wheels": [{"size": 28, "spokes": 10**400}]}, "wheels[0].spokes"),
        ({"wheels": [{"size": 10**400}]}, "wheels[0].size"),
        ({"wheels": [{"size": float("nan")}]}, "wheels[0].size"),
        ({"wheels": [{}]}, "'size'"),
        ({"wheels": [7]}, "wheels[0]"),
    ]
    for change, key in changes:
        path.write_text(json.dumps(BICYCLE | change))
        with pytest.raises(InputError, match="bicycle.json is not a bicycle") as caught:
            read_json(path, Bicycle, "a bicycle", "Buy one.")
        assert key in caught.value.cause and caught.value.remedy == "Buy one.", change
    for content in (b"", b"[]", b"nothing", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        for name in (path, tmp_path / "missing.json"):
            with pytest.raises(InputError):
                read_json(name, Bicycle, "a bicycle", "Buy one.")
