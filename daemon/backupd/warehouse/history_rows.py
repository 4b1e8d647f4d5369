"""The rows of the history: a done file's story, whatever engine keeps it. Knows no files.

Times are seconds since the epoch, UTC, as doubles: a story comes back exactly as it was written.
Names and paths are written as `core.names.escaped` shows them, for text in Parquet is UTF-8.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Literal

from backupd.core.history import Story
from backupd.core.names import escaped, unescaped
from backupd.core.records import Event, FileRecord, Identity, Receipt, VerifiedBy
from backupd.core.stages import Awaits, Stage, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["string", "bigint", "double", "boolean"]  # as Hive and Impala call them

PARTITION = "done_date"  # YYYY-MM-DD: stands in the directory's name and not in the file

# `id` is the ledger's, `file_id` that of the row in production.
FILE_COLUMNS: dict[str, Kind] = {
    "host": "string",
    "id": "string",
    "file_id": "string",
    "file_name": "string",
    "file_name_key": "string",  # `name_key`: so that a query holds no name
    "path_key": "string",
    "feed": "string",
    "file_type": "string",
    "customer": "string",
    "path": "string",
    "relative_path": "string",
    "stage": "string",
    "status": "string",
    "reason": "string",
    "attempts": "bigint",
    "interruptions": "bigint",
    "claims": "bigint",
    "next_attempt_at": "double",
    "awaits": "string",
    "stage_since": "double",
    "first_seen_at": "double",
    "done_at": "double",
    "identity": "string",  # dev:ino:size:mtime_ns:ctime_ns
    "unchanged_since": "double",
    "local": "boolean",
    "companion_path": "string",
    "companion_text": "string",
    "disagreement": "string",
    "size_bytes": "bigint",
    "record_count": "bigint",
    "sha256": "string",
    "file_timestamp": "double",
    "file_date": "string",
    "batch_id": "string",
    "row_seen_at": "double",
    "duplicate_of": "string",
    "archive_name": "string",
    "trouble": "string",
    "proven_at": "double",
}
RECEIPT_FIELDS: dict[str, Kind] = {
    "archive_name": "string",
    "sha256": "string",
    "sent_sha256": "string",
    "remote_sha256": "string",
    "sent_bytes": "bigint",
    "verified_by": "string",
    "flushed": "boolean",
    "shipped_at": "double",
    "verified_at": "double",
    "named_by": "string",
}
EVENT_FIELDS: dict[str, Kind] = {
    "at": "double",
    "stage": "string",
    "status": "string",
    "detail": "string",
}
RECEIPT = "receipt"  # a struct of RECEIPT_FIELDS, or null
EVENTS = "events"  # an array of structs of EVENT_FIELDS, oldest first

_NAMES = ("path", "relative_path", "companion_path")
_DERIVED = frozenset({"host", "id", "file_id", "file_name", "file_name_key", "path_key"})
_ALIKE = tuple(  # columns that hold a field of the file as it is
    name
    for name in FILE_COLUMNS
    if name not in _DERIVED and name not in {*_NAMES, "identity", "file_date"}
)


def hive_types() -> dict[str, str]:
    """Return each column's type as Hive and Impala write it, in the table's order."""
    return {
        **FILE_COLUMNS,
        RECEIPT: _struct(RECEIPT_FIELDS),
        EVENTS: f"array<{_struct(EVENT_FIELDS)}>",
    }


def name_key(name: str) -> str:
    """Return what a name or a path is looked up by: 16 hex digits of its SHA-256."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def row_of(story: Story) -> dict[str, Any]:
    """Return a story's row: values of `FILE_COLUMNS`, `RECEIPT` a dict, `EVENTS` a list of them."""
    file, receipt = story.file, story.receipt
    return {
        **{name: getattr(file, name) for name in _ALIKE},
        **{name: _shown(getattr(file, name)) for name in _NAMES},
        "host": story.host,
        "id": file.id,
        "file_id": file.row_id,
        "file_name": escaped(file.file_name),
        "file_name_key": name_key(file.file_name),
        "path_key": name_key(file.path),
        "identity": ":".join(map(str, vars(file.identity).values())),
        "file_date": file.file_date,
        RECEIPT: receipt and {name: getattr(receipt, name) for name in RECEIPT_FIELDS},
        EVENTS: [{name: getattr(each, name) for name in EVENT_FIELDS} for each in story.events],
    }


def story_of(row: Mapping[str, Any]) -> Story:
    """Return the story that `row_of` made this row of."""
    values = {name: row[name] for name in _ALIKE}
    values |= {name: _meant(row[name]) for name in _NAMES}
    values["stage"], values["status"] = Stage(row["stage"]), Status(row["status"])
    values["awaits"] = Awaits(row["awaits"])
    values["identity"] = Identity(*map(int, row["identity"].split(":")))
    file = FileRecord(id=row["id"], row_id=row["file_id"], **values)
    return Story(
        host=row["host"],
        file=file,
        receipt=_receipt(file.id, row[RECEIPT]),
        events=tuple(_event(file.id, each) for each in row[EVENTS]),
    )


def _struct(fields: Mapping[str, Kind]) -> str:
    return f"struct<{','.join(f'{name}:{kind}' for name, kind in fields.items())}>"


def _shown(name: str | None) -> str | None:
    return None if name is None else escaped(name)


def _meant(shown: str | None) -> str | None:
    return None if shown is None else unescaped(shown)


def _receipt(file_id: str, row: Mapping[str, Any] | None) -> Receipt | None:
    if row is None:
        return None
    values = {name: row[name] for name in RECEIPT_FIELDS}
    values["verified_by"] = VerifiedBy(row["verified_by"])
    return Receipt(file_id=file_id, **values)


def _event(file_id: str, row: Mapping[str, Any]) -> Event:
    values = {name: row[name] for name in EVENT_FIELDS}
    values["stage"], values["status"] = Stage(row["stage"]), Status(row["status"])
    return Event(file_id=file_id, **values)
