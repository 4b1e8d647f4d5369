"""Incidents, the notices that were sent of them, and what they affect."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backupd.core.dependencies import Dependency
from backupd.core.incidents import (
    NO_ROOM,
    OF_NO_INCIDENT,
    Case,
    Held,
    Incident,
    InShort,
    Kind,
    Notice,
    Occasion,
    Outcome,
    ParkedGroup,
    Standing,
    Troubles,
    Way,
)
from backupd.core.records import new_id
from backupd.core.stages import ORDER, Awaits, Stage, Status, stages_that_need
from backupd.ledger.rows import in_chunks
from backupd.ledger.schema import DONE, WAITING, files, incidents, notices

if TYPE_CHECKING:
    from collections.abc import Sequence


IS_OPEN = incidents.c.closed_at.is_(None)
_FILE_IS_OPEN = files.c.status != DONE
# The plus keeps SQLite from the index that has all that the feed ever did.
_NOT_BY_FEED: sa.ColumnElement[str] = sa.literal_column("+files.feed")
_IN_TROUBLE = files.c.trouble != sa.literal_column("''")
_SETTLED = (Outcome.SENT, Outcome.SKIPPED)
_OUTAGES = {Kind.DEPENDENCY, Kind.FEED, Kind.ARCHIVE}
_NEWER_WORDS = ("trouble", "reason", "trials", "next_try_at")


def note_incidents(connection: sa.Connection, noted: Sequence[Incident]) -> list[None]:
    """Write incidents: new ones, or newer words in the open ones of the same causes."""
    statement = insert(incidents)
    newer = {name: statement.excluded[name] for name in _NEWER_WORDS}
    statement = statement.on_conflict_do_update(
        index_elements=["cause"], index_where=IS_OPEN, set_=newer
    )
    for each in noted:
        connection.execute(statement, asdict(each) | {"id": _free_id(connection, each)})
    return [None] * len(noted)


def _free_id(connection: sa.Connection, incident: Incident) -> str:
    """Return its id, or another one where it was closed and who notes it does not know that."""
    ended = sa.select(incidents.c.id).where(incidents.c.id == incident.id, ~IS_OPEN)
    return incident.id if connection.execute(ended).first() is None else new_id(incident.opened_at)


def close_incidents(connection: sa.Connection, ended: Sequence[tuple[str, float]]) -> list[bool]:
    """Close the open incidents of causes: items are (cause, now); False where there was none."""
    statement = sa.update(incidents).where(IS_OPEN)
    return [
        connection.execute(
            statement.where(incidents.c.cause == cause).values(closed_at=now)
        ).rowcount
        == 1
        for cause, now in ended
    ]


def note_notices(connection: sa.Connection, written: Sequence[Notice]) -> list[None]:
    """Write notices, each over what was written of it before."""
    connection.execute(
        insert(notices).prefix_with("OR REPLACE"), [asdict(notice) for notice in written]
    )
    return [None] * len(written)


def mark_interrupted_notices_unknown(
    connection: sa.Connection, details: Sequence[str]
) -> list[None]:
    """Make notices unknown that were being sent when the last process ended; say so."""
    connection.execute(
        sa.update(notices)
        .where(notices.c.outcome == Outcome.TRYING)
        .values(outcome=Outcome.UNKNOWN, detail=details[0])
    )
    return [None] * len(details)


def outages(connection: sa.Connection) -> list[Incident]:
    """Return what is down just now."""
    return [each for each in all_open(connection) if each.kind in _OUTAGES]


def all_open(connection: sa.Connection) -> list[Incident]:
    """Return the open incidents, oldest first."""
    query = sa.select(incidents).where(incidents.c.closed_at.is_(None))
    return [_incident_of(row) for row in connection.execute(query.order_by(incidents.c.id))]


def ended_by_feed(connection: sa.Connection, kind: Kind, since: float) -> dict[str, float]:
    """Return by feed when the last incident of a kind ended, after a time."""
    ended = incidents.c.closed_at
    query = sa.select(incidents.c.feed, sa.func.max(ended)).where(
        incidents.c.kind == kind, ended > since
    )
    return dict(connection.execute(query.group_by(incidents.c.feed)).all())


def ends_to_notify(connection: sa.Connection) -> list[Incident]:
    """Return closed incidents of whose opening people were notified, but not yet of their end."""
    opened, ended = notices.alias(), notices.alias()
    was_notified = sa.exists().where(
        ended.c.incident_id == opened.c.incident_id,
        ended.c.way == opened.c.way,
        ended.c.occasion == Occasion.CLOSED,
        ended.c.outcome.in_(_SETTLED),
    )
    wants_to_know = sa.exists().where(
        opened.c.incident_id == incidents.c.id,
        opened.c.way != Way.TICKET,
        opened.c.occasion == Occasion.OPENED,
        opened.c.outcome.in_(_SETTLED),
        ~was_notified,
    )
    query = sa.select(incidents).where(incidents.c.closed_at.is_not(None), wants_to_know)
    return [_incident_of(row) for row in connection.execute(query.order_by(incidents.c.id))]


def notices_of(connection: sa.Connection, ids: Sequence[str]) -> dict[str, list[Notice]]:
    """Return who was notified of these incidents, by incident, oldest first."""
    found: dict[str, list[Notice]] = {id_: [] for id_ in ids}
    for some in in_chunks(ids):
        query = sa.select(notices).where(notices.c.incident_id.in_(some)).order_by(notices.c.at)
        for row in connection.execute(query):
            found[row.incident_id].append(_notice_of(row))
    return found


def standing(connection: sa.Connection) -> Standing:
    """Return how all is, in short."""
    found = {each.id for each in all_open(connection)}
    ticketed = sa.select(notices.c.incident_id).where(
        notices.c.way == Way.TICKET,
        notices.c.outcome.in_([Outcome.SENT, Outcome.UNKNOWN]),
        notices.c.incident_id.in_(found),
    )
    return Standing(
        due=_stages_with_work(connection),
        incidents=bool(found),
        ticketed=connection.execute(ticketed.limit(1)).first() is not None,
    )


def in_short(connection: sa.Connection) -> InShort:
    """Count the open files by status, and name the open incidents."""
    query = sa.select(files.c.status, sa.func.count()).where(_FILE_IS_OPEN).group_by(files.c.status)
    return InShort(
        files={Status(status): number for status, number in connection.execute(query)},
        incidents=[each.title for each in all_open(connection)],
    )


def _stages_with_work(connection: sa.Connection) -> frozenset[Stage]:
    """Return the stages with files that run, or wait for nothing but their time."""
    running = (
        sa.select(files.c.stage).where(_FILE_IS_OPEN, files.c.status == Status.RUNNING).distinct()
    )
    found = set(connection.execute(running).scalars())
    for stage in ORDER:
        waiting = sa.select(files.c.stage).where(
            files.c.stage == stage, files.c.status == WAITING, files.c.awaits == Awaits.NOTHING
        )
        found.update(connection.execute(waiting.limit(1)).scalars())
    return frozenset(map(Stage, found))


def last_mail(connection: sa.Connection) -> Notice | None:
    """Return the newest notice by mail that was sent, or may have been."""
    query = (
        sa.select(notices)
        .where(
            notices.c.way.in_([Way.MAIL, Way.TICKET]),
            notices.c.outcome.in_([Outcome.SENT, Outcome.UNKNOWN, Outcome.TRYING]),
        )
        .order_by(notices.c.at.desc(), notices.c.way.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return _notice_of(row) if row else None


def report_notice(connection: sa.Connection, day: int) -> Notice | None:
    """Return what became of the daily report of a day; None: nobody began to send it."""
    query = sa.select(notices).where(
        notices.c.incident_id == OF_NO_INCIDENT,
        notices.c.way == Way.REPORT,
        notices.c.occasion == Occasion.DAILY,
        notices.c.number == day,
    )
    row = connection.execute(query).one_or_none()
    return _notice_of(row) if row else None


def troubles(connection: sa.Connection) -> Troubles:
    """Return the open incidents, and the files that are in trouble."""
    columns = (files.c.feed, files.c.trouble)
    lasting = connection.execute(sa.select(*columns).where(_IN_TROUBLE).distinct())
    return Troubles(
        open=all_open(connection),
        parked=_parked_groups(connection),
        lasting=frozenset((feed, trouble) for feed, trouble in lasting),
        room=connection.execute(_WAITS_FOR_ROOM).scalar() or "",
    )


_WAITS_FOR_ROOM = sa.select(sa.func.min(files.c.reason)).where(
    _IN_TROUBLE, files.c.trouble == NO_ROOM
)


def _cases(connection: sa.Connection, found: Sequence[Incident]) -> list[Case]:
    """Return incidents with who was notified of them and what they hold up."""
    sent = notices_of(connection, [each.id for each in found])
    return [
        Case(
            incident=each,
            notices=sent[each.id],
            held=Held(files=0) if each.closed_at else held_up(connection, each),
        )
        for each in found
    ]


def open_cases(connection: sa.Connection) -> list[Case]:
    """Return the open incidents, each with all that is known of it."""
    return _cases(connection, all_open(connection))


def all_cases(connection: sa.Connection) -> list[Case]:
    """Return every incident that there ever was, oldest first."""
    every = connection.execute(sa.select(incidents).order_by(incidents.c.id))
    return _cases(connection, [_incident_of(row) for row in every])


def cases_to_notify(connection: sa.Connection) -> list[Case]:
    """Return the incidents that are open, or of whose end someone is still to be notified."""
    return _cases(connection, [*all_open(connection), *ends_to_notify(connection)])


def _parked_groups(connection: sa.Connection) -> list[ParkedGroup]:
    query = (
        sa.select(files.c.feed, files.c.trouble, sa.func.min(files.c.reason))
        .where(_IN_TROUBLE, files.c.status == Status.PARKED, files.c.awaits == Awaits.NOTHING)
        .group_by(files.c.feed, files.c.trouble)
    )
    return [
        ParkedGroup(feed=feed, trouble=trouble, reason=reason)
        for feed, trouble, reason in connection.execute(query)
    ]


def held_up(connection: sa.Connection, incident: Incident) -> Held:
    """Return the files that an open incident holds up."""
    held = sa.select(files.c.first_seen_at, files.c.path).where(*_held_by(incident)).subquery()
    number = connection.execute(sa.select(sa.func.count()).select_from(held)).scalar_one()
    oldest = connection.execute(sa.select(held).order_by(held.c.first_seen_at).limit(1)).first()
    if oldest is None:
        return Held(files=0)
    return Held(
        files=number,
        oldest_at=oldest.first_seen_at,
        oldest_name=os.fsdecode(oldest.path).rpartition("/")[2],
    )


def _held_by(incident: Incident) -> list[sa.ColumnElement[bool]]:
    match incident.kind:
        case Kind.PARKED:
            return [
                _IN_TROUBLE,
                files.c.feed == incident.feed,
                files.c.trouble == incident.trouble,
            ]
        case Kind.FEED:
            return [
                _FILE_IS_OPEN,
                files.c.status.in_([Status.WAITING, Status.RUNNING]),
                _NOT_BY_FEED.in_([incident.feed]),
                files.c.stage.not_in([Stage.LOAD, Stage.MERGE]),
            ]
        case Kind.DEPENDENCY:
            return [
                files.c.stage.in_(stages_that_need(incident.cause)),
                files.c.status == WAITING,
            ]
        case Kind.ARCHIVE:
            return [
                files.c.stage.in_(stages_that_need(Dependency.ARCHIVE)),
                files.c.status == WAITING,
                files.c.feed.in_(incident.trouble.splitlines()),
            ]
        case Kind.ROOM:
            return [_IN_TROUBLE, files.c.trouble == NO_ROOM]
        case (
            Kind.DOUBLED
            | Kind.UNTAKEN
            | Kind.BACKUP
            | Kind.CUSTOMERS
            | Kind.HISTORY
            | Kind.LATE
            | Kind.MISSING
            | Kind.GAP
            | Kind.UNUSUAL
        ):
            return [sa.false()]  # they go on; it has no row; or there is none


def _incident_of(row: sa.Row[Any]) -> Incident:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name for it
    return Incident(**values | {"kind": Kind(values["kind"])})


def _notice_of(row: sa.Row[Any]) -> Notice:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name for it
    values["way"] = Way(values["way"])
    values["occasion"] = Occasion(values["occasion"])
    values["outcome"] = Outcome(values["outcome"])
    return Notice(**values)
