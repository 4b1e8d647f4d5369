"""What is set right when a daemon starts."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from backupd.core.moves import NEVER, VANISHED, closed
from backupd.core.stages import Awaits, Stage, Status
from backupd.ledger.arrival_tables import watched_feeds
from backupd.ledger.files import move
from backupd.ledger.rows import file_of, in_chunks
from backupd.ledger.schema import (
    batches,
    events,
    files,
    incidents,
    notices,
    replacements,
    restores,
    row_counts_due,
    stories,
)
from backupd.ledger.stories import has_receipt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.core.records import FileRecord, Move
    from backupd.core.times import Pauses

# Where SQLite's header has the "application id", and what it is between the restore of a snapshot
# and the first start with it: so that it holds whatever the snapshot's schema version is.
RESTORED_AT = 68
RESTORED = 0x62616B52


def set_right(connection: sa.Connection, moments: Sequence[float]) -> list[int]:
    """Forget what was proven to an earlier process, and close phantoms; return how many these were.

    Items are times. A phantom is a row that earlier versions made of a file that was done: its name
    had been listed before it was removed.
    """
    connection.execute(_FORGET_PROOFS)
    if connection.exec_driver_sql("PRAGMA application_id").scalar_one() == RESTORED:
        _forget_unread(connection)
        connection.exec_driver_sql("PRAGMA application_id = 0")
        for now in moments:
            connection.execute(sa.insert(restores).prefix_with("OR REPLACE"), {"at": now})
    return [_close_phantoms(connection, now) for now in moments]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSet:
    """A clock that was set: to `now`. Nothing waits for longer than `pauses` say."""

    now: float
    pauses: Pauses


def bring_forward(connection: sa.Connection, steps: Sequence[ClockSet]) -> list[None]:
    """Have nothing wait for a time that only the clock as it was had in reach.

    What was proven just now may as well have been proven hours ago.
    """
    for step in steps:
        times = {
            "now": step.now,
            "at_most": step.now + step.pauses.longest,
            "kept_until": step.now + step.pauses.kept,
        }
        for statement in (*_NOT_LATER, _FORGET_PROOFS):
            connection.execute(statement, times)
    return [None] * len(steps)


_NOW = sa.bindparam("now", type_=sa.Float)
_TOO_FAR = sa.bindparam("at_most", type_=sa.Float)
_KEPT_UNTIL = sa.bindparam("kept_until", type_=sa.Float)
_DUE_FILES = (
    sa.update(files)
    .where(
        files.c.status == sa.literal_column("'waiting'"),
        files.c.next_attempt_at > _TOO_FAR,
        files.c.next_attempt_at < NEVER,
        files.c.awaits != Awaits.KEEP,
    )
    .values(next_attempt_at=_NOW)
)
_KEPT_FILES = (
    sa.update(files)
    .where(
        files.c.status == sa.literal_column("'waiting'"),
        files.c.next_attempt_at > _KEPT_UNTIL,
        files.c.awaits == Awaits.KEEP,
    )
    .values(next_attempt_at=_KEPT_UNTIL)
)
_DUE_BATCHES = (
    sa.update(batches)
    .where(batches.c.done_at.is_(None), batches.c.next_attempt_at > _TOO_FAR)
    .values(next_attempt_at=_NOW)
)
_SINCE = (
    sa.update(files)
    .where(files.c.status != sa.literal_column("'done'"), files.c.stage_since > _NOW)
    .values(stage_since=_NOW)
)
# Not at once: what a statement does whose end is not known has to be waited for.
_ROW_COUNTS = (
    sa.update(row_counts_due).where(row_counts_due.c.due_at > _TOO_FAR).values(due_at=_TOO_FAR)
)
_IS_OPEN = incidents.c.closed_at.is_(None)
_OPENED = sa.update(incidents).where(_IS_OPEN, incidents.c.opened_at > _NOW).values(opened_at=_NOW)
_TRIED = (
    sa.update(incidents)
    .where(_IS_OPEN, incidents.c.next_try_at > _TOO_FAR)
    .values(next_try_at=_NOW)
)
_TOLD = sa.update(notices).where(notices.c.at > _NOW).values(at=_NOW)
# Old directories are removed a day after: a day from now, then.
_REPLACED = sa.update(replacements).where(replacements.c.since > _NOW).values(since=_NOW)
# Until then no date of these feeds would be judged.
_WATCHED = sa.update(watched_feeds).where(watched_feeds.c.since > _NOW).values(since=_NOW)
_EXPECTED = (
    sa.update(watched_feeds).where(watched_feeds.c.terms_since > _NOW).values(terms_since=_NOW)
)
_RESTORED = (
    sa.update(restores).prefix_with("OR REPLACE").where(restores.c.at > _NOW).values(at=_NOW)
)
_NOT_LATER = (
    _DUE_FILES,
    _KEPT_FILES,
    _DUE_BATCHES,
    _SINCE,
    _ROW_COUNTS,
    _OPENED,
    _TRIED,
    _TOLD,
    _REPLACED,
    _WATCHED,
    _EXPECTED,
    _RESTORED,
)
# What is done or parked has none any more, what ran is interrupted.
_FORGET_PROOFS = (
    sa.update(files)
    .where(
        files.c.stage == sa.literal_column("'cleanup'"),
        files.c.status == sa.literal_column("'waiting'"),
        files.c.proven_at.is_not(None),
    )
    .values(proven_at=None)
)


def _forget_unread(connection: sa.Connection) -> None:
    """Forget files that had not been read when a snapshot was taken, which was restored now.

    They may have been done since, and be gone: that is no trouble. Those that are still there are
    found again.
    """
    for table in (events, stories):
        connection.execute(sa.delete(table).where(table.c.file_id.in_(_UNREAD)))
    connection.execute(_DELETE_UNREAD)


_others = files.alias()
_UNREAD = sa.select(files.c.id).where(
    files.c.status.in_([Status.WAITING, Status.RUNNING]),
    files.c.status != sa.literal_column("'done'"),
    files.c.stage.in_([Stage.SETTLE, Stage.MANIFEST]),
    files.c.row_seen_at.is_(None),
    files.c.batch_id.is_(None),
    ~has_receipt(files.c.id),
    ~sa.exists().where(_others.c.duplicate_of == files.c.id),
)
_DELETE_UNREAD = sa.delete(files).where(files.c.id.in_(_UNREAD))


def _close_phantoms(connection: sa.Connection, now: float) -> int:
    suspects = sa.select(files).where(
        files.c.status != sa.literal_column("'done'"),
        files.c.status == Status.PARKED,
        files.c.stage == Stage.SETTLE,
        files.c.local.is_(sa.false()),
        files.c.reason.startswith(VANISHED),
    )
    found = [file_of(row) for row in connection.execute(suspects)]
    ends = [move for some in in_chunks(found) for move in _laid(connection, some, now)]
    return sum(move(connection, ends))


def _laid(connection: sa.Connection, suspects: Sequence[FileRecord], now: float) -> list[Move]:
    shipped = _shipped(connection, suspects)
    moves = []
    for file in suspects:
        real = next((each for each in shipped[file.path] if _is_same(each, file)), None)
        if real is not None:
            reason = f"closed: it never was a file of its own, but {real.id} just before its end"
            moves.append(closed(file, reason, now))
    return moves


def _shipped(
    connection: sa.Connection, suspects: Sequence[FileRecord]
) -> defaultdict[str, list[FileRecord]]:
    """Return by path the done files that have a receipt, or whose original has."""
    paths = {os.fsencode(file.path) for file in suspects}
    holder = sa.func.coalesce(files.c.duplicate_of, files.c.id)
    query = sa.select(files).where(
        files.c.path.in_(paths),
        files.c.status == Status.DONE,
        has_receipt(holder),
    )
    found: defaultdict[str, list[FileRecord]] = defaultdict(list)
    for row in connection.execute(query):
        file = file_of(row)
        found[file.path].append(file)
    return found


def _is_same(real: FileRecord, phantom: FileRecord) -> bool:
    """Compare all but the ctime, which a rename or a chmod moves."""
    one, other = real.identity, phantom.identity
    is_same_inode = (one.dev, one.ino) == (other.dev, other.ino)
    return is_same_inode and (one.size, one.mtime_ns) == (other.size, other.mtime_ns)
