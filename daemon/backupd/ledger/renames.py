"""What intake writes of files whose directory was renamed."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.core.moves import REPLACED, VANISHED, requeued
from backupd.core.names import escaped
from backupd.core.records import Event, FileRecord, Identity, Move, Renaming
from backupd.core.stages import Stage, Status
from backupd.ledger.files import move, record
from backupd.ledger.rows import file_of, identity_text, in_chunks
from backupd.ledger.schema import IS_BELOW, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def by_identity(
    connection: sa.Connection, identities: Iterable[Identity]
) -> dict[tuple[Identity, str], FileRecord]:
    """Return the files of these identities that stand below a feed's directory, not in it.

    By identity and name. Of several, the one whose file is believed to be there, else the last.
    What is gone by its row, but for being missed at its path, is no file that could be found again.
    """
    found: dict[tuple[Identity, str], FileRecord] = {}
    for some in in_chunks(map(identity_text, identities)):
        query = sa.select(files).where(files.c.identity.in_(some), IS_BELOW)
        rows = map(file_of, connection.execute(query))
        for file in sorted(rows, key=lambda file: (file.local, file.id)):
            if file.local or _was_missed(file):
                found[file.identity, file.file_name] = file
    return found


def rename(connection: sa.Connection, renamings: Sequence[Renaming]) -> list[bool]:
    """Give files their new paths, and take those back that were missed meanwhile.

    False where a row is another one by now, or the path is that of another file.
    """
    applied = [connection.execute(_RENAME, _values(each)).rowcount == 1 for each in renamings]
    happened = list(compress(renamings, applied))
    record(connection, [_event(each) for each in happened if each.path != each.file.path])
    move(connection, [_found_again(each) for each in happened if _was_missed(each.file)])
    return applied


_OTHER = files.alias("other")
_RENAME = (
    sa.update(files)
    .where(
        files.c.id == sa.bindparam("of"),
        files.c.path == sa.bindparam("old"),
        files.c.local == sa.bindparam("was_local"),
        files.c.identity == sa.bindparam("same"),
        ~sa.exists().where(
            _OTHER.c.path == sa.bindparam("new"), _OTHER.c.local, _OTHER.c.id != files.c.id
        ),
    )
    .values(
        path=sa.bindparam("new"),
        relative_path=sa.bindparam("new_relative"),
        companion_path=sa.bindparam("new_companion"),
        local=True,
    )
)


def _values(each: Renaming) -> dict[str, Any]:
    companion = each.companion_path
    return {
        "of": each.file.id,
        "old": os.fsencode(each.file.path),
        "was_local": each.file.local,
        "same": identity_text(each.file.identity),
        "new": os.fsencode(each.path),
        "new_relative": os.fsencode(each.relative_path),
        "new_companion": None if companion is None else os.fsencode(companion),
    }


def _event(each: Renaming) -> Event:
    file = each.file
    detail = f"renamed from {escaped(file.relative_path)} to {escaped(each.relative_path)}"
    return Event(file_id=file.id, at=each.at, stage=file.stage, status=file.status, detail=detail)


def _was_missed(file: FileRecord) -> bool:
    """It was looked for at its old path: parked for that, or believed to be removed."""
    if file.local:
        return False
    if file.status is Status.PARKED:
        return VANISHED in file.reason or REPLACED in file.reason
    return file.status is Status.DONE and not file.is_closed


def _found_again(each: Renaming) -> Move:
    stage = Stage.CLEANUP if each.file.status is Status.DONE else each.file.stage
    move = requeued(each.file, stage, each.at)
    return replace(move, detail="it did not vanish: its directory was renamed")
