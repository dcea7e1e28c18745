"""Settings that are declared once, as fields of a dataclass. Loads no torch.

A declaration holds everything that a setting needs:

    dropout: float | None = setting(None, "regularization", "Drop this fraction ...", at_least=0, below=1)

`check_settings` refuses values outside the declared type and range, and `Setting.read` makes a value of what
a person typed. `settings_of` returns the declarations, from which the command line makes its options and the
documentation its tables.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from digitcli.errors import UsageError, did_you_mean

DURATION = "duration"  # unit of a setting in seconds that a person may write as 90s, 5m or 1h30m
PATH = "file|dir"  # unit of a setting that names a file or a folder
FRACTION = "fraction"  # unit of a setting that a person may also write in percent, as 1%
REQUIRED = dataclasses.MISSING  # default of a setting that must be given
TYPE_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}
# The fields whose options have another name, since it has no unit, is a keyword of Python or is repeated.
OPTION_NAMES = {
    "time_seconds": "time", "start": "from", "archs": "arch", "batch_sizes": "batch-size", "dtypes": "dtype",
    "runtimes": "runtime", "purpose": "for", "template": "form",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The declaration of one setting.

    name, type, default: those of the dataclass field. `type` is without None, which `optional` allows.
    group: the heading under which help and documentation list the setting.
    help: one sentence that says what the setting does.
    unit: the unit of the value, or one word for what it is: `epochs`, `fraction`, `file|dir`.
    letter: the short form of the option, for example `-e`.
    aliases: former names of the option, which are accepted and not shown.
    hidden: whether the help leaves the setting out, since it is accepted for old scripts only.
    is_option: whether a person chooses the value; otherwise it follows from a recipe or from other settings.
    is_argument: whether the setting is an argument, for which `unit` is the placeholder, and no option.
    complete: a function from the beginning of a value to the values that the shell offers.
    above, at_least, below, at_most: the range of a number.
    requires: another setting and the values of it without which this setting has no effect.
    """

    name: str = ""
    type: Any = str
    optional: bool = False
    default: Any = None
    group: str
    help: str
    unit: str = ""
    letter: str = ""
    aliases: tuple[str, ...] = ()
    hidden: bool = False
    is_option: bool = True
    is_argument: bool = False
    complete: Callable[[str], Any] | None = None
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    requires: tuple[str, tuple[Any, ...]] | None = None

    @property
    def key(self) -> str:
        """Return the name in configuration files: `time` for the field `time_seconds`."""
        return OPTION_NAMES.get(self.name, self.name)

    @property
    def option(self) -> str:
        """Return the option of the command line, or the placeholder of an argument."""
        return self.unit.upper() if self.is_argument else option_name(self.name)

    @property
    def choices(self) -> tuple[str, ...]:
        """Return the values of a setting that takes one of several words, or an empty tuple."""
        return get_args(self.item_type) if get_origin(self.item_type) is Literal else ()

    @property
    def item_type(self) -> Any:
        """Return the type of one value of a list, or else the type of the setting."""
        return get_args(self.type)[0] if self.is_list else self.type

    @property
    def is_list(self) -> bool:
        """Return whether the setting takes several values, for which its option is repeated."""
        return get_origin(self.type) is tuple

    @property
    def allowed(self) -> str:
        """Return the allowed values in words: `a whole number of at least 1`."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        limits = self.limits.replace("at least", "of at least")
        return f"{TYPE_NAMES[self.item_type]} {limits}".rstrip()

    @property
    def limits(self) -> str:
        """Return the range of a number in words: `from 0 to 1`, or an empty string."""
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least} to {_readable(self.at_most)}"
        words = {"above": self.above, "at least": self.at_least, "below": self.below, "at most": self.at_most}
        return " and ".join(f"{word} {limit}" for word, limit in words.items() if limit is not None)

    @property
    def requirement(self) -> str:
        """Return the option that this setting requires, `--optimizer adam or adamw`, or an empty string."""
        if self.requires is None:
            return ""
        name, values = self.requires
        if values == (True,):
            return option_name(name)
        *first, last = values
        return f"{option_name(name)} {', '.join(first)} or {last}" if first else f"{option_name(name)} {last}"

    def has_effect(self, settings: Any) -> bool:
        """Return whether the other settings give this one an effect."""
        return self.requires is None or getattr(settings, self.requires[0]) in self.requires[1]

    def check(self, value: Any) -> None:
        """Check a value.

        Raises:
            UsageError: the value has the wrong type or lies outside the range.
        """
        if value is None and self.optional:
            return
        if self.is_list and not isinstance(value, tuple):
            kinds = f"{TYPE_NAMES.get(self.item_type, 'a text').removeprefix('a ')}s"
            raise UsageError(f"{self.option} is {value!r}.", f"It must be a list of {kinds}.")
        for item in value if self.is_list else (value,):
            if not self._allows(item):
                cause = f"{self.option} is {str(item) if isinstance(item, Path) else item!r}."
                known = did_you_mean(str(item), self.choices) if self.choices else ""
                raise UsageError(cause, known or f"It must be {self.allowed}.")

    def read(self, text: Any) -> Any:
        """Return the value of a text that a person typed, or of several texts for a list.

        Raises:
            UsageError: the text is no such value.
        """
        if isinstance(text, bool):
            return text
        if self.unit.endswith(",..."):  # several values in one text, unless that is the path of a file
            text = [
                part.strip()
                for each in text
                for part in ([each] if os.path.lexists(each) else each.split(","))
            ]
        value = tuple(map(self._read_one, text)) if self.is_list else self._read_one(text)
        self.check(value)
        return value

    def _read_one(self, text: str) -> Any:
        if self.unit in READERS:
            return READERS[self.unit](text, self.option)
        try:
            return self.item_type(text) if self.item_type in (int, float, Path) else text
        except ValueError:
            raise UsageError(f"{self.option} is '{text}'.", f"It must be {self.allowed}.") from None

    def _allows(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if self.item_type not in (int, float):
            return isinstance(value, self.item_type)
        return (
            isinstance(value, int if self.item_type is int else (int, float))
            and not isinstance(value, bool)
            and abs(value) <= sys.float_info.max  # neither NaN nor infinite, and one that a float can hold
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )


def _readable(limit: float) -> str:
    return "2^63 - 1" if limit == 2**63 - 1 else str(limit)  # nobody counts the 19 digits


def setting(default: Any, group: str, help: str, **details: Any) -> Any:
    """Declare a setting as a field of a dataclass; `details` are further fields of `Setting`."""
    return field(default=default, metadata={"setting": Setting(group=group, help=help, **details)})


def argument(placeholder: str, help: str, default: Any = REQUIRED, **details: Any) -> Any:
    """Declare an argument of a command; one with several values is a tuple, which may be empty."""
    return setting(default, "", help, unit=placeholder, is_argument=True, **details)


def settings_of(owner: Any) -> tuple[Setting, ...]:
    """Return the settings that a dataclass or an instance of one declares, in the order of its fields."""
    return _declarations(owner if isinstance(owner, type) else type(owner))


def user_settings(*owners: Any) -> tuple[Setting, ...]:
    """Return the settings of several dataclasses that a person can choose."""
    return tuple(declared for owner in owners for declared in settings_of(owner) if declared.is_option)


@functools.cache
def _declarations(owner: Any) -> tuple[Setting, ...]:
    annotations = get_type_hints(owner)
    settings = []
    for entry in dataclasses.fields(owner):
        if "setting" in entry.metadata:
            annotation = annotations[entry.name]
            optional = get_origin(annotation) in (Union, types.UnionType)
            kind = get_args(annotation)[0] if optional else annotation
            values = {"name": entry.name, "type": kind, "optional": optional, "default": entry.default}
            settings.append(dataclasses.replace(entry.metadata["setting"], **values))
    return tuple(settings)


def freeze_lists(settings: Any) -> None:
    """Replace the lists of a dataclass instance by tuples; meant for its `__post_init__`.

    JSON and TOML have lists. A single text becomes a tuple of one.
    """
    for declared in settings_of(settings):
        value = getattr(settings, declared.name)
        if declared.is_list and isinstance(value, list | str):
            frozen = (value,) if isinstance(value, str) else tuple(value)
            object.__setattr__(settings, declared.name, frozen)


def check_settings(settings: Any) -> None:
    """Check every setting of a dataclass instance; meant for its `__post_init__`.

    Raises:
        UsageError: a value has the wrong type or lies outside the range.
    """
    for declared in settings_of(settings):
        declared.check(getattr(settings, declared.name))


def check_effects(settings: Any, changes: Mapping[str, Any], own: Any) -> None:
    """Check that every change of a setting has an effect.

    The default of a setting is always accepted, since it changes nothing.

    Args:
        settings: the settings after the changes.
        changes: the changed settings, which may be all settings of another recipe. If they include the
            setting that one of them requires, a value that equals the one in `own` is accepted.
        own: the settings before the changes.

    Raises:
        UsageError: a changed setting requires another one, which is not given.
    """
    for declared in settings_of(settings):
        value = changes.get(declared.name)
        if not value or value == declared.default or declared.has_effect(settings):
            continue
        if declared.requires and declared.requires[0] in changes and value == getattr(own, declared.name):
            continue
        raise UsageError(
            f"{declared.option} has no effect without {declared.requirement}.",
            f"Add {declared.requirement}, or leave {declared.option} out.",
        )


def option_name(name: str) -> str:
    """Return the option of a setting: `--batch-size` for `batch_size`, `--time` for `time_seconds`."""
    return "--" + OPTION_NAMES.get(name, name).replace("_", "-")


def parse_fraction(text: str, option: str) -> float:
    """Return a fraction that is written as such or in percent: `0.01` or `1%`.

    Raises:
        UsageError: the text is neither.
    """
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"{option} is '{text}'.", "Give a fraction, for example 0.01 or 1%.") from None


def parse_duration(text: str | float, option: str = "--time") -> float:
    """Return the seconds in a duration: `90`, `90s`, `5m` or `1h30m`.

    Raises:
        UsageError: the text is not a duration.
    """
    number = r"(\d+(?:\.\d*)?|\.\d+)"
    match = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s?)?", str(text).strip())
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    duration = 3600 * hours + 60 * minutes + seconds
    if not 0 < duration < float("inf"):
        raise UsageError(f"{option} is '{text}'.", "Give a duration such as 90s, 5m or 1h30m.")
    return duration


# From the unit of a setting to the function that reads it; all other settings are read by their types.
READERS: dict[str, Callable[[str, str], Any]] = {
    DURATION: parse_duration,
    FRACTION: parse_fraction,
}
