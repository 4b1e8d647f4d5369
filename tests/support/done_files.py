"""Done files and their stories, as they go into the history."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from backupd.core.history import Story
from backupd.core.records import Event, FileRecord, Receipt, VerifiedBy
from backupd.core.rows import row_id
from backupd.core.stages import Stage, Status
from support.files import COUNTED, NOW, a_file

if TYPE_CHECKING:
    from backupd.core.records import Identity

WILD = os.fsdecode(b"a\xff\n\\x\xc3\xbc.csv")
DONE_DATE = "2026-11-23"  # of NOW


def a_done_file(number: int = 0, **changes: object) -> FileRecord:
    """One that went through every stage and was removed, each number another one."""
    name = changes.pop("relative_path", f"{number:05d}.csv")
    values = {
        **COUNTED,
        "id": f"{number:020x}",
        "relative_path": name,
        "path": f"/feed/{name}",
        "done_at": NOW,
        "row_seen_at": NOW,
        "proven_at": NOW,
        "batch_id": "b1",
        "claims": 1,
        "local": False,
        "companion_path": None,
        "sha256": f"{number:064x}",
        "archive_name": f"eLUX/traffic/{name}.gz",
        **changes,
    }
    file = a_file(Stage.CLEANUP, Status.DONE, **values)
    return replace(file, row_id=row_id(replace(file, row_id=None), file.sha256 or ""))


def a_receipt(file: FileRecord, **changes: object) -> Receipt:
    """The proof that this file is in the archive."""
    proof = Receipt(
        file_id=file.id,
        archive_name=file.archive_name or "",
        sha256=file.sha256 or "",
        sent_sha256="cd" * 32,
        remote_sha256="cd" * 32,
        sent_bytes=5,
        verified_by=VerifiedBy.READBACK,
        flushed=True,
        shipped_at=NOW - 0.25,
        verified_at=NOW - 0.125,
        named_by="link",
    )
    return replace(proof, **changes)  # type: ignore[arg-type]  # any field


def events_of(file: FileRecord) -> tuple[Event, ...]:
    """What happens to a file that goes through every stage at the first try."""
    return tuple(
        Event(file_id=file.id, at=NOW - 10 + place, stage=stage, status=status, detail=detail)
        for place, (stage, status, detail) in enumerate(_WAY)
    )


_WAY = (
    (Stage.SETTLE, Status.WAITING, "seen for the first time"),
    (Stage.MANIFEST, Status.WAITING, "complete"),
    (Stage.MANIFEST, Status.RUNNING, "started"),
    (Stage.LOAD, Status.WAITING, "1 record, 10 bytes"),
    (Stage.CLEANUP, Status.DONE, "removed"),
)


def a_story(number: int = 0, host: str = "edge1", **changes: object) -> Story:
    """Everything that is known of a done file, each number another one."""
    file = a_done_file(number, **changes)
    return Story(host=host, file=file, receipt=a_receipt(file), events=events_of(file))


def wild_story(number: int, identity: Identity) -> Story:
    """One whose name is no text, that has no receipt and no row, closed by a person."""
    file = a_done_file(
        number,
        relative_path=WILD,
        reason="closed: not wanted",
        identity=identity,
        companion_path=f"/feed/{WILD}.cksum",
        companion_text="1 2\n\t",
        sha256=None,
        size_bytes=None,
        record_count=None,
        row_seen_at=None,
        file_timestamp=None,
        archive_name=None,
        batch_id=None,
    )
    return Story(host="edge1", file=replace(file, row_id=None), receipt=None, events=())
