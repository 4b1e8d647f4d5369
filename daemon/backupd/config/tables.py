"""Reads whole tables by a schema, collecting every mistake on the way."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from backupd.config.mistakes import Mistake
from backupd.config.readers import (
    REQUIRED,
    BadValueError,
    DefaultBy,
    Key,
    Reader,
    expect,
    path_part,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Table:
    """The keys and sections of a section; one that is `optional` may be left out whole."""

    words: str  # what it is about, to whoever writes a config
    entries: Mapping[str, Entry]
    optional: bool = False
    allowed = "a section"


@dataclass(frozen=True, slots=True)
class NamedTables:
    """Sections of one shape, each named by the operator: at least one, unless they are `optional`.

    Each of the `examples` has its name and its values as in the file, those of `commented` keys
    commented out.
    """

    each: Table
    allowed: str
    examples: Mapping[str, Mapping[str, Any]]
    commented: frozenset[str]
    optional: bool = False


Entry = Key | Table | NamedTables


def read_table(table: Table, raw: object, key: str, mistakes: list[Mistake]) -> dict[str, Any]:
    """Return by name what the table `key` holds, with defaults filled in.

    Whatever has a mistake is missing from the answer, so that later checks judge only what could
    be read; a default that depends on another key is left to `fill_in`. Raises BadValueError if
    `raw` is no table.
    """
    given = expect(raw, dict)
    mistakes.extend(_unknown(table, given, key))
    values = {}
    for name, entry in table.entries.items():
        try:
            values[name] = _read_entry(entry, given.get(name), join(key, name), mistakes)
        except BadValueError as error:
            mistakes.append(Mistake(join(key, name), str(error), entry.allowed))
    return values


def fill_in(table: Table, values: dict[str, Any], document: Mapping[str, Any]) -> None:
    """Give what was left out the default that depends on another key.

    `document` are the values of all sections. Where the other key has a mistake there is none.
    """
    for name, entry in table.entries.items():
        match entry, values.get(name):
            case Table(), dict() as section:
                fill_in(entry, section, document)
            case Key(default=DefaultBy(key=other, defaults=defaults)), None:
                if (value := defaults.get(_value_at(document, other))) is not None:
                    values[name] = entry.reader.read(value)


def read_by(
    reader: Reader, table: Table, values: Mapping[str, Any], key: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each key that has this reader and was given."""
    for name, entry in table.entries.items():
        match entry, values.get(name):
            case _, None:
                continue
            case Table(), section:
                yield from read_by(reader, entry, section, join(key, name))
            case Key(reader=each), value if each is reader:
                yield join(key, name), value


def join(key: str, name: str) -> str:
    """Return the dotted key of `name` in the table `key` ("" is the file itself)."""
    return f"{key}.{name}" if key else name


def _value_at(document: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 -- what TOML can hold
    """Return the value of a dotted key; None where there is none."""
    *sections, name = key.split(".")
    for section in sections:
        document = document.get(section) or {}
    return document.get(name)


def _read_entry(entry: Entry, raw: object, key: str, mistakes: list[Mistake]) -> object:
    """Read one entry. `raw` is None where the file has none: TOML knows no null."""
    match entry:
        case Key():
            return _read_key(entry, raw)
        case Table() if raw is None and entry.optional:
            return None
        case Table():
            return read_table(entry, {} if raw is None else raw, key, mistakes)
        case NamedTables():
            return _read_named(entry, raw, key, mistakes)


def _read_key(entry: Key, raw: object) -> object:
    value = entry.default if raw is None else raw
    if value is REQUIRED:
        raise BadValueError("is missing")
    is_open = value is None or isinstance(value, DefaultBy)
    return None if is_open else entry.reader.read(value)


def _read_named(
    tables: NamedTables, raw: object, key: str, mistakes: list[Mistake]
) -> dict[str, dict[str, Any]]:
    if not raw and not tables.optional:
        raise BadValueError("is missing")
    found: dict[str, dict[str, Any]] = {}
    if raw is None:
        return found
    for name, each in expect(raw, dict).items():
        try:
            found[path_part(name)] = read_table(tables.each, each, join(key, name), mistakes)
        except BadValueError as error:
            mistakes.append(Mistake(join(key, name), str(error), tables.allowed))
    return found


def _unknown(table: Table, given: Mapping[str, object], key: str) -> Iterator[Mistake]:
    for name in given:
        if name not in table.entries:
            what = "section" if isinstance(given[name], dict) else "key"
            near = get_close_matches(name, table.entries, n=1)
            guess = f", did you mean {near[0]}?" if near else ""
            allowed = ", ".join(table.entries)
            yield Mistake(join(key, name), f"is an unknown {what}{guess}", allowed)
