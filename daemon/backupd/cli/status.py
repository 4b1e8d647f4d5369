"""`backupd-admin status`."""

from __future__ import annotations

import socket
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from backupd.cli import render
from backupd.cli.asking import DaemonState, daemon_state
from backupd.cli.incidents import case_json, describe
from backupd.cli.options import Places, json_option, pass_places
from backupd.cli.times import iso, moment, span
from backupd.core.dependencies import Dependency
from backupd.core.incidents import OF_COMPLETENESS, Case, Kind
from backupd.core.numbers import counted
from backupd.core.snapshots import home_of
from backupd.core.stages import ORDER, Status
from backupd.ledger import hive_memory, incidents, last_snapshot, reports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

    from backupd.core.incidents import Incident
    from backupd.core.rows import OwedRefresh
    from backupd.ledger import LedgerReader
    from backupd.ledger.reports import Count, Done

_STATUSES = tuple(Status)
_WATCH_EVERY = 2.0  # seconds
_DAY = 86_400
_LATELY = 600.0  # seconds over which the rate is taken
_SHOWN = 5  # incidents: the feeds below them are to be seen too
_FIXED = (Dependency.ARCHIVE, Dependency.WAREHOUSE)  # these are always needed


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedState:
    """One feed's files by status, since when the oldest waits or runs, and what was done."""

    name: str
    files: Counter[Status]
    oldest: float | None
    done: Done

    @property
    def per_minute(self) -> float:
        """How many files were done a minute lately."""
        return self.done.lately * 60 / _LATELY


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All that `status` prints."""

    now: float
    daemon: DaemonState
    ledger: Path
    counts: Sequence[Count]
    feeds: Sequence[FeedState]
    cases: Sequence[Case]
    owed: Sequence[OwedRefresh]
    servers: Mapping[str, str]  # in use: host:port by what they are
    snapshot: float | None  # when this host's newest one was taken; None: there is none

    def behind(self, feed: str) -> Iterator[str]:
        """Yield each kind of incident, once, by which a feed has not what is expected of it."""
        kinds = (case.incident.kind for case in self.cases if case.incident.feed == feed)
        yield from dict.fromkeys(str(kind) for kind in kinds if kind in OF_COMPLETENESS)


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin status
  backupd-admin status --watch
  backupd-admin status --json | jq '.counts.ship.parked'
"""
)
@click.option("--watch", is_flag=True, help="Refresh every two seconds, until Ctrl-C.")
@json_option
@pass_places
def status(places: Places, *, watch: bool, as_json: bool) -> None:
    """Show the daemon's state, open incidents, each feed, dependencies, counts by stage.

    A feed's row: files waiting, running and parked; done today (UTC); done a minute over the last
    ten; how long the oldest open file is here; when the last one was done. It is red where the feed
    is behind what is expected of it: see `backupd-admin completeness`.
    """
    config = places.config_if_valid()
    configured = [feed.name for feed in config.feeds] if config else []
    if watch:
        _watch(places, configured, as_json=as_json)
    elif as_json:
        render.emit_json(_as_json(_look(places, configured)))
    else:
        render.show(*_screen(_look(places, configured)))


def _watch(places: Places, configured: Sequence[str], *, as_json: bool) -> None:
    console = render.console()
    if as_json or not console.is_terminal:
        raise click.UsageError("--watch needs a terminal, and does not go with --json")
    with (
        suppress(KeyboardInterrupt),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            live.update(Group(*_screen(_look(places, configured))), refresh=True)
            time.sleep(_WATCH_EVERY)


def _look(places: Places, configured: Sequence[str]) -> Overview:
    now = time.time()
    with places.reader() as reader:
        counts = reader.ask(reports.counts)
        return Overview(
            now=now,
            daemon=daemon_state(places),
            ledger=places.ledger,
            counts=counts,
            feeds=_feeds(reader, configured, counts, now),
            cases=reader.ask(incidents.open_cases),
            owed=reader.ask(hive_memory.owed_refreshes),
            servers=reader.ask(hive_memory.servers),
            snapshot=_snapshot(reader, places),
        )


def _snapshot(reader: LedgerReader, places: Places) -> float | None:
    home = home_of(socket.gethostname(), places.ledger)
    last = reader.ask(last_snapshot, home.directory)
    return last.at if last and last.name else None


def _feeds(
    reader: LedgerReader, configured: Sequence[str], counts: Sequence[Count], now: float
) -> list[FeedState]:
    """Return every feed that is configured or has files."""
    files: dict[str, Counter[Status]] = {name: Counter() for name in configured}
    for count in counts:
        files.setdefault(count.feed, Counter())[count.status] += count.files
    oldest = reader.ask(reports.oldest_open)
    midnight = now - now % _DAY
    return [
        FeedState(
            name=name,
            files=files[name],
            oldest=oldest.get(name),
            done=reader.ask(reports.done, name, midnight, now - _LATELY),
        )
        for name in sorted(files)
    ]


def _by_stage(counts: Sequence[Count]) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()
    for count in counts:
        total[count.stage, count.status] += count.files
    return total


# -- JSON ------------------------------------------------------------------------------------------


def _as_json(overview: Overview) -> dict[str, Any]:
    daemon, total = overview.daemon, _by_stage(overview.counts)
    return {
        "at": iso(overview.now),
        "daemon": {
            "state": daemon.state,
            "pid": int(daemon.pid) if daemon.pid and daemon.pid.isdigit() else None,
            "since": iso(daemon.since),
        },
        "ledger": str(overview.ledger),
        "last_snapshot_at": iso(overview.snapshot),
        "counts": {stage: {each: total[stage, each] for each in _STATUSES} for stage in ORDER},
        "feeds": [
            _feed_json(feed, overview.now) | {"behind": list(overview.behind(feed.name))}
            for feed in overview.feeds
        ],
        "incidents": [case_json(case) for case in overview.cases],
        "dependencies": [
            {"name": name, "state": "down" if incident else "up"}
            for name, incident in _dependencies(overview)
        ],
        "servers_in_use": dict(overview.servers),
        "refreshes_owed": [_owed_json(owed) for owed in overview.owed],
    }


def _feed_json(feed: FeedState, now: float) -> dict[str, Any]:
    return {
        "feed": feed.name,
        **{each: feed.files[each] for each in _STATUSES},
        "oldest_waiting_since": iso(feed.oldest),
        "oldest_waiting_seconds": None if feed.oldest is None else round(now - feed.oldest, 3),
        "done_today": feed.done.since,
        "done_per_minute": feed.per_minute,
        "last_done_at": iso(feed.done.last_at),
    }


def _owed_json(owed: OwedRefresh) -> dict[str, Any]:
    return {"table": owed.name, "since": iso(owed.since), "merges": owed.merges}


# -- for people ------------------------------------------------------------------------------------


def _screen(overview: Overview) -> Iterator[RenderableType]:
    yield Text(f"backupd  {overview.daemon}", style="" if overview.daemon.runs else "bold red")
    yield f"ledger   {overview.ledger}"
    yield f"backup   {_backup(overview)}"
    yield from _incidents(overview)
    yield render.heading("Feeds")
    yield _feeds_table(overview)
    yield render.heading("Dependencies")
    yield _dependencies_table(overview)
    yield from (f"{kind} in use: {address}" for kind, address in overview.servers.items())
    yield from _owed(overview)
    yield render.heading("Files by stage")
    yield _stages_table(overview.counts)


def _backup(overview: Overview) -> str:
    if overview.snapshot is None:
        return "no snapshot in the archive yet"
    age = span(overview.now - overview.snapshot)
    return f"last snapshot {moment(overview.snapshot)} ({age} ago)"


def _incidents(overview: Overview) -> Iterator[RenderableType]:
    number = len(overview.cases)
    if not number:
        yield render.heading("No open incident")
        return
    left = "" if overview.daemon.runs else ", as the last daemon left them"
    yield render.heading(f"{counted(number, 'open incident')}{left}")
    for case in overview.cases[:_SHOWN]:
        yield from describe(case, overview.now, briefly=True)
    if number > _SHOWN:
        yield f"... and {number - _SHOWN} more: backupd-admin incidents"


def _feeds_table(overview: Overview) -> Table:
    numbers = ("waiting", "running", "parked", "today", "/min", "oldest", "last done")
    made = render.table("feed", *numbers, numbers=numbers)
    for feed in overview.feeds:
        parked = Text(
            render.or_dot(feed.files[Status.PARKED]), style=_red_if(feed.files[Status.PARKED])
        )
        made.add_row(
            _name(feed.name, overview),
            render.or_dot(feed.files[Status.WAITING]),
            render.or_dot(feed.files[Status.RUNNING]),
            parked,
            render.or_dot(feed.done.since),
            f"{feed.per_minute:.3g}" if feed.done.lately else ".",
            _age(feed.oldest, overview.now),
            _age(feed.done.last_at, overview.now),
        )
    return made


def _name(feed: str, overview: Overview) -> Text:
    behind = ", ".join(overview.behind(feed))
    return Text(f"{feed} ({behind})", style="bold red") if behind else Text(feed)


def _dependencies(overview: Overview) -> list[tuple[str, Incident | None]]:
    """Return each dependency with its open incident; None: no trouble is known."""
    down = {
        case.incident.cause: case.incident
        for case in overview.cases
        if case.incident.kind is Kind.DEPENDENCY
    }
    return [(name, down.get(name)) for name in dict.fromkeys([*_FIXED, *down])]


def _dependencies_table(overview: Overview) -> Table:
    made = render.table("dependency", "state")
    for name, incident in _dependencies(overview):
        made.add_row(name, _state(incident, overview.now))
    return made


def _state(incident: Incident | None, now: float) -> Text:
    if incident is None:
        return Text("no trouble known", style="green")
    words = f"down for {span(now - incident.opened_at)}"
    if incident.next_try_at is not None:
        words += f", tried again at {moment(incident.next_try_at)}"
    return Text(words, style="red")


def _stages_table(counts: Sequence[Count]) -> Table:
    total = _by_stage(counts)
    made = render.table("stage", *_STATUSES, numbers=_STATUSES)
    for stage in ORDER:
        made.add_row(stage, *(render.or_dot(total[stage, each]) for each in _STATUSES))
    return made


def _owed(overview: Overview) -> Iterator[RenderableType]:
    """Yield what Impala does not see yet; nothing where no refresh is owed."""
    if overview.owed:
        yield render.heading("Pending Impala REFRESH of")
    for owed in overview.owed:
        merges = counted(owed.merges, "merge")
        yield f"{owed.name}, since {moment(owed.since)} ({merges})"


def _red_if(files: int) -> str:
    return "bold red" if files else ""


def _age(at: float | None, now: float) -> str:
    return "" if at is None else span(now - at)
