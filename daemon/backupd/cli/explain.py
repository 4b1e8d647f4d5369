"""Why a file is where it is, and what happens next: in words, for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.cli.times import moment, span
from backupd.control.requests import way_out
from backupd.core.archive_names import directory_of, is_below
from backupd.core.dependencies import ARCHIVE_PREFIX, Dependency, feed_directory
from backupd.core.stages import BATCHED, FACTS, Awaits, Stage, Status, following

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.config.sections import Config
    from backupd.core.incidents import Incident
    from backupd.core.records import FileRecord
    from backupd.core.rows import Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What beside the file itself decides how it goes on.

    `config` is None where it has mistakes. `unbatched` is how many files wait for a batch, and
    since when the oldest. `original` is the first file, for a duplicate. `statement` is the one
    that its batch came to last in the warehouse, while its end is not known.
    """

    now: float
    daemon_runs: bool
    config: Config | None
    outages: Sequence[Incident]
    unbatched: tuple[int, float | None]
    original: FileRecord | None
    statement: Statement | None = None
    is_there: bool = True  # something stands at its local path


@dataclass(frozen=True, slots=True)
class Prospect:
    """Why a file is where it is, what happens next, and when (None: not known)."""

    why: str
    next: str
    at: float | None = None


def prospect(file: FileRecord, around: Surroundings) -> Prospect:
    """Explain a file."""
    match file.status:
        case Status.DONE:
            return Prospect(_why_done(file), "nothing: it is done")
        case Status.PARKED:
            return _parked(file, around)
        case Status.RUNNING:
            return _by_daemon(_running(file, around), around)
        case Status.WAITING:
            return _by_daemon(_waiting(file, around), around)


def _why_done(file: FileRecord) -> str:
    if file.is_closed:
        return f"{file.reason} (closed without proof)"
    if file.duplicate_of is not None:
        return (
            f"the same file as {file.duplicate_of}, delivered again: not registered a second time"
        )
    kept = ", its local copy was left" if file.local else ""
    return f"it went through every stage{kept}"


def _parked(file: FileRecord, around: Surroundings) -> Prospect:
    if file.awaits is Awaits.RELEASE:
        return Prospect(
            file.reason, f"nothing until it is released: backupd-admin release {file.id}"
        )
    return Prospect(file.reason, f"nothing by itself; {way_out(file, is_there=around.is_there)}")


def _running(file: FileRecord, around: Surroundings) -> Prospect:
    if not around.daemon_runs:
        why = f"its process ended while it was at {file.stage}"
        return Prospect(why, f"{file.stage} is done again: {FACTS[file.stage].does}")
    after = following(file.stage)
    why = f"it is at work in {file.stage}"
    if around.statement:
        why += f", at {_begun(around.statement)}"
    return Prospect(why, f"then {after}" if after else "then done")


def _begun(statement: Statement) -> str:
    words = " ".join(statement.text.split(maxsplit=2)[:2])
    return f"{words}, begun {moment(statement.began_at)}"


def _by_daemon(found: Prospect, around: Surroundings) -> Prospect:
    if around.daemon_runs:
        return found
    return Prospect(found.why, f"{found.next} (once a daemon runs: none does just now)")


# -- waiting: the first reason that holds is shown -------------------------------------------------


def _waiting(file: FileRecord, around: Surroundings) -> Prospect:
    return (
        _without_feed(file, around)
        or _behind_outage(file, around)
        or _awaiting(file, around)
        or _unbatched(file, around)
        or _retried(file, around)
    )


def _without_feed(file: FileRecord, around: Surroundings) -> Prospect | None:
    if around.config is None or file.feed in {feed.name for feed in around.config.feeds}:
        return None
    if file.stage in BATCHED:
        return None  # what is registered goes into the warehouse whatever feeds there are
    return Prospect(
        f"the config has no feed {file.feed} any more",
        f"nothing until the config has it again; then {FACTS[file.stage].does}",
    )


def _behind_outage(file: FileRecord, around: Surroundings) -> Prospect | None:
    outage = next((each for each in around.outages if _holds_up(each, file, around)), None)
    if outage is None:
        return None
    lasting = span(around.now - outage.opened_at)
    why = f"{outage.cause} is down since {moment(outage.opened_at)} ({lasting}): {outage.reason}"
    return Prospect(why, f"{outage.cause} is tried again by itself", outage.next_try_at)


def _holds_up(outage: Incident, file: FileRecord, around: Surroundings) -> bool:
    if not outage.cause.startswith(ARCHIVE_PREFIX):
        return outage.cause in {FACTS[file.stage].needs, feed_directory(file.feed)}
    feeds = around.config.feeds if around.config else ()
    feed = next((each for each in feeds if each.name == file.feed), None)
    directory = outage.cause.removeprefix(ARCHIVE_PREFIX)
    goes_there = feed is not None and is_below(directory_of(file, feed), directory)
    needs_it = FACTS[file.stage].needs == Dependency.ARCHIVE
    return goes_there and (needs_it or file.awaits is Awaits.ARCHIVE)


def _awaiting(file: FileRecord, around: Surroundings) -> Prospect | None:
    if file.awaits is Awaits.ORIGINAL and around.original is not None:
        first = around.original
        why = f"a duplicate of {first.id}, which is {first.status} at {first.stage}"
        return Prospect(why, f"{FACTS[file.stage].does}, as soon as that one is done")
    if file.awaits is Awaits.COMPANION:
        return Prospect(
            file.reason, "it is looked at as soon as the companion comes", file.next_attempt_at
        )
    if file.awaits:
        return Prospect(file.reason, FACTS[file.stage].does, file.next_attempt_at)
    return None


def _unbatched(file: FileRecord, around: Surroundings) -> Prospect | None:
    if file.stage is not Stage.LOAD or file.batch_id is not None:
        return None
    waiting, oldest = around.unbatched
    if around.config is None or oldest is None:
        return Prospect("it waits for a batch", "a batch is formed")
    batch = around.config.batch
    until = oldest + batch.max_wait
    why = f"it waits for a batch of {batch.max_files} files, or until {moment(until)}"
    waits = "waits" if waiting == 1 else "wait"
    return Prospect(f"{why}; {waiting} {waits} now", "a batch is formed and staged", until)


def _retried(file: FileRecord, around: Surroundings) -> Prospect:
    why = file.reason or f"it waits for its turn in {file.stage}"
    if around.statement:
        why += f"; its batch came to {_begun(around.statement)}"
    if file.attempts and around.config is not None:
        why += f" (attempt {file.attempts} of {around.config.retry.attempts})"
    if file.next_attempt_at <= around.now:
        return Prospect(why, f"{FACTS[file.stage].does}, as soon as there is a free place")
    return Prospect(why, FACTS[file.stage].does, file.next_attempt_at)
