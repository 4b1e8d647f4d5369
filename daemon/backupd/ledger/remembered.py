"""The files that left the ledger, in as few bytes as it takes to recognise one that comes again."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from backupd.core.history import Remembered
from backupd.core.rows import made_row_id
from backupd.ledger.engine import Prepared
from backupd.ledger.rows import in_chunks
from backupd.ledger.schema import remembered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backupd.core.records import FileRecord

_BYTES = 16
_NS = 1e9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).date()
FIRST_KEY = b""


def any_key() -> bytes:
    """Return a place to begin at.

    A pass takes days: a daemon that is started anew each night would come to the first keys alone.
    """
    return secrets.token_bytes(_BYTES)


def recognised_by(file: FileRecord) -> set[str]:
    """Return the ids of rows that the same file would have if it came again.

    One is by its name as it is now, the other by the one under which its row was made. Rows that
    older versions made have ids that nothing else has.
    """
    if file.sha256 is None:
        return set()
    found = {made_row_id(file, file.sha256), file.row_id or ""}
    return set(filter(is_key, found))


def is_known_here_alone(file: FileRecord) -> bool:
    """Return whether production would not recognise this file if it came again.

    Its row has another id than would be given to it now, or its date may be another one next time:
    that of its last change.
    """
    if file.sha256 is None:
        return False
    of_change = file.identity.mtime_ns / _NS
    is_renamed = file.row_id != made_row_id(file, file.sha256)
    return is_renamed or file.file_timestamp == of_change


def is_key(row_id: str) -> bool:
    """Return whether a row has an id that any daemon gives it, and not that of an old ledger."""
    return len(row_id) == 2 * _BYTES


def known(connection: sa.Connection, row_ids: Iterable[str]) -> dict[str, Remembered]:
    """Return which of these are remembered, by the id of the row."""
    found: dict[str, Remembered] = {}
    for some in in_chunks(map(bytes.fromhex, row_ids)):
        query = sa.select(remembered).where(remembered.c.row_id.in_(some))
        for key, day in connection.execute(query):
            found[key.hex()] = Remembered(key.hex(), _date(max(day, ~day)), lasts=day < 0)
    return found


def remember(connection: sa.Connection, items: Sequence[Remembered]) -> None:
    """Write what files that leave are recognised by."""
    if items:
        # In the order of the table: neighbours go to the same page.
        rows = [{"row_id": bytes.fromhex(each.row_id), "done_day": _day(each)} for each in items]
        _REMEMBER.run_all(connection, sorted(rows, key=lambda row: row["row_id"]))


_REMEMBER = Prepared(
    sa.insert(remembered)
    .prefix_with("OR REPLACE")
    .values({name: sa.bindparam(name) for name in ("row_id", "done_day")})
)


def expired(
    connection: sa.Connection, after: bytes, limit: int, before: str
) -> tuple[list[bytes], bytes]:
    """Return the keys behind `after` that were done before a date, and the last that was looked at.

    Those that last are not among them. `limit` keys are looked at; `FIRST_KEY` once there are no
    more.
    """
    query = (
        sa.select(remembered)
        .where(remembered.c.row_id > after)
        .order_by(remembered.c.row_id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    day = _day(Remembered("", before))
    last = rows[-1].row_id if len(rows) == limit else FIRST_KEY
    return [row.row_id for row in rows if 0 <= row.done_day < day], last


def forget(connection: sa.Connection, keys: Sequence[bytes]) -> list[None]:
    """Forget files: they are in the history alone from now on."""
    _FORGET.run_all(connection, [{"key": key} for key in keys])
    return [None] * len(keys)


_FORGET = Prepared(sa.delete(remembered).where(remembered.c.row_id == sa.bindparam("key")))


def _day(of: Remembered) -> int:
    day = (datetime.fromisoformat(of.done_date).date() - _EPOCH).days
    return ~day if of.lasts else day


def _date(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()
