"""What intake and manifest write: new files, and which of them are duplicates."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.core.archive_names import versioned
from backupd.core.moves import NEVER, requeued
from backupd.core.records import Event, FileRecord, Identity, Move, Sighting, new_id
from backupd.core.stages import Stage, Status
from backupd.ledger import verbs
from backupd.ledger.prepared import Prepared
from backupd.ledger.rows import file_of, identity_of, in_chunks, new_file_row
from backupd.ledger.schema import feed_mounts, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from backupd.core.records import FeedMount

_LOOKUPS = 500  # paths a query: SQLite's own bound on parameters is far above


@dataclass(frozen=True, slots=True)
class _Known:
    id: str
    identity: Identity
    stage: str
    status: str


def known(connection: sa.Connection, paths: Sequence[str]) -> dict[str, _Known]:
    """Return what the ledger holds of the local files at these paths."""
    columns = (files.c.path, files.c.id, files.c.identity, files.c.stage, files.c.status)
    found: dict[str, _Known] = {}
    for some in in_chunks(map(os.fsencode, paths), _LOOKUPS):
        query = sa.select(*columns).where(files.c.path.in_(some), files.c.local)
        for path, id_, identity, stage, status in connection.execute(query):
            found[os.fsdecode(path)] = _Known(id_, identity_of(identity), stage, status)
    return found


def known_identities(connection: sa.Connection, paths: Sequence[str]) -> dict[str, Identity]:
    """Return the identities of the local files at these paths: what a rescan compares."""
    found: dict[str, Identity] = {}
    for some in in_chunks(map(os.fsencode, paths), _LOOKUPS):
        wanted = (*some, *[some[-1]] * (_LOOKUPS - len(some)))
        rows = _IDENTITIES.run(connection, dict(zip(_PATHS, wanted, strict=True))).all()
        for path, identity in rows:
            found[os.fsdecode(path)] = identity_of(identity)
    return found


# Of a fixed number of paths, so that its text is made once: a rescan asks for each file there is.
_PATHS = tuple(f"path_{number}" for number in range(_LOOKUPS))
_IDENTITIES = Prepared(
    sa.select(files.c.path, files.c.identity).where(
        files.c.path.in_([sa.bindparam(name) for name in _PATHS]), files.c.local
    )
)


def see(connection: sa.Connection, sightings: Sequence[Sighting]) -> list[bool]:
    """Write a row for every file that is not known yet; tell which were new.

    A path whose last file is done or parked may hold another file by now: that one is new.
    """
    there = known(connection, [sighting.path for sighting in sightings])
    seen: set[str] = set()
    new: list[FileRecord] = []
    for sighting in sightings:
        if sighting.path not in seen and _is_new(sighting, there.get(sighting.path)):
            new.append(_first_sight(sighting))
            seen.add(sighting.path)
    _let_go(connection, [(there[file.path], file) for file in new if file.path in there])
    if new:
        make_good(connection, new)
        _INSERT.run_all(connection, [new_file_row(file) for file in new])
        verbs.record(connection, map(_seen_event, new))
    return _consume(sightings, seen)


_INSERT = Prepared(sa.insert(files))


def manifest_done(connection: sa.Connection, moves: Sequence[Move]) -> list[bool]:
    """Apply the moves out of manifest, those of duplicates to cleanup.

    In one transaction with the look for earlier files of the same name, and those of one name one
    after the other, so that two deliveries of one file can never both be taken for the first.
    """
    names = {(item.file.feed, item.file.relative_path) for item in moves}
    groups = [moves] if len(names) == len(moves) else [[item] for item in moves]
    return [applied for group in groups for applied in _manifest_done(connection, group)]


def _manifest_done(connection: sa.Connection, moves: Sequence[Move]) -> list[bool]:
    twins = _twins(connection, [item.file for item in moves])
    placed = [_with_twins(item, twins[item.file.id]) for item in moves]
    applied = verbs.move(connection, placed)
    _ship_again(connection, [item for item, done in zip(placed, applied, strict=True) if done])
    return applied


def wake_companions(connection: sa.Connection, wakes: Sequence[tuple[str, float]]) -> list[None]:
    """Make the settling files due whose companion was seen: items are (companion path, now)."""
    connection.execute(
        _WAKE_COMPANIONS,
        [{"companion": os.fsencode(path), "now": now} for path, now in wakes],
    )
    return [None] * len(wakes)


def remember_roots(connection: sa.Connection, roots: Sequence[tuple[str, FeedMount]]) -> list[None]:
    """Write where each feed's directory was seen: items are (feed, where)."""
    rows = [{"feed": feed, **_encoded(asdict(root))} for feed, root in roots]
    connection.execute(sa.insert(feed_mounts).prefix_with("OR REPLACE"), rows)
    return [None] * len(roots)


def _encoded(paths: dict[str, str | None]) -> dict[str, bytes | None]:
    return {name: None if path is None else os.fsencode(path) for name, path in paths.items()}


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


def _is_new(sighting: Sighting, known_file: _Known | None) -> bool:
    if known_file is None:
        return True
    settled = known_file.status in {Status.DONE, Status.PARKED}
    return settled and known_file.identity != sighting.identity


def _consume(sightings: Sequence[Sighting], new: set[str]) -> list[bool]:
    """Answer for each sighting; of a path that was seen twice, the first is the new one."""
    answers = []
    for sighting in sightings:
        answers.append(sighting.path in new)
        new.discard(sighting.path)
    return answers


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
        tries=0,
        next_attempt_at=now if sighting.look_at is None else sighting.look_at,
        awaits="",
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


def _let_go(connection: sa.Connection, pairs: Sequence[tuple[_Known, FileRecord]]) -> None:
    """The path belongs to a newer file now."""
    if not pairs:
        return
    connection.execute(_LET_GO, [{"old": known_file.id} for known_file, _ in pairs])
    verbs.record(
        connection,
        [
            Event(
                file_id=known_file.id,
                at=file.first_seen_at,
                stage=Stage(known_file.stage),
                status=Status(known_file.status),
                detail=f"its path holds a newer file now: {file.id}",
            )
            for known_file, file in pairs
        ],
    )


_MAKE_GOOD = (
    sa.update(files)
    .where(files.c.path == sa.bindparam("again"), files.c.trouble != sa.literal_column("''"))
    .values(trouble="")
)
_LET_GO = sa.update(files).where(files.c.id == sa.bindparam("old")).values(local=False)


def _twins(
    connection: sa.Connection, candidates: Sequence[FileRecord]
) -> dict[str, list[FileRecord]]:
    """Return for each file the other ones of its name whose content is known, oldest first."""
    by_name: defaultdict[tuple[str, str], list[FileRecord]] = defaultdict(list)
    for file in candidates:
        by_name[file.feed, file.relative_path].append(file)
    twins: dict[str, list[FileRecord]] = {file.id: [] for file in candidates}
    for other in _named(connection, by_name):
        for file in by_name[other.feed, other.relative_path]:
            if file.id not in {other.id, other.duplicate_of} and not _is_dead(other):
                twins[file.id].append(other)
    return {id_: sorted(others, key=lambda other: other.id) for id_, others in twins.items()}


def _named(connection: sa.Connection, names: Iterable[tuple[str, str]]) -> Iterator[FileRecord]:
    """Yield the files of these (feed, relative path) whose content is known."""
    by_feed: defaultdict[str, list[bytes]] = defaultdict(list)
    for feed, relative_path in names:
        by_feed[feed].append(os.fsencode(relative_path))
    for feed, paths in by_feed.items():
        for some in in_chunks(paths, _LOOKUPS):
            # A feed at a time, and unordered: only so does SQLite look both up in the index.
            query = sa.select(files).where(
                files.c.feed == feed,
                files.c.relative_path.in_(some),
                files.c.sha256.is_not(None),
            )
            yield from map(file_of, connection.execute(query))


def _is_dead(file: FileRecord) -> bool:
    """Its content was lost before it left any trace: nobody can be a duplicate of it."""
    return file.status is Status.PARKED and not file.local and file.row_seen_at is None


def _with_twins(item: Move, twins: Sequence[FileRecord]) -> Move:
    sha256 = item.changes.get("sha256")
    registered_before = item.file.row_seen_at is not None
    if sha256 is None or item.stage is not Stage.LOAD or registered_before or not twins:
        return item
    firsts = [twin for twin in twins if twin.sha256 == sha256]
    if firsts:
        return _as_duplicate(item, firsts[0])
    name = versioned(item.changes["archive_name"], sha256)
    detail = f"{item.detail}; other content than {twins[0].id}, so it is shipped as {name}"
    return replace(item, changes={**item.changes, "archive_name": name}, detail=detail)


def _ship_again(connection: sa.Connection, moves: Sequence[Move]) -> None:
    """A registered file was lost before it was shipped, and now a duplicate stands at its path.

    The row is the first one's, so it is the first one that ships what was delivered again.
    """
    ids = [item.changes["duplicate_of"] for item in moves if "duplicate_of" in item.changes]
    for some in in_chunks(ids, _LOOKUPS):
        lost = sa.select(files).where(
            files.c.id.in_(some),
            files.c.stage == Stage.SHIP,
            files.c.status == Status.PARKED,
            files.c.awaits == "",  # it is not held by hand
        )
        firsts = [file_of(row) for row in connection.execute(lost)]
        now = max(item.at for item in moves)
        verbs.move(connection, [_delivered_again(first, now) for first in firsts])


def _delivered_again(first: FileRecord, now: float) -> Move:
    move = requeued(first, Stage.SHIP, now)
    return replace(move, detail="its content was delivered again: shipped from there")


def _as_duplicate(item: Move, first: FileRecord) -> Move:
    origin = first.duplicate_of or first.id
    changes: dict[str, Any] = {**item.changes, "duplicate_of": origin}
    if first.status is not Status.DONE:
        reason = f"duplicate of {origin}: waits until that one is done"
        changes |= {"awaits": "original", "next_attempt_at": NEVER, "reason": reason}
    return replace(
        item,
        stage=Stage.CLEANUP,
        changes=changes,
        detail=f"same name and content as {origin}: a duplicate, not registered or shipped again",
    )
