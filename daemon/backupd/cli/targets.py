"""Which files a person means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError
from backupd.core.names import escaped
from backupd.ledger import reports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupd.core.records import FileRecord
    from backupd.ledger import LedgerReader
    from backupd.ledger.reports import Wanted

_PAGE = 1000  # files read at once: a reader that stays open for long keeps the WAL from shrinking
_CANDIDATES = 20


class NoSuchFileError(BackupdError):
    """No file matches, or files at several paths do."""


class UnknownFileError(NoSuchFileError):
    """No file of the ledger matches."""


def resolve(reader: LedgerReader, text: str) -> FileRecord:
    """Return the file with this id, path or file name.

    Of several that came to one path, the one that is there now, else the last. Raises
    UnknownFileError when nothing matches, NoSuchFileError when files at several paths do.
    """
    found = reader.ask(reports.matching, text)
    if not found and "/" in text:
        found = reader.ask(reports.matching, str(Path(text).absolute()))
    if not found:
        raise UnknownFileError(
            f"no file has the id, path or name {escaped(text)}",
            hint="`backupd-admin list` shows what is known",
        )
    if len({file.path for file in found}) > 1:
        raise NoSuchFileError(ambiguous(text, found))
    return next((file for file in found if file.local), found[-1])


def pages(reader: LedgerReader, wanted: Wanted) -> Iterator[list[FileRecord]]:
    """Yield the files that are wanted, some at a time, each page from a view of its own."""
    while page := reader.ask(reports.select, replace(wanted, limit=_PAGE)):
        yield page
        wanted = replace(wanted, after=page[-1].id)


def ambiguous(text: str, found: Sequence[FileRecord]) -> str:
    """Say which files are named like this."""
    lines = [f"{len(found)} files are named {escaped(text)}; give an id or a path:"]
    lines += [
        f"  {file.id}  {file.stage} {file.status}  {escaped(file.path)}"
        for file in found[:_CANDIDATES]
    ]
    if len(found) > _CANDIDATES:
        lines.append(f"  ... and {len(found) - _CANDIDATES} more")
    return "\n".join(lines)
