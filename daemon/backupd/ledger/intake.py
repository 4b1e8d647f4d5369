"""What intake sees and knows of files, new ones and companions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from backupd.core.moves import closed
from backupd.core.records import DoneFile, Event, FileRecord, Known, Move, Seen, Sighting, new_id
from backupd.core.stages import Awaits, Stage, Status
from backupd.ledger.engine import Prepared
from backupd.ledger.files import move, record
from backupd.ledger.rows import file_of, identity_of, in_chunks, new_file_row, sum_text
from backupd.ledger.schema import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


_LOOKUPS = 500  # paths a query: SQLite's own bound on parameters is far above


def known(connection: sa.Connection, paths: Sequence[str]) -> dict[str, Known]:
    """Return what the ledger holds of these paths: what a scan compares."""
    return {
        path: Known(newest.token, identity_of(newest.identity), newest.stays)
        if newest.local
        else Known(newest.token, None)
        for path, newest in _newest(connection, paths).items()
    }


class _Newest(NamedTuple):
    """The newest row of a path. Where a path has a local row, it is this one."""

    id: str
    identity: str
    local: bool
    stage: str
    status: str
    awaits: str

    @property
    def token(self) -> str:
        """Return what is another one when the path has a newer row, or its file is gone."""
        return self.id if self.local else f"{self.id} gone"

    @property
    def is_open(self) -> bool:
        return self.status in {Status.WAITING, Status.RUNNING}

    @property
    def stays(self) -> bool:
        """Return whether it is done, or held by hand."""
        is_held = self.status == Status.PARKED and self.awaits == Awaits.RELEASE
        return is_held or self.status == Status.DONE


def _newest(connection: sa.Connection, paths: Sequence[str]) -> dict[str, _Newest]:
    rows = _newest_rows(connection, paths)
    return {os.fsdecode(path): _Newest(*others) for path, *others in rows}


def _newest_rows(
    connection: sa.Connection, paths: Sequence[str]
) -> Iterator[sa.Row[*tuple[Any, ...]]]:
    """Yield the newest row of each path; where nearly all are local, as fast as those are found."""
    for some in in_chunks(map(os.fsencode, paths), _LOOKUPS):
        local = _at(connection, _LOCAL, some)
        yield from local
        others = set(some).difference(row[0] for row in local)
        if others:
            yield from _at(connection, _NEWEST, list(others))


def _at(
    connection: sa.Connection, statement: Prepared, paths: Sequence[bytes]
) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    wanted = (*paths, *[paths[-1]] * (_LOOKUPS - len(paths)))
    return statement.run(connection, dict(zip(_PATHS, wanted, strict=True))).all()


# Of a fixed number of paths, so that its text is made once: a rescan asks for each file there is.
# The newest is the one that was written last: ids follow a clock, which can be set back.
_PATHS = tuple(f"path_{number}" for number in range(_LOOKUPS))
_WANTED: list[sa.BindParameter[Any]] = [sa.bindparam(name) for name in _PATHS]
_COLUMNS = [
    files.c[name] for name in ("path", "id", "identity", "local", "stage", "status", "awaits")
]
_LOCAL = Prepared(sa.select(*_COLUMNS).where(files.c.path.in_(_WANTED), files.c.local))
_OF_PATH = files.alias("of_path")
_LAST: sa.Select[Any] = (
    sa.select(sa.func.max(sa.literal_column("of_path.rowid")))
    .where(_OF_PATH.c.path.in_(_WANTED))
    .group_by(_OF_PATH.c.path)
)
_NEWEST = Prepared(sa.select(*_COLUMNS).where(sa.literal_column("files.rowid").in_(_LAST)))


def see(connection: sa.Connection, sightings: Sequence[Sighting]) -> list[Seen]:
    """Write a row for every file that is new, and say of each sighting what became of it.

    A path whose last file is done or parked may hold another file by now: that one is new. But
    where something happened to the path since the caller asked what was known of it, what was seen
    may be the very file that was removed meanwhile: then it has to be looked at again.
    """
    there = _newest(connection, [sighting.path for sighting in sightings])
    made: dict[str, FileRecord] = {}
    answers = [_take(sighting, there.get(sighting.path), made) for sighting in sightings]
    if made:
        _hand_over(connection, there, made)
        _INSERT.run_all(connection, [new_file_row(file) for file in made.values()])
        record(connection, map(_seen_event, made.values()))
    return answers


def _take(sighting: Sighting, newest: _Newest | None, made: dict[str, FileRecord]) -> Seen:
    if sighting.path in made or (newest is not None and _is_known(sighting, newest)):
        return Seen.KNOWN
    if sighting.knew != (None if newest is None else newest.token):
        return Seen.LOOK_AGAIN
    made[sighting.path] = _first_sight(sighting)
    return Seen.NEW


def _is_known(sighting: Sighting, newest: _Newest) -> bool:
    if not newest.local:
        return False
    return newest.is_open or identity_of(newest.identity) == sighting.identity


def _hand_over(
    connection: sa.Connection, there: Mapping[str, _Newest], made: Mapping[str, FileRecord]
) -> None:
    """The paths of these new files had others before: those let go, or are closed."""
    paths = [path for path in made if path in there]
    if not paths:
        return
    lost = _close_lost(connection, made, paths)
    _let_go(connection, [(there[p], made[p]) for p in paths if there[p].id not in lost])
    make_good(connection, [made[path] for path in paths])


def _close_lost(
    connection: sa.Connection, made: Mapping[str, FileRecord], paths: Sequence[str]
) -> set[str]:
    """Close the parked files whose content went with their path; return their ids.

    What was registered and not shipped stays as it is until the content of the new one is known.
    """
    lost: list[FileRecord] = []
    for some in in_chunks(map(os.fsencode, paths), _LOOKUPS):
        query = sa.select(files).where(
            files.c.path.in_(some),
            files.c.status == Status.PARKED,
            sa.or_(files.c.row_seen_at.is_(None), files.c.stage == Stage.CLEANUP),
        )
        lost += [file_of(row) for row in connection.execute(query)]
    move(connection, [_given_up(file, made[file.path]) for file in lost])
    return {file.id for file in lost}


def _given_up(lost: FileRecord, new: FileRecord) -> Move:
    reason = f"closed: delivered again as {new.id}"
    return closed(lost, reason, new.first_seen_at, local=False)


_INSERT = Prepared(sa.insert(files))


def wake_companions(connection: sa.Connection, wakes: Sequence[tuple[str, float]]) -> list[None]:
    """Make the settling files due whose companion was seen: items are (companion path, now)."""
    connection.execute(
        _WAKE_COMPANIONS,
        [{"companion": os.fsencode(path), "now": now} for path, now in wakes],
    )
    return [None] * len(wakes)


def late_companions(connection: sa.Connection, stems: Mapping[str, str]) -> dict[str, DoneFile]:
    """Return the companions all of whose files are done and gone, with the newest of these."""
    found: dict[str, DoneFile] = {}
    for path, stem in stems.items():
        values = {"companion": path, "stem": stem, "low": f"{stem}.", "high": f"{stem}/"}
        encoded = {name: os.fsencode(value) for name, value in values.items()}
        rows = _OF_COMPANION.run(connection, encoded).all()
        if rows and all(row.status == Status.DONE and not row.local for row in rows):
            found[path] = DoneFile(rows[0].feed, rows[0].size_bytes, sum_text(rows[0].sha256))
    return found


# By the path, which has an index: it is the companion's but for the last extension.
_OF_COMPANION = Prepared(
    sa.select(*(files.c[name] for name in ("feed", "size_bytes", "sha256", "status", "local")))
    .where(
        sa.or_(
            files.c.path == sa.bindparam("stem"),
            sa.and_(files.c.path >= sa.bindparam("low"), files.c.path < sa.bindparam("high")),
        ),
        files.c.companion_path == sa.bindparam("companion"),
    )
    .order_by(sa.literal_column("files.rowid").desc())
)
_WAKE_COMPANIONS = (
    sa.update(files)
    .where(
        files.c.companion_path == sa.bindparam("companion"),
        files.c.stage == sa.literal_column("'settle'"),
        files.c.status == Status.WAITING,
        # The sum keeps SQLite from looking it up in `files_due`, through all files that settle.
        files.c.next_attempt_at + 0.0 > sa.bindparam("now"),
    )
    .values(next_attempt_at=sa.bindparam("now"))
)


def make_good(connection: sa.Connection, new: Sequence[FileRecord]) -> None:
    """What is delivered again ends the trouble of a parked file that stood there before."""
    connection.execute(_MAKE_GOOD, [{"again": os.fsencode(file.path)} for file in new])


def _first_sight(sighting: Sighting) -> FileRecord:
    now = sighting.seen_at
    return FileRecord(
        id=new_id(now),
        feed=sighting.feed.name,
        file_type=sighting.feed.file_type,
        customer=sighting.feed.customer,
        path=sighting.path,
        relative_path=sighting.relative_path,
        stage=Stage.SETTLE,
        status=Status.WAITING,
        reason=sighting.reason,
        attempts=0,
        interruptions=0,
        claims=0,
        next_attempt_at=now if sighting.look_at is None else sighting.look_at,
        awaits=Awaits.NOTHING,
        stage_since=now,
        first_seen_at=now,
        done_at=None,
        identity=sighting.identity,
        unchanged_since=now,
        local=True,
        companion_path=sighting.companion_path,
        companion_text=None,
        disagreement=None,
        size_bytes=None,
        record_count=None,
        sha256=None,
        file_timestamp=None,
        batch_id=None,
        row_seen_at=None,
        duplicate_of=None,
        archive_name=None,
    )


def _seen_event(file: FileRecord) -> Event:
    return Event(
        file_id=file.id,
        at=file.first_seen_at,
        stage=file.stage,
        status=file.status,
        detail="first seen",
    )


def _let_go(connection: sa.Connection, pairs: Sequence[tuple[_Newest, FileRecord]]) -> None:
    """The path belongs to a newer file now."""
    pairs = [(old, new) for old, new in pairs if old.local]
    if not pairs:
        return
    connection.execute(_LET_GO, [{"old": old.id} for old, _ in pairs])
    record(
        connection,
        [
            Event(
                file_id=old.id,
                at=file.first_seen_at,
                stage=Stage(old.stage),
                status=Status(old.status),
                detail=f"its path holds a newer file now: {file.id}",
            )
            for old, file in pairs
        ],
    )


_MAKE_GOOD = (
    sa.update(files)
    .where(files.c.path == sa.bindparam("again"), files.c.trouble != sa.literal_column("''"))
    .values(trouble="")
)
_LET_GO = sa.update(files).where(files.c.id == sa.bindparam("old")).values(local=False)
