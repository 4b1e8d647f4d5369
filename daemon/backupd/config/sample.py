"""config.toml, the sample: every section and key of the schema, with its words.

    python -m backupd.config.sample

prints it. A key without a default or with one that depends on another key, and a section that may
be left out, are commented out.
"""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from backupd.config.readers import REQUIRED, DefaultBy, Key
from backupd.config.schema import CONFIG
from backupd.config.tables import NamedTables, Table, join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.config.tables import Entry

WIDTH = 100  # columns


@dataclass(frozen=True, slots=True)
class Setting:
    """A key with the value that the sample has for it."""

    name: str
    value: Any
    words: str = ""
    in_force: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the sample. The first one is the file itself, and has no name."""

    name: str
    words: str
    settings: list[Setting]
    in_force: bool = True


def sections(table: Table = CONFIG, name: str = "") -> Iterator[Section]:
    """Yield the section of a table and those below it, the ones that may be left out last."""
    settings = [_setting(each, key, table) for each, key in _keys(table).items()]
    yield Section(name, table.words, settings, in_force=not table.optional)
    for each, entry in sorted(table.entries.items(), key=_may_be_left_out):
        if isinstance(entry, Table):
            yield from sections(entry, join(name, each))
        elif isinstance(entry, NamedTables):
            yield from _examples(entry, join(name, each))


def paragraphs(words: str) -> list[str]:
    """Split text at its empty lines, and fold each paragraph into one line."""
    return [" ".join(each.split()) for each in words.split("\n\n")]


def toml(value: object) -> str:
    """Return a value as it stands in a config, on one line."""
    match value:
        case str() if "\\" in value and "'" not in value:
            return f"'{value}'"
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict() if value:
            pairs = (f"{json.dumps(name)} = {toml(each)}" for name, each in value.items())
            return f"{{ {', '.join(pairs)} }}"
        case _:  # text, numbers, true and false, an empty table: JSON has them in the same form
            return json.dumps(value, ensure_ascii=False)


def sample() -> str:
    """Return the text of config.toml."""
    first, *_ = listed = list(sections())
    lines = list(_lines(first))
    for before, section in pairwise(listed):
        is_neighbour = before.name.split(".")[0] == section.name.split(".")[0]
        lines += [*([""] if is_neighbour else ["", ""]), *_lines(section)]
    return "\n".join([*lines, ""])


def _keys(table: Table) -> dict[str, Key]:
    return {name: entry for name, entry in table.entries.items() if isinstance(entry, Key)}


def _may_be_left_out(entry: tuple[str, Entry]) -> bool:
    return isinstance(entry[1], Table) and entry[1].optional


def _setting(name: str, key: Key, table: Table) -> Setting:
    value = _usual(key.default) if key.example is None else key.example
    is_fixed = key.default is not None and not isinstance(key.default, DefaultBy)
    return Setting(name, value, _words(key, value), is_fixed and not table.optional)


def _usual(default: object) -> object:
    return next(iter(default.defaults.values())) if isinstance(default, DefaultBy) else default


def _examples(tables: NamedTables, name: str) -> Iterator[Section]:
    """Yield a section for each example. The first one explains the keys for all of them."""
    keys = _keys(tables.each)
    (first, shown), *others = tables.examples.items()
    in_force = not tables.optional
    explained = [
        Setting(each, value, _words(keys[each], value), in_force and each not in tables.commented)
        for each, value in shown.items()
    ]
    yield Section(join(name, first), tables.each.words, explained, in_force=in_force)
    for each, entry in tables.each.entries.items():
        if isinstance(entry, Table):
            yield from sections(entry, join(name, f"{first}.{each}"))
    for other, values in others:
        yield Section(join(name, other), "", [Setting(*each) for each in values.items()])


def _words(key: Key, value: object) -> str:
    """Return all that is said of a key: nothing where it is explained with the one before."""
    if not key.words:
        return ""
    words = " ".join(key.words.split()).replace("{allowed}", key.reader.in_short)
    if key.default is REQUIRED:
        return f"{words} Required."
    if isinstance(key.default, DefaultBy):
        return f"{words} {_choices(key.default)}"
    if key.default not in (None, value):
        return f"{words} {toml(key.default)} if left out."
    return words


def _choices(default: DefaultBy) -> str:
    section, _, name = default.key.rpartition(".")
    (_, usual), *others = default.defaults.items()
    by_value = (f"{toml(each)} with [{section}] {name} = {toml(of)}" for of, each in others)
    return f"{toml(usual)} if left out, {', '.join(by_value)}."


def _lines(section: Section) -> Iterator[str]:
    yield from _comment(section.words)
    yield f"{'' if section.in_force else '#'}[{section.name}]" if section.name else ""
    for setting in section.settings:
        yield from _comment(setting.words)
        yield from _assignment(setting)


def _assignment(setting: Setting) -> Iterator[str]:
    off = "" if setting.in_force else "#"
    line = f"{off}{setting.name} = {toml(setting.value)}"
    if len(line) > WIDTH and isinstance(setting.value, list):
        yield f"{off}{setting.name} = ["
        yield from (f"{off}    {toml(each)}," for each in setting.value)
        yield f"{off}]"
    else:
        yield line


def _comment(words: str) -> Iterator[str]:
    text = textwrap.TextWrapper(WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    for number, paragraph in enumerate(paragraphs(words)):
        if number:
            yield "#"
        yield from (f"# {line}" for line in text.wrap(paragraph))


if __name__ == "__main__":
    sys.stdout.write(sample())
