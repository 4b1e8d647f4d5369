"""How single values are read.

A function takes a value as TOML gave it and returns the one that the sections hold, or raises
BadValueError; a `Reader` also says what it takes.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backupd.core import times

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REQUIRED: Final = object()
"""The default of a key that must be given."""

_KINDS: dict[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a fraction",
    list: "a list",
    dict: "a table",
}
_LONGEST = "3650d"  # beyond ten years a number is a slip, and sleeping for it overflows timers
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_LONGEST_SOCKET = 107  # bytes: sun_path has 108, the last one is NUL

T = TypeVar("T")


class BadValueError(ValueError):
    """A value is not acceptable. The message reads on from the key's name: "is empty"."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How values of one kind are read, and what is allowed."""

    read: Callable[[object], Any]
    allowed: str
    in_short: str = ""  # what is allowed, to stand in a sentence


@dataclass(frozen=True, slots=True)
class DefaultBy:
    """A default that depends on another key: by the values of `key`, the usual one first.

    `key` is dotted, one of a section of its own: "warehouse.kind".
    """

    key: str
    defaults: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table. `default` is written as in the file; None: the key may be left out.

    A default that depends on another key is a `DefaultBy`.

    `words` say what it does, to whoever writes a config: folded text, in which {allowed} stands for
    the reader's `in_short`. A key without words is explained with the one before it. The sample
    shows the `example` where there is one, else the default.
    """

    reader: Reader
    words: str = ""
    default: Any = REQUIRED
    example: Any = None

    @property
    def allowed(self) -> str:
        """What would be right."""
        return self.reader.allowed


def expect(value: object, kind: type[T]) -> T:
    """Return the value if it is of this kind; TOML's true is no whole number here."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BadValueError(f"is {_KINDS.get(type(value), 'a date or time')}, not {_KINDS[kind]}")
    return value


def plain_text(value: object) -> str:
    """Read text that is not empty and can stand in a path, a log line or a mail."""
    text = expect(value, str)
    if not text:
        raise BadValueError("is empty")
    if any(unicodedata.category(letter) == "Cc" for letter in text):
        raise BadValueError("holds a control character")
    return text


def path_part(value: object) -> str:
    """Read a name that can be one part of a path."""
    name = plain_text(value)
    if "/" in name or name in {".", ".."}:
        raise BadValueError(f"{name!r} would lead out of its directory")
    return name


def texts(value: object) -> list[str]:
    """Read a list of texts that has at least one."""
    values = expect(value, list)
    if not values:
        raise BadValueError("is an empty list")
    return [plain_text(each) for each in values]


def absolute_path(value: object) -> Path:
    """Read an absolute path."""
    path = Path(plain_text(value))
    if not path.is_absolute():
        raise BadValueError("is not an absolute path")
    return path


def seconds(value: object) -> float:
    """Read a duration into seconds."""
    text = expect(value, str)
    try:
        return times.duration(text)
    except ValueError:
        raise BadValueError(f"is {text!r}, which is not a valid duration") from None


def socket_path(value: object) -> Path:
    """Read the absolute path of a Unix socket, which the kernel keeps short: unix(7)."""
    path = absolute_path(value)
    if (length := len(os.fsencode(path))) > _LONGEST_SOCKET:
        raise BadValueError(f"is {length} bytes long, too long for a socket")
    return path


def time_of_day(value: object) -> int:
    """Read `06:30` into minutes after midnight."""
    match = _TIME_OF_DAY.fullmatch(expect(value, str))
    if match is None:
        raise BadValueError(f"is {value!r}")
    return int(match[1]) * 60 + int(match[2])


def time_zone(value: object) -> str:
    """Read the name of a time zone that this host knows."""
    name = plain_text(value)
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadValueError(f"is {name!r}, which this host does not know") from error
    return name


TEXT = Reader(plain_text, "text that is not empty")
PATH = Reader(absolute_path, "an absolute path")
SOCKET_PATH = Reader(socket_path, f"an absolute path of at most {_LONGEST_SOCKET} bytes")
TIME_OF_DAY = Reader(time_of_day, "a time of day such as 06:30")
TIME_ZONE = Reader(time_zone, "a time zone such as Europe/Amsterdam, or UTC")
SECRET_FILE = Reader(plain_text, "an absolute path, or the name of a systemd credential")
SWITCH = Reader(lambda value: expect(value, bool), "true or false")


def choice(literal: object) -> Reader:
    """Read one of the words of a `Literal`."""
    choices = get_args(literal)

    def read(value: object) -> str:
        if expect(value, str) not in choices:
            raise BadValueError(f"is {value!r}")
        return str(value)

    *others, last = (f'"{each}"' for each in choices)
    return Reader(read, " or ".join([*others, last]), f"{', '.join(others)} or {last}")


def integer(lowest: int, highest: int) -> Reader:
    """Read a whole number within bounds."""

    def read(value: object) -> int:
        number = expect(value, int)
        if not lowest <= number <= highest:
            raise BadValueError(f"is {number}, which is out of range")
        return number

    bounds = f"{lowest} to {highest}"
    return Reader(read, f"a whole number from {bounds}", bounds)


def duration(*, at_least: str = "0s") -> Reader:
    """Read a duration in seconds, up to ten years."""

    def read(value: object) -> float:
        number = seconds(value)
        if not seconds(at_least) <= number <= seconds(_LONGEST):
            raise BadValueError(f"is {value!r}, which is out of range")
        return number

    allowed = f"{at_least} to {_LONGEST}: {times.DURATION_FORMS}"
    return Reader(read, allowed, f'at least "{at_least}"')
