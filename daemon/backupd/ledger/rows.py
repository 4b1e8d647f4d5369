"""Records to rows and back."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from backupd.core.records import (
    SHA256_FORM,
    Batch,
    Event,
    FileRecord,
    Identity,
    Receipt,
    VerifiedBy,
)
from backupd.core.stages import Awaits, Stage, Status
from backupd.ledger.schema import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_Item = TypeVar("_Item")

_PATHS = ("path", "relative_path", "companion_path")
# Interned, as the names of parameters are: otherwise each is compared letter by letter.
_FILE_COLUMNS = tuple(sys.intern(str(name)) for name in files.c.keys())  # noqa: SIM118
_FILE_FIELDS = tuple(field.name for field in fields(FileRecord))


def in_chunks(items: Iterable[_Item], size: int = 500) -> Iterator[list[_Item]]:
    """Yield the items in lists of at most `size`: so many parameters a query may have."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def found_among(
    connection: sa.Connection,
    column: sa.Column[Any],
    values: Iterable[str],
    *conditions: sa.ColumnElement[bool],
) -> set[str]:
    """Return which of these values a column holds in rows that meet the conditions."""
    found: set[str] = set()
    for some in in_chunks(values):
        query = sa.select(column).where(column.in_(some), *conditions)
        found.update(connection.execute(query).scalars())
    return found


def identity_text(identity: Identity) -> str:
    """Write an identity as the ledger holds it."""
    parts = (identity.dev, identity.ino, identity.size, identity.mtime_ns, identity.ctime_ns)
    return ":".join(map(str, parts))


def identity_of(text: str) -> Identity:
    """Read an identity as the ledger holds it."""
    return Identity(*map(int, text.split(":")))


def sum_bytes(sha256: str) -> str | bytes:
    """Write a sum as the ledger holds it: in half as many bytes as it has digits."""
    return bytes.fromhex(sha256) if SHA256_FORM.fullmatch(sha256) else sha256


def sum_text(held: str | bytes | None) -> str | None:
    """Read a sum as the ledger holds it. Older versions wrote the digits."""
    return held.hex() if isinstance(held, bytes) else held


def file_values(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Turn fields of FileRecord into column values."""
    values = dict(changes)
    for name in _PATHS:
        if values.get(name) is not None:
            values[name] = os.fsencode(values[name])
    if values.get("sha256") is not None:
        values["sha256"] = sum_bytes(values["sha256"])
    if "identity" in values:
        values["identity"] = identity_text(values["identity"])
    return values


def new_file_row(file: FileRecord) -> dict[str, Any]:
    """Return the whole row of a new file."""
    values = {name: getattr(file, name) for name in _FILE_FIELDS}
    name = "" if file.file_name == file.relative_path else file.file_name
    return file_values(values) | {"file_name": os.fsencode(name)}


def file_of(row: sa.Row[Any]) -> FileRecord:
    """Return the file that a row of `files` holds."""
    values = dict(zip(_FILE_COLUMNS, row, strict=True))
    del values["file_name"]
    values["stage"] = Stage(values["stage"])
    values["status"] = Status(values["status"])
    values["awaits"] = Awaits(values["awaits"])
    values["identity"] = identity_of(values["identity"])
    values["sha256"] = sum_text(values["sha256"])
    for name in _PATHS:
        if values[name] is not None:
            values[name] = os.fsdecode(values[name])
    file = object.__new__(FileRecord)
    vars(file).update(values)  # every field: the class's own way takes twice as long, being frozen
    return file


def batch_of(row: sa.Row[Any], members: Sequence[str]) -> Batch:
    """Return the batch that a row of `batches` holds."""
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name for it
    values["stage"] = Stage(values["stage"])
    values["status"] = Status(values["status"])
    return Batch(**values, members=tuple(members))


def receipt_of(row: sa.Row[Any]) -> Receipt:
    """Return the receipt that a row of `receipts` holds."""
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name for it
    values["verified_by"] = VerifiedBy(values["verified_by"])
    return Receipt(**values)


def receipt_row(receipt: Receipt) -> dict[str, Any]:
    """Return the row of a receipt."""
    return dict(vars(receipt))


def event_of(row: sa.Row[Any]) -> Event:
    """Return the event that a row of `events` holds."""
    return Event(
        file_id=row.file_id,
        at=row.at,
        stage=Stage(row.stage),
        status=Status(row.status),
        detail=row.detail,
    )


def time_or_none(value: object) -> float | None:
    """Return a time as a query found it; None where it found none."""
    return value if isinstance(value, float) else None
