"""Files out of manifest: which of them were delivered before, and what becomes of these."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING

import sqlalchemy as sa

from backupd.completeness.dates import day_of
from backupd.core.archive_names import versioned
from backupd.core.moves import NEVER, closed, requeued
from backupd.core.rows import made_row_id
from backupd.core.stages import UNSHIPPED, Awaits, Stage, Status
from backupd.ledger import arrivals, remembered
from backupd.ledger.files import move
from backupd.ledger.rows import file_of, in_chunks
from backupd.ledger.schema import files
from backupd.ledger.stories import with_receipt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from backupd.core.arrivals import Arrival
    from backupd.core.history import Remembered
    from backupd.core.records import FileRecord, Move


def manifest_done(connection: sa.Connection, moves: Sequence[Move]) -> list[bool | Remembered]:
    """Apply the moves out of manifest, those of duplicates to cleanup.

    Not those of files that may be duplicates of one that left for the history: it is to be put back
    first.

    In one transaction with the look for earlier files of the same name, and those of one name one
    after the other, so that two deliveries of one file can never both be taken for the first.
    """
    names = {(item.file.feed, item.file.relative_path) for item in moves}
    groups = [moves] if len(names) == len(moves) else [[item] for item in moves]
    return [applied for group in groups for applied in _manifest_done(connection, group)]


def _manifest_done(connection: sa.Connection, moves: Sequence[Move]) -> list[bool | Remembered]:
    found = _found(connection, moves)
    twins = _twins(moves, found)
    left = _left(connection, moves, twins)
    here = [item for item in moves if item.file.id not in left]
    applied = iter(_apply(connection, here, found, twins))
    return [left.get(item.file.id) or next(applied) for item in moves]


def _left(
    connection: sa.Connection, moves: Sequence[Move], twins: Mapping[str, Sequence[FileRecord]]
) -> dict[str, Remembered]:
    """Return for files that the ledger has no original of, which one left for the history."""
    wanted = {
        item.file.id: made_row_id(item.file, item.changes["sha256"])
        for item in moves
        if _may_be_duplicate(item) and not _originals(item, twins[item.file.id])
    }
    found = remembered.known(connection, wanted.values())
    return {
        item.file.id: found[key]._replace(sha256=item.changes["sha256"])
        for item in moves
        if (key := wanted.get(item.file.id)) in found
    }


def _apply(
    connection: sa.Connection,
    moves: Sequence[Move],
    found: Iterable[FileRecord],
    twins: Mapping[str, Sequence[FileRecord]],
) -> list[bool]:
    unproven = _unproven(connection, [twins[item.file.id] for item in moves])
    placed = [_with_twins(item, twins[item.file.id], unproven) for item in moves]
    applied = move(connection, placed)
    happened = list(compress(placed, applied))
    arrivals.count(connection, _arrivals(happened, found))
    _ship_again(connection, happened, unproven)
    _close_replaced(connection, happened, twins)
    return applied


def _arrivals(happened: Sequence[Move], found: Iterable[FileRecord]) -> list[Arrival]:
    """Return what is to be counted: each name once a date, however often it is delivered or read.

    A feed whose names tell no time may deliver the same one each day.
    """
    known: defaultdict[tuple[str, str, int], set[str]] = defaultdict(set)
    for file in found:
        if file.sha256 is not None and (at := file.file_timestamp) is not None:
            known[file.feed, file.relative_path, day_of(at)].add(file.id)
    return [
        arrival
        for item in happened
        if (arrival := item.arrival)
        and _is_new(item)
        and not known[arrival.feed, item.file.relative_path, arrival.day] - {item.file.id}
    ]


def _is_new(item: Move) -> bool:
    return item.file.sha256 is None and item.stage is Stage.LOAD


def _found(connection: sa.Connection, moves: Sequence[Move]) -> list[FileRecord]:
    """Return the files of these names whose content is known, and those of these rows, once each.

    One of another name that has a row was renamed since with its directory.
    """
    names = {(item.file.feed, item.file.relative_path) for item in moves}
    row_ids = {row_id for item in moves if (row_id := item.changes.get("row_id"))}
    found = [*_named(connection, names), *_with_rows(connection, row_ids)]
    return list({file.id: file for file in found}.values())


def _twins(moves: Sequence[Move], found: Iterable[FileRecord]) -> dict[str, list[FileRecord]]:
    """Return for each file the other ones of its name or row, oldest first."""
    by_name: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    by_row: defaultdict[str | None, list[str]] = defaultdict(list)
    for item in moves:
        by_name[item.file.feed, item.file.relative_path].append(item.file.id)
        if row_id := item.changes.get("row_id"):
            by_row[row_id].append(item.file.id)
    twins: dict[str, list[FileRecord]] = {item.file.id: [] for item in moves}
    for other in (other for other in found if not is_no_original(other)):
        alike = {*by_name[other.feed, other.relative_path], *by_row[other.row_id]}
        for file_id in alike - {other.id, other.duplicate_of}:
            twins[file_id].append(other)
    return {id_: sorted(others, key=lambda other: other.id) for id_, others in twins.items()}


def _with_rows(connection: sa.Connection, row_ids: Iterable[str]) -> Iterator[FileRecord]:
    for some in in_chunks(row_ids):
        query = sa.select(files).where(files.c.row_id.in_(some))
        yield from map(file_of, connection.execute(query))


def _named(connection: sa.Connection, names: Collection[tuple[str, str]]) -> Iterator[FileRecord]:
    """Yield the files of these (feed, relative path) whose content is known."""
    for some in in_chunks({os.fsencode(path) for _, path in names}):
        query = sa.select(files).where(files.c.relative_path.in_(some), files.c.sha256.is_not(None))
        found = map(file_of, connection.execute(query))
        yield from (file for file in found if (file.feed, file.relative_path) in names)


def is_no_original(file: FileRecord) -> bool:
    """Nobody can be a duplicate of it: its content left no trace, or is to be read once more."""
    if file.row_seen_at is not None:
        return False
    is_lost = file.status is Status.PARKED and not file.local
    return is_lost or file.is_closed or file.stage in {Stage.SETTLE, Stage.MANIFEST}


def _unproven(connection: sa.Connection, twins: Iterable[Sequence[FileRecord]]) -> set[str]:
    """Return which of these files were closed without a copy in the archive."""
    closed_ones = [file.id for some in twins for file in some if file.is_closed]
    return set(closed_ones) - with_receipt(connection, closed_ones)


def _with_twins(item: Move, twins: Sequence[FileRecord], unproven: Collection[str]) -> Move:
    if not _may_be_duplicate(item) or not twins:
        return item
    if same := _originals(item, twins):
        is_proven = same[0].status is Status.DONE and same[0].id not in unproven
        return _as_duplicate(item, same[0], waits=not is_proven)
    others = [twin for twin in twins if twin.sha256 != item.changes["sha256"]]
    return _under_another_name(item, others[0]) if others else item


def _may_be_duplicate(item: Move) -> bool:
    registered_before = item.file.row_seen_at is not None
    was_read = item.changes.get("sha256") is not None
    return was_read and item.stage is Stage.LOAD and not registered_before


def _originals(item: Move, twins: Iterable[FileRecord]) -> list[FileRecord]:
    """Return those of the same content that are no duplicates, oldest first.

    Whatever is a duplicate itself has its original among them, or that one left no trace, or left.
    """
    sha256 = item.changes["sha256"]
    return [twin for twin in twins if twin.sha256 == sha256 and twin.duplicate_of is None]


def _under_another_name(item: Move, other: FileRecord) -> Move:
    name = versioned(item.changes["archive_name"], item.changes["sha256"])
    detail = f"{item.detail}; other content than {other.id}, so it is shipped as {name}"
    return replace(item, changes={**item.changes, "archive_name": name}, detail=detail)


def _ship_again(
    connection: sa.Connection, moves: Sequence[Move], unproven: Collection[str]
) -> None:
    """A registered file was lost before it was shipped, and now a duplicate stands at its path.

    The row is the first one's, so it is the first one that ships what was delivered again.
    """
    ids = {item.changes["duplicate_of"] for item in moves if item.changes.get("duplicate_of")}
    for some in in_chunks(sorted(ids)):
        found = connection.execute(sa.select(files).where(files.c.id.in_(some)))
        firsts = [file_of(row) for row in found]
        lost = [file for file in firsts if _is_lost(file) or file.id in unproven]
        now = max(item.at for item in moves)
        move(connection, [_delivered_again(first, now) for first in lost])


def _is_lost(file: FileRecord) -> bool:
    """It was registered, and cannot be shipped; it is not held by hand."""
    is_parked = (file.status, file.awaits) == (Status.PARKED, Awaits.NOTHING)
    return is_parked and file.stage in UNSHIPPED


def _delivered_again(first: FileRecord, now: float) -> Move:
    move = requeued(first, UNSHIPPED[0], now)
    return replace(move, detail="its content was delivered again: shipped from there")


def _close_replaced(
    connection: sa.Connection, moves: Sequence[Move], twins: Mapping[str, Sequence[FileRecord]]
) -> None:
    """Other content was delivered to the path of registered files that were lost: they are over."""
    over = [
        _replaced(twin, item)
        for item in moves
        if item.changes.get("sha256")
        for twin in twins[item.file.id]
        if _is_replaced(twin, item)
    ]
    move(connection, over)


def _is_replaced(twin: FileRecord, item: Move) -> bool:
    is_other = twin.sha256 != item.changes["sha256"] and twin.path == item.file.path
    return is_other and _is_lost(twin) and not twin.local


def _replaced(lost: FileRecord, item: Move) -> Move:
    reason = (
        f"closed: delivered again with other content as {item.file.id};"
        " its own content was registered and never shipped"
    )
    return closed(lost, reason, item.at)


def _as_duplicate(item: Move, origin: FileRecord, *, waits: bool) -> Move:
    changes = {**item.changes, "duplicate_of": origin.id, "row_id": origin.row_id}
    if waits:
        reason = f"duplicate of {origin.id}: waits until that one is done"
        changes |= {"awaits": Awaits.ORIGINAL, "next_attempt_at": NEVER, "reason": reason}
    return replace(
        item,
        stage=Stage.CLEANUP,
        changes=changes,
        detail=f"same name and content as {origin.id}: "
        "a duplicate, not registered or shipped again",
    )
