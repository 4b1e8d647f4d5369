"""`backupd-admin status`."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from backupd.cli import render
from backupd.cli.asking import DaemonState, daemon_state
from backupd.cli.places import Places, json_option, pass_places
from backupd.cli.times import iso, moment, span
from backupd.core.stages import ORDER, Status
from backupd.ledger import refresh_verbs, reports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

    from backupd.core.records import OwedRefresh
    from backupd.ledger.reports import Count, Outage

_STATUSES = tuple(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedState:
    """One feed's files by status, and when the oldest that waits or runs was first seen."""

    name: str
    files: Counter[Status]
    oldest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All that `status` tells."""

    now: float
    daemon: DaemonState
    ledger: Path
    counts: Sequence[Count]
    feeds: Sequence[FeedState]
    outages: Sequence[Outage]
    owed: Sequence[OwedRefresh]


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin status
  watch -n 5 backupd-admin status
  backupd-admin status --json | jq '.counts.ship.parked'
"""
)
@json_option
@pass_places
def status(places: Places, *, as_json: bool) -> None:
    """Show the daemon's state, how many files stand where, each feed, and what is down."""
    overview = _look(places)
    if as_json:
        render.emit_json(_as_json(overview))
    else:
        _show(overview)


def _look(places: Places) -> Overview:
    with places.reader() as reader:
        config = places.config_if_valid()
        configured = [feed.name for feed in config.feeds] if config else []
        counts = reader.ask(reports.counts)
        return Overview(
            now=time.time(),
            daemon=daemon_state(places),
            ledger=places.ledger,
            counts=counts,
            feeds=_feeds(configured, counts, reader.ask(reports.oldest_open)),
            outages=reader.ask(reports.outages),
            owed=reader.ask(refresh_verbs.all_owed),
        )


def _feeds(
    configured: Sequence[str], counts: Sequence[Count], oldest: dict[str, float]
) -> list[FeedState]:
    """Return every feed that is configured or has files."""
    files: dict[str, Counter[Status]] = {name: Counter() for name in configured}
    for count in counts:
        files.setdefault(count.feed, Counter())[count.status] += count.files
    return [
        FeedState(name=name, files=files[name], oldest=oldest.get(name)) for name in sorted(files)
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
        "counts": {stage: {each: total[stage, each] for each in _STATUSES} for stage in ORDER},
        "feeds": [_feed_json(feed, overview.now) for feed in overview.feeds],
        "incidents": [_outage_json(outage) for outage in overview.outages],
        "refreshes_owed": [_owed_json(owed) for owed in overview.owed],
    }


def _feed_json(feed: FeedState, now: float) -> dict[str, Any]:
    return {
        "feed": feed.name,
        **{each: feed.files[each] for each in _STATUSES},
        "oldest_waiting_since": iso(feed.oldest),
        "oldest_waiting_seconds": None if feed.oldest is None else round(now - feed.oldest, 3),
    }


def _outage_json(outage: Outage) -> dict[str, Any]:
    return {
        "cause": outage.name,
        "since": iso(outage.since),
        "reason": outage.reason,
        "tries": outage.trials,
        "next_try_at": iso(outage.next_try_at),
    }


def _owed_json(owed: OwedRefresh) -> dict[str, Any]:
    return {"table": owed.name, "since": iso(owed.since), "merges": owed.merges}


# -- for people ------------------------------------------------------------------------------------


def _show(overview: Overview) -> None:
    render.show(
        f"backupd  {overview.daemon}",
        f"ledger   {overview.ledger}",
        render.heading("Files by stage"),
        _stages_table(overview.counts),
        render.heading("Feeds"),
        _feeds_table(overview),
        render.heading("Open incidents"),
        *_outages(overview),
        *_owed(overview),
    )


def _stages_table(counts: Sequence[Count]) -> Table:
    total = _by_stage(counts)
    made = render.table("stage", *_STATUSES, numbers=_STATUSES)
    for stage in ORDER:
        made.add_row(stage, *(_number(total[stage, each]) for each in _STATUSES))
    return made


def _feeds_table(overview: Overview) -> Table:
    made = render.table("feed", *_STATUSES, "oldest", numbers=[*_STATUSES, "oldest"])
    for feed in overview.feeds:
        age = span(overview.now - feed.oldest) if feed.oldest is not None else ""
        made.add_row(feed.name, *(_number(feed.files[each]) for each in _STATUSES), age)
    return made


def _number(files: int) -> str:
    return f"{files:,}" if files else "."


def _owed(overview: Overview) -> Iterator[RenderableType]:
    """Tell what Impala does not see yet; nothing where nothing is owed."""
    if overview.owed:
        yield render.heading("Impala is owed a REFRESH of")
    for owed in overview.owed:
        merges = render.counted(owed.merges, "merge")
        yield f"{owed.name}, since {moment(owed.since)} ({merges})"


def _outages(overview: Overview) -> Iterator[RenderableType]:
    if not overview.outages:
        yield "none"
    elif not overview.daemon.runs:
        yield "as the last daemon left them:"
    for outage in overview.outages:
        age = span(overview.now - outage.since)
        yield Text(f"{outage.name} is down since {moment(outage.since)} ({age})", style="red")
        tried = f"{render.counted(outage.trials, 'time')}, the next {moment(outage.next_try_at)}"
        yield render.facts([("why", outage.reason), ("tried", tried)])
