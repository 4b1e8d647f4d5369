"""`backupd-admin batch`."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click

from backupd.cli import render
from backupd.cli.options import Places, json_option, pass_places
from backupd.cli.times import iso, moment
from backupd.core.errors import BackupdError
from backupd.core.names import escaped
from backupd.core.numbers import counted
from backupd.core.rows import ProductionRow
from backupd.ledger import batches, history
from backupd.ledger import files as ledger_files
from backupd.stages.rows import row_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from backupd.core.records import Batch, FileRecord

_COLUMNS = tuple(field.name for field in fields(ProductionRow))
_TIMES = ("file_timestamp", "first_seen_at")


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin batch 0198f2c1a7b4d9e8f7a6
  backupd-admin batch 0198f2c1a7b4d9e8f7a6 --manifest | column -t -s $'\\t'
  backupd-admin batch 0198f2c1a7b4d9e8f7a6 --sql
"""
)
@click.argument("batch_id", metavar="BATCH_ID")
@click.option("--manifest", is_flag=True, help="The rows as they were (or will be) loaded.")
@click.option("--sql", is_flag=True, help="The statements that were (or will be) run.")
@json_option
@pass_places
def batch(places: Places, *, batch_id: str, manifest: bool, sql: bool, as_json: bool) -> None:
    """Show one batch: its files, where it stands, how often it was tried, where it is staged.

    `show` tells the batch of a file. --manifest prints a line a row, separated by tabs, after one
    with the columns' names; --sql a statement a line; both: the statements last.
    """
    with places.reader() as reader:
        found = reader.ask(batches.batch, batch_id)
        if found is None:
            raise _unknown(batch_id, is_past=bool(reader.ask(history.left)))
        files = reader.ask(ledger_files.by_ids, found.members)
        if reader.ask(batches.has_lost_members, batch_id):
            sys.stderr.write("note: files of this batch moved to the history, and are left out\n")
    if manifest:
        _print_rows([row_of(file, found) for file in files], as_json=as_json)
    if sql:
        _print_statements(places, found, files, as_json=as_json)
    if not manifest and not sql:
        _show(found, files, as_json=as_json)


def _unknown(batch_id: str, *, is_past: bool) -> BackupdError:
    hint = "`backupd-admin show FILE` names a file's"
    if is_past:
        hint += "; a batch is forgotten with the last of its files, when that moves to the history"
    return BackupdError(f"there is no batch {batch_id}", hint=hint)


def _as_json(found: Batch, files: Sequence[FileRecord]) -> dict[str, Any]:
    return {
        "id": found.id,
        "stage": found.stage,
        "status": found.status,
        "reason": found.reason,
        "attempts": found.attempts,
        "next_attempt_at": iso(found.next_attempt_at) if found.status in render.OPEN else None,
        "created_at": iso(found.created_at),
        "done_at": iso(found.done_at),
        "staged_at": found.staged_at,
        "members": [render.file_json(file) for file in files],
    }


def _show(found: Batch, files: Sequence[FileRecord], *, as_json: bool) -> None:
    if as_json:
        render.emit_json(_as_json(found, files))
        return
    render.show(
        render.title(f"Batch {found.id}"),
        render.facts(_facts(found)),
        render.heading(counted(len(files), "file")),
        _members_table(files),
    )


def _facts(found: Batch) -> list[tuple[str, RenderableType]]:
    return [
        ("stands at", render.standing(found.stage, found.status)),
        ("why", found.reason or "-"),
        ("attempts", str(found.attempts)),
        ("next try", moment(found.next_attempt_at) if found.status in render.OPEN else "-"),
        ("created", moment(found.created_at)),
        ("done", moment(found.done_at)),
        ("staged at", found.staged_at or "-"),
    ]


def _members_table(files: Sequence[FileRecord]) -> Table:
    made = render.table("id", "stands at", "file")
    for file in files:
        made.add_row(file.id, render.standing(file.stage, file.status), escaped(file.file_name))
    return made


def _print_rows(rows: Sequence[ProductionRow], *, as_json: bool) -> None:
    values = [_row_values(row) for row in rows]
    if as_json:
        render.emit_json(*values)
        return
    printed = [["" if value is None else str(value) for value in each.values()] for each in values]
    render.emit_lines(["\t".join(cells) for cells in (_COLUMNS, *printed)])


def _row_values(row: ProductionRow) -> dict[str, Any]:
    values = asdict(row)
    return values | {name: iso(values[name]) for name in _TIMES}


def _print_statements(
    places: Places, found: Batch, files: Sequence[FileRecord], *, as_json: bool
) -> None:
    statements = asyncio.run(_statements(places, found, files))
    if as_json:
        render.emit_json({"id": found.id, "statements": statements})
        return
    if not statements:
        click.echo("none: the embedded warehouse moves files and runs no statements")
    for statement in statements:
        click.echo(f"{statement};")


async def _statements(places: Places, found: Batch, files: Sequence[FileRecord]) -> list[str]:
    from backupd.warehouse import open_warehouse  # noqa: PLC0415 - takes its libraries with it

    warehouse = open_warehouse(places.config().warehouse)
    try:
        return warehouse.statements(found, [row_of(file, found) for file in files])
    finally:
        await warehouse.aclose()
