"""Places by their marks, and where the feeds' directories were."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.core.places import Witness
from backupd.core.records import (
    FeedMount,
)
from backupd.core.rows import RowKey
from backupd.core.stages import Status
from backupd.ledger.rows import (
    file_of,
    in_chunks,
)
from backupd.ledger.schema import DONE, feed_mounts, files, places, warehouse_files
from backupd.ledger.stories import newest_receipts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def remember_places(
    connection: sa.Connection, found: Sequence[tuple[str, str, float]]
) -> list[None]:
    """Write which mark each place bears, over what was known: items are (name, mark, now)."""
    rows = [{"name": name, "mark": mark, "known_since": now} for name, mark, now in found]
    connection.execute(sa.insert(places).prefix_with("OR REPLACE"), rows)
    return [None] * len(found)


def remember_warehouse_files(
    connection: sa.Connection, sums: Sequence[tuple[str, str]]
) -> list[None]:
    """Write which SHA-256 each file has, over what was known: items are (name, sha256)."""
    rows = [{"name": name, "sha256": sha256} for name, sha256 in sums]
    connection.execute(sa.insert(warehouse_files).prefix_with("OR REPLACE"), rows)
    return [None] * len(sums)


def forget_warehouse_files(connection: sa.Connection, names: Sequence[str]) -> list[None]:
    """Forget files that are in the warehouse no more."""
    for some in in_chunks(names):
        connection.execute(sa.delete(warehouse_files).where(warehouse_files.c.name.in_(some)))
    return [None] * len(names)


def remember_roots(connection: sa.Connection, roots: Sequence[tuple[str, FeedMount]]) -> list[None]:
    """Write where each feed's directory was seen: items are (feed, where)."""
    rows = [{"feed": feed, **_encoded(root)} for feed, root in roots]
    connection.execute(sa.insert(feed_mounts).prefix_with("OR REPLACE"), rows)
    return [None] * len(roots)


def _encoded(root: FeedMount) -> dict[str, bytes | None]:
    paths = {"mount": root.mount, "directory": root.directory, "real_path": root.real_path}
    return {name: None if path is None else os.fsencode(path) for name, path in paths.items()}


def seen_feeds(connection: sa.Connection) -> frozenset[str]:
    """Return the feeds whose directory was there once."""
    return frozenset(connection.execute(sa.select(feed_mounts.c.feed)).scalars())


def mounts(connection: sa.Connection) -> dict[str, FeedMount]:
    """Return where each feed was last seen."""
    open_files = sa.select(files.c.id).where(
        files.c.status != DONE,
        files.c.status.in_([Status.WAITING, Status.RUNNING, Status.PARKED]),
        files.c.feed == feed_mounts.c.feed,
        files.c.local,
    )
    query = sa.select(feed_mounts, open_files.exists().label("has_files"))
    return {row.feed: _mount_of(row) for row in connection.execute(query)}


def _mount_of(row: sa.Row[Any]) -> FeedMount:
    return FeedMount(
        mount=os.fsdecode(row.mount),
        directory=None if row.directory is None else os.fsdecode(row.directory),
        real_path=None if row.real_path is None else os.fsdecode(row.real_path),
        has_files=bool(row.has_files),
    )


def place(connection: sa.Connection, name: str) -> str | None:
    """Return the mark of a place that the ledger writes to; None where it knows no such place."""
    query = sa.select(places.c.mark).where(places.c.name == name)
    found = connection.execute(query).scalar_one_or_none()
    return found if found is None else str(found)


def warehouse_sums(connection: sa.Connection, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 that these files of the warehouse were written with, where it is known."""
    found: dict[str, str] = {}
    for some in in_chunks(names):
        query = sa.select(warehouse_files).where(warehouse_files.c.name.in_(some))
        found.update((row.name, row.sha256) for row in connection.execute(query))
    return found


def witnesses(connection: sa.Connection, limit: int) -> list[Witness]:
    """Return the newest copies that must be in the archive, newest first."""
    found = newest_receipts(connection, limit)
    return [Witness(receipt.archive_name, receipt.sent_bytes) for receipt in found]


def row_witnesses(connection: sa.Connection, limit: int) -> list[RowKey]:
    """Return the newest rows that must be in production, newest first."""
    query = (
        sa.select(files)
        .where(
            files.c.row_seen_at.is_not(None),
            files.c.row_id.is_not(None),
            files.c.file_timestamp.is_not(None),
        )
        .order_by(files.c.id.desc())
        .limit(limit)
    )
    found = [file_of(row) for row in connection.execute(query)]
    return [RowKey(file.row_id, file.file_date) for file in found if file.row_id and file.file_date]
