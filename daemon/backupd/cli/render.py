"""What is printed: tables and text on a terminal, plain text elsewhere, JSON when asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from backupd.cli.times import iso
from backupd.core.names import escaped
from backupd.core.stages import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from backupd.core.records import FileRecord, Receipt

_UNCUT = 10_000  # columns where the output is no terminal: nothing is folded
OPEN = {Status.WAITING, Status.RUNNING}  # parked and done files have no next attempt
_LINE_ENDS = {0x85: r"\u0085", 0x2028: r"\u2028", 0x2029: r"\u2029"}
STYLES = {"parked": "red", "running": "cyan", "done": "green"}


def console(*, stderr: bool = False) -> Console:
    """Return a console that takes text as it is: a file name is no markup."""
    width = None if Console(stderr=stderr).is_terminal else _UNCUT
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


def show(*parts: RenderableType) -> None:
    """Print parts under each other."""
    made = console()
    with made.capture() as captured:
        for part in parts:
            made.print(part)
    text = captured.get()
    if not made.is_terminal:  # tables fill their last column with blanks
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    click.echo(text, nl=False)


def item(made: Console, head: str, detail: str) -> None:
    """Print one of many things: on a terminal the detail under it, elsewhere on its line."""
    if made.is_terminal:
        made.print(head)
        made.print(Padding(detail, (0, 0, 0, 4)))
    else:
        click.echo(f"{head}: {detail}", err=made.stderr)


def emit_json(*values: Mapping[str, Any]) -> None:
    """Print each as one line of JSON, in UTF-8 whatever the locale.

    Common readers end a line at more than a newline: what JSON leaves as it is of that is escaped.
    """
    emit_lines([json.dumps(value, ensure_ascii=False).translate(_LINE_ENDS) for value in values])


def emit_lines(lines: Sequence[str]) -> None:
    """Print lines at once: one by one, each would be flushed, which takes most of the time."""
    click.echo("".join(f"{line}\n" for line in lines).encode(), nl=False)


def name_json(name: str | None) -> str | None:
    """Return a name as it is; one that is not UTF-8, and so no JSON text, escaped."""
    if name is None:
        return None
    try:
        name.encode()
    except UnicodeEncodeError:
        return escaped(name)
    return name


def file_json(file: FileRecord) -> dict[str, Any]:
    """Return a file under the keys that scripts rely on."""
    return {
        "id": file.id,
        "file_id": file.row_id,
        "path": name_json(file.path),
        "file_name": name_json(file.file_name),
        "feed": file.feed,
        "file_type": file.file_type,
        "customer": file.customer,
        "stage": file.stage,
        "status": file.status,
        "reason": file.reason,
        "attempts": file.attempts,
        "next_attempt_at": iso(file.next_attempt_at) if file.status in OPEN else None,
        "batch_id": file.batch_id,
        "size_bytes": file.size_bytes,
        "record_count": file.record_count,
        "sha256": file.sha256,
        "file_date": file.file_date,
        "first_seen_at": iso(file.first_seen_at),
        "done_at": iso(file.done_at),
    }


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """Return a receipt; `file_id` is the file whose copy it proves."""
    return {
        "file_id": receipt.file_id,
        "archive_name": name_json(receipt.archive_name),
        "sha256": receipt.sha256,
        "sent_sha256": receipt.sent_sha256,
        "remote_sha256": receipt.remote_sha256,
        "sent_bytes": receipt.sent_bytes,
        "verified_by": receipt.verified_by,
        "flushed": receipt.flushed,
        "named_by": receipt.named_by,
        "shipped_at": iso(receipt.shipped_at),
        "verified_at": iso(receipt.verified_at),
    }


def or_dot(number: int) -> str:
    """Return a number in a table: a dot where there is none."""
    return f"{number:,}" if number else "."


def standing(stage: str, status: str) -> Text:
    """Return where a file stands, in the colour of its status."""
    return Text(f"{stage} {status}", style=STYLES.get(status, ""))


def name_and_reason(file: FileRecord) -> Text:
    """Return a file's name and, under it, why it waits or is parked."""
    text = Text(escaped(file.file_name))
    if file.reason:
        text.append(f"\n{file.reason}", style="dim")
    return text


def table(*headings: str, numbers: Iterable[str] = ()) -> Table:
    """Return an empty table. Ids never break; whatever else is too long is folded."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    right = set(numbers)
    for heading in headings:
        made.add_column(
            heading,
            justify="right" if heading in right else "left",
            no_wrap=heading == "id",
            overflow="fold",
        )
    return made


def facts(pairs: Sequence[tuple[str, RenderableType]]) -> Padding:
    """Return names and values under each other, indented."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, value)
    return Padding(made, (0, 0, 0, 2), expand=False)


def title(text: str) -> Text:
    """Return what the whole is about."""
    return Text(text, style="bold")


def heading(text: str) -> Text:
    """Return a section's title, after an empty line."""
    return Text(f"\n{text}", style="bold")
