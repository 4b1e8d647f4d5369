"""Carries the old job's variables over into a config."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.config.readers import BadValueError
from backupd.migration.archive import archive
from backupd.migration.draft import LeftOut, Setting, ToFillIn, reader_of, text
from backupd.migration.feeds import feeds
from backupd.migration.properties import Properties
from backupd.migration.warehouse import warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backupd.migration.declarations import Value
    from backupd.migration.draft import Piece

_ENVIRONMENTS = {"prod": "prod", "production": "prod", "dev": "dev", "development": "dev"}
_WINDOWS = (
    "the carriage return at the end: the file has Windows line ends, with which bash loses arrays;"
    r" convert it (sed -i 's/\r$//' FILE) and try again"
)
_ADDRESS = re.compile(r"[^\s,;<>@]+@[^\s,;<>@]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """A config's text, and what is to be told of it."""

    text: str
    left_out: tuple[LeftOut, ...]
    to_fill_in: tuple[ToFillIn, ...]


def carry_over(values: Mapping[str, Value]) -> Import:
    """Make a config of the variables. The feeds' directories are looked at on this host."""
    properties = Properties(dict(_readable(values)))
    pieces = [_checked(piece) for piece in _pieces(properties)]
    left_out = [piece for piece in pieces if isinstance(piece, LeftOut)]
    left_out += [LeftOut(name, "is not UTF-8 text") for name in values.keys() - properties.values]
    left_out += [LeftOut(", ".join(names), why) for why, names in properties.unused().items()]
    if names := properties.of_windows():
        left_out.append(LeftOut(", ".join(names), _WINDOWS))
    return Import(
        text=text(piece for piece in pieces if isinstance(piece, Setting)),
        left_out=tuple(left_out),
        to_fill_in=tuple(piece for piece in pieces if isinstance(piece, ToFillIn)),
    )


def _pieces(properties: Properties) -> Iterator[Piece]:
    yield from _environment(properties)
    yield from _batch(properties)
    yield from warehouse(properties)
    archive_root, of_feeds = feeds(properties)
    yield from archive(properties, archive_root)
    yield from _status_file(properties)
    yield from _alerts(properties)
    yield from of_feeds


def _readable(values: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    for name, value in values.items():
        items = [value] if isinstance(value, str) else [*value, *value.values()]
        if not any("\ud800" <= letter <= "\udfff" for each in items for letter in each):
            yield name, value


def _checked(piece: Piece) -> Piece:
    """Leave out what the key does not take, without repeating it."""
    if not isinstance(piece, Setting):
        return piece
    reader = reader_of(piece).reader
    try:
        reader.read(piece.value)
    except BadValueError:
        names = " and ".join(piece.variables) or piece.key
        return LeftOut(names, f"{piece.key} does not take its value: it takes {reader.allowed}")
    return piece


def _environment(properties: Properties) -> Iterator[Piece]:
    if found := properties.text("environment"):
        if mode := _ENVIRONMENTS.get(found.value.lower()):
            yield Setting(section=(), name="environment", value=mode, variables=(found.name,))
        else:
            yield LeftOut(found.name, "it is neither PROD nor DEV")


def _batch(properties: Properties) -> Iterator[Piece]:
    if found := properties.text("files at once"):
        yield Setting(
            section=("batch",),
            name="max_files",
            value=int(found.value) if found.value.isascii() and found.value.isdigit() else None,
            variables=(found.name,),
            words="files in one load; there is no limit a night",
        )


def _status_file(properties: Properties) -> Iterator[Piece]:
    if found := properties.text("status file"):
        yield Setting(
            section=("status_file",),
            name="path",
            value=found.value,
            variables=(found.name,),
            words="the old job writes it too: never run both at once",
        )


def _alerts(properties: Properties) -> Iterator[Piece]:
    sender = properties.text("sender")
    receivers = {
        "ticket_to": properties.text("ticket mailbox"),
        "to": properties.text("recipients"),
    }
    found = {name: each for name, each in receivers.items() if each}
    if sender is None or not found:
        for each in [sender, *found.values()]:
            if each:
                yield LeftOut(each.name, "for mail there must be a sender and a recipient")
        return
    yield Setting(
        section=("alerts",),
        name="smtp_url",
        value="smtp://localhost:25",
        words="this host's mail server, to which mailx of the old job gives its mails too",
    )
    yield Setting(section=("alerts",), name="from", value=sender.value, variables=(sender.name,))
    for name, each in found.items():
        addresses = _ADDRESS.findall(each.value)
        yield Setting(section=("alerts",), name=name, value=addresses, variables=(each.name,))
