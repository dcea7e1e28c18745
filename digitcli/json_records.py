"""Read JSON into dataclasses, with errors that name the file and the key."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from digitcli.errors import InputError

T = TypeVar("T")
MAX_INTEGER = 2**63


def read_json(path: Path, kind: type[T], description: str, remedy: str) -> T:
    """Return the content of a JSON file as a dataclass; `description` names such a file, e.g. "a saved run".

    Raises:
        InputError: the file cannot be read or does not hold such a record.
    """
    try:
        record: T = parse_record(json.loads(path.read_text(encoding="utf-8")), kind)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} is not {description}: {reason}.", remedy) from error
    return record


def parse_record(value: Any, kind: Any, key: str = "the record") -> Any:
    """Return a JSON value as the annotated type: a dataclass, or a type that its fields use.

    Keys that the dataclass does not have are ignored; keys that are missing take the field's default.

    Raises:
        ValueError: the value has another type, or a key is missing; the message names the key.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _parse_dataclass(value, kind, key)
    if origin is tuple and isinstance(value, list):
        return tuple(parse_record(item, arguments[0], f"{key}[{index}]") for index, item in enumerate(value))
    if NoneType in arguments:
        others = [argument for argument in arguments if argument is not NoneType]
        return None if value is None else parse_record(value, others[0], key)
    if kind is Any or (origin is Literal and value in arguments) or _is_instance(value, origin or kind):
        return value
    raise ValueError(f"{key} is {value!r:.40}")


def _parse_dataclass(value: dict[str, Any], kind: Any, key: str) -> Any:
    types, fields = _types_of(kind), {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            fields[field.name] = parse_record(value[field.name], types[field.name], f"{key}.{field.name}")
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{key} has no '{field.name}'")
    return kind(**fields)


@functools.cache
def _types_of(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _is_instance(value: Any, kind: Any) -> bool:
    if kind is float:  # JSON writes 1.0 as 1, and Python's JSON reads NaN and numbers that are no float
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max
    if kind is int:  # Python's JSON reads numbers of any length, with which nothing can be computed
        return type(value) is int and abs(value) < MAX_INTEGER
    if kind in (dict, Mapping):
        return isinstance(value, dict)
    return type(value) is kind
