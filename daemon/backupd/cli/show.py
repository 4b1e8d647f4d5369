"""`backupd-admin show`."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from backupd.cli import render
from backupd.cli.asking import daemon_state
from backupd.cli.explain import Prospect, Surroundings, prospect
from backupd.cli.options import Places, json_option, pass_places
from backupd.cli.past import Known, known
from backupd.cli.times import iso, moment, span
from backupd.core.names import escaped
from backupd.core.numbers import counted
from backupd.core.stages import BATCHED
from backupd.ledger import batches, hive_memory, incidents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from backupd.core.records import Event, FileRecord, Receipt
    from backupd.core.rows import Statement
    from backupd.ledger import LedgerReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that `show` prints about a file. A duplicate shows the receipt of the first file."""

    now: float
    file: FileRecord
    prospect: Prospect
    statement: Statement | None
    receipt: Receipt | None
    events: Sequence[Event]
    others: Sequence[str]  # ids of the other files that came to the same path


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin show eLUX_HOL_01_20261123081500_000042.csv
  backupd-admin show /backup1/MNAAS/Customer_CDR/eLUX/traffic/eLUX_0042.csv
  backupd-admin show 0198f2c1a7b4d9e8f7a6 --json | jq -r .why
"""
)
@click.argument("file", metavar="FILE")
@json_option
@pass_places
def show(places: Places, *, file: str, as_json: bool) -> None:
    """Show one file: where it stands, why it waits or is parked, what happens next and when.

    Then its receipt, and all that happened to it, each with the time since the step before.
    """
    with places.reader() as reader:
        case = _case(places, reader, known(places, reader, file))
    if as_json:
        render.emit_json(_as_json(case))
    else:
        _show(case)


def _case(places: Places, reader: LedgerReader, found: Known) -> Case:
    now = time.time()
    around = _surroundings(places, reader, found, now)
    return Case(
        now=now,
        file=found.file,
        prospect=prospect(found.file, around),
        statement=around.statement,
        receipt=found.receipt,
        events=found.events,
        others=found.same_path,
    )


def _surroundings(places: Places, reader: LedgerReader, found: Known, now: float) -> Surroundings:
    config = places.config_if_valid()
    return Surroundings(
        now=now,
        daemon_runs=daemon_state(places).runs,
        config=config,
        outages=reader.ask(incidents.outages),
        unbatched=reader.ask(batches.unbatched, config.batch.max_files if config else 1),
        original=found.original,
        statement=_statement(reader, found.file),
        is_there=os.path.lexists(found.file.path),
    )


def _statement(reader: LedgerReader, file: FileRecord) -> Statement | None:
    if file.batch_id is None or file.stage not in BATCHED:
        return None
    return reader.ask(hive_memory.statement_of, file.batch_id)


# -- JSON ------------------------------------------------------------------------------------------


def _as_json(case: Case) -> dict[str, Any]:
    return render.file_json(case.file) | {
        "why": case.prospect.why,
        "next": case.prospect.next,
        "next_at": iso(case.prospect.at),
        "duplicate_of": case.file.duplicate_of,
        "same_path": list(case.others),
        "statement": case.statement.text if case.statement else None,
        "archive_name": render.name_json(case.file.archive_name),
        "receipt": render.receipt_json(case.receipt) if case.receipt else None,
        "events": [_event_json(event) for event in case.events],
    }


def _event_json(event: Event) -> dict[str, Any]:
    return {
        "at": iso(event.at),
        "stage": event.stage,
        "status": event.status,
        "detail": event.detail,
    }


# -- for people ------------------------------------------------------------------------------------


def _show(case: Case) -> None:
    render.show(
        render.title(escaped(case.file.file_name)),
        render.facts(_facts(case)),
        render.heading("Receipt"),
        render.facts(_receipt_facts(case)),
        render.heading("Timeline"),
        _timeline(case.events),
    )


def _facts(case: Case) -> list[tuple[str, RenderableType]]:
    file = case.file
    pairs: list[tuple[str, RenderableType]] = [
        ("id", file.id),
        ("path", escaped(file.path)),
        ("feed", file.feed),
        ("stands at", render.standing(file.stage, file.status)),
        ("why", case.prospect.why),
        ("next", _next(case)),
        ("content", _content(file)),
        ("sha256", file.sha256 or "-"),
        ("first seen", moment(file.first_seen_at)),
        ("done", moment(file.done_at)),
        ("batch", file.batch_id or "-"),
        ("row", file.row_id or "-"),
    ]
    if case.statement:
        pairs.append(("statement", case.statement.text))
    if case.others:
        pairs.append(("same path", ", ".join(case.others)))
    return pairs


def _next(case: Case) -> str:
    at = case.prospect.at
    if at is None or iso(at) is None:
        return case.prospect.next
    ahead = f"in {span(at - case.now)}" if at > case.now else "due now"
    return f"{case.prospect.next}, at {moment(at)} ({ahead})"


def _content(file: FileRecord) -> str:
    if file.sha256 is None:
        return f"{file.identity.size:,} bytes when last looked at, not read yet"
    records = counted(file.record_count or 0, "record")
    return f"{records}, {file.size_bytes:,} bytes, of {file.file_date}"


def _receipt_facts(case: Case) -> list[tuple[str, RenderableType]]:
    receipt = case.receipt
    if receipt is None:
        never = "it was never shipped" if case.file.is_closed else "it was not shipped so far"
        return [("none", never)]
    flushed = "on its disk" if receipt.flushed else "flush not confirmed"
    whose = [("of", f"{receipt.file_id}, the first file of this content")]
    return [
        *(whose if receipt.file_id != case.file.id else []),
        ("in the archive", f"{escaped(receipt.archive_name)}, {receipt.sent_bytes:,} bytes"),
        ("evidence", f"{moment(receipt.verified_at)}, {receipt.evidence}, {flushed}"),
        ("proof", f"backupd-admin prove {case.file.id}"),
    ]


def _timeline(events: Sequence[Event]) -> RenderableType:
    made = render.table("at", "after", "stage", "what happened", numbers=["after"])
    waits = [None, *(later.at - earlier.at for earlier, later in pairwise(events))]
    for event, waited in zip(events, waits, strict=True):
        after = "" if waited is None else span(waited)
        made.add_row(
            moment(event.at), after, render.standing(event.stage, event.status), event.detail
        )
    return made
