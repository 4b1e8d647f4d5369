"""What became of the old job's variables, and the config's text."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupd.config.sample import WIDTH, toml
from backupd.config.schema import CONFIG
from backupd.config.tables import NamedTables, Table, join

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backupd.config.readers import Key

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEAD = (
    "Made by `backupd import-job` from the properties of the old job. Each key says from which"
    " variable it came; those that are not here have their defaults: man backupd-config."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A key of the config, and from which variables it came; an element as `name[key]`.

    `words` say more; where there are no variables, why the key is there.
    """

    section: tuple[str, ...]  # () for the file itself, ("feeds", "traffic")
    name: str
    value: Any
    variables: tuple[str, ...] = ()
    words: str = ""

    @property
    def key(self) -> str:
        """The dotted key."""
        return join(".".join(self.section), self.name)

    @property
    def comment(self) -> str:
        """Where it came from. Keys of arrays may hold anything: what is not plain is escaped."""
        if not self.variables:
            return _plain(self.words)
        return _plain("; ".join(filter(None, [f"from {' and '.join(self.variables)}", self.words])))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A variable (or an element of an array) that could not be carried over. No value is told."""

    variable: str
    why: str

    def __str__(self) -> str:
        """Return a line for people."""
        return _plain(f"{self.variable}: {self.why}")


@dataclass(frozen=True, slots=True)
class ToFillIn:
    """A key whose value the properties do not hold."""

    key: str
    what: str

    def __str__(self) -> str:
        """Return a line for people."""
        return _plain(f"{self.key}: {self.what}")


Piece = Setting | LeftOut | ToFillIn


def reader_of(setting: Setting) -> Key:
    """Return the schema's key for it."""
    entry: object = CONFIG
    for name in (*setting.section, setting.name):
        if isinstance(entry, NamedTables):
            entry = entry.each
        elif isinstance(entry, Table):
            entry = entry.entries[name]
    return entry  # type: ignore[return-value]  # the callers name keys that there are


def text(settings: Iterable[Setting]) -> str:
    """Return the config: the same for the same settings."""
    sections: dict[tuple[str, ...], list[Setting]] = {}
    for setting in settings:
        sections.setdefault(setting.section, []).append(setting)
    lines = [*_comment(_HEAD), ""]
    for section in sorted(sections, key=_place):
        lines += _section(section, sections[section])
    return "\n".join(lines)


def _place(section: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Return what puts sections into the schema's order."""
    return list(CONFIG.entries).index(section[0]) if section else -1, section


def _section(section: tuple[str, ...], settings: Iterable[Setting]) -> Iterator[str]:
    if section:
        yield f"[{'.'.join(map(_name, section))}]"
    for setting in settings:
        yield from _comment(setting.comment)
        yield f"{setting.name} = {toml(setting.value)}"
    yield ""


def _name(part: str) -> str:
    return part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)


def _comment(words: str) -> Iterator[str]:
    folding = textwrap.TextWrapper(WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    yield from (f"# {line}" for line in folding.wrap(words))


def _plain(words: str) -> str:
    """Return words that stay in their line, and in the config's encoding."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in words)
