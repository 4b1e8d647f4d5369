"""`backupd-admin incidents`, and how `status` shows them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from backupd.alerts.meaning import meaning, next_command, who_was_notified
from backupd.cli import render
from backupd.cli.options import Places, json_option, pass_places
from backupd.cli.times import iso, moment, span
from backupd.core.names import escaped
from backupd.core.numbers import counted
from backupd.ledger import incidents as ledger_incidents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from backupd.core.incidents import Case, Held, Incident, Notice

_BRIEF = {"why", "affected", "next step"}


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin incidents
  backupd-admin incidents --all
  backupd-admin incidents --json | jq -r .cause
"""
)
@click.option("--all", "closed_too", is_flag=True, help="Those that are over too.")
@json_option
@pass_places
def incidents(places: Places, *, closed_too: bool, as_json: bool) -> None:
    """Show the open causes of failure: since when, files held up, who was notified, what to do."""
    report = ledger_incidents.all_cases if closed_too else ledger_incidents.open_cases
    with places.reader() as reader:
        cases = reader.ask(report)
    if as_json:
        render.emit_json(*map(case_json, cases))
    elif not cases:
        click.echo("no incident" if closed_too else "no open incident")
    else:
        render.show(*(part for case in cases for part in (*describe(case, time.time()), "")))


def case_json(case: Case) -> dict[str, Any]:
    """Return an incident under the keys that scripts rely on."""
    incident, held = case.incident, case.held
    return incident_json(incident) | {
        "files": held.files,
        "oldest": render.name_json(held.oldest_name),
        "oldest_seen_at": iso(held.oldest_at),
        "tries": incident.trials,
        "next_try_at": iso(incident.next_try_at),
        "told": [_notice_json(notice) for notice in case.notices],
    }


def incident_json(incident: Incident) -> dict[str, Any]:
    """Return what it is, without what it holds up and who was notified."""
    return {
        "id": incident.id,
        "cause": incident.cause,
        "kind": incident.kind,
        "feed": incident.feed or None,
        "reason": incident.reason,
        "since": iso(incident.opened_at),
        "until": iso(incident.closed_at),
    }


def _notice_json(notice: Notice) -> dict[str, Any]:
    return {
        "way": notice.way,
        "occasion": notice.occasion,
        "at": iso(notice.at),
        "outcome": notice.outcome,
        "detail": notice.detail,
    }


def describe(case: Case, now: float, *, briefly: bool = False) -> Iterator[RenderableType]:
    """Show an incident to people: what and since when, then the facts under it."""
    incident = case.incident
    if incident.closed_at is None:
        age = span(now - incident.opened_at)
        line = f"{incident.title}, since {moment(incident.opened_at)} ({age})"
        yield Text(line, style="bold red")
    else:
        lasted = span(incident.closed_at - incident.opened_at)
        line = f"{incident.title}: over, {moment(incident.opened_at)} and {lasted} long"
        yield Text(line, style="green")
    facts = list(_facts(case, now))
    yield render.facts([fact for fact in facts if not briefly or fact[0] in _BRIEF])


def _facts(case: Case, now: float) -> Iterator[tuple[str, RenderableType]]:
    incident = case.incident
    yield "why", incident.reason
    if incident.closed_at is None:
        yield "affected", _held(case.held, now)
        if incident.next_try_at is not None:
            tries = counted(incident.trials, "time")
            yield "tried", f"{tries}, the next {moment(incident.next_try_at)}"
        yield "impact", meaning(incident)
        yield "next step", next_command(incident)
    notified = [
        f"{words} ({moment(notice.at)})" for notice, words in who_was_notified(case.notices)
    ]
    yield "notified", "\n".join(notified) or "nobody yet"


def _held(held: Held, now: float) -> str:
    if held.oldest_name is None or held.oldest_at is None:
        return "no file just now"
    age = span(now - held.oldest_at)
    number = counted(held.files, "file")
    return f"{number}, the oldest for {age}: {escaped(held.oldest_name)}"
