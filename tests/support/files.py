"""Files, batches and sightings as the ledger, the stages and the workers know them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupd.core.moves import RetryPolicy
from backupd.core.records import Batch, BatchMove, FileRecord, Identity, Move, Sighting, Task
from backupd.core.stages import Awaits, Stage, Status
from backupd.localfs.roots import find_root
from support.intake import a_feed, a_settling_file, an_identity

if TYPE_CHECKING:
    from backupd.core.records import Feed

NOW = 1_795_435_200.0  # 2026-11-23 12:00:00 UTC
POLICY = RetryPolicy(first=5.0, cap=600.0, attempts=8, jitter=lambda: 1.0)


COUNTED: dict[str, Any] = {  # of a file that was through manifest
    "size_bytes": 10,
    "record_count": 1,
    "sha256": "ab" * 32,
    "file_timestamp": NOW,
    "archive_name": "eLUX/x.gz",
}


def a_file(stage: Stage, status: Status = Status.WAITING, **changes: object) -> FileRecord:
    """A file anywhere on its way."""
    row_id = changes.get("id", a_settling_file().id)
    values = {"stage": stage, "status": status, "reason": "", "row_id": row_id, **changes}
    return replace(a_settling_file(), **values)  # type: ignore[arg-type]  # any field


def a_running_file(stage: Stage, attempts: int = 1, **changes: object) -> FileRecord:
    """A file as it is claimed for its `attempts`-th attempt."""
    return a_file(stage, Status.RUNNING, **{"attempts": attempts, "claims": attempts, **changes})


def a_batch(size: int = 4, **changes: object) -> Batch:
    """A batch as it is claimed for its first load."""
    values: dict[str, Any] = {
        "id": "b1",
        "stage": Stage.LOAD,
        "status": Status.RUNNING,
        "reason": "",
        "attempts": 1,
        "interruptions": 0,
        "claims": 1,
        "next_attempt_at": NOW,
        "created_at": NOW,
        "done_at": None,
        "staged_at": "",
        "members": tuple(f"f{number}" for number in range(size)),
        **changes,
    }
    return Batch(**values)


def moved(move: Move) -> FileRecord:
    """The file after its move."""
    return replace(move.file, stage=move.stage, status=move.status, **move.changes)


def moved_batch(move: BatchMove) -> Batch:
    """The batch after its move."""
    return replace(move.batch, stage=move.stage, status=move.status, **move.changes)


def a_sighting(path: str, *, feed: Feed | None = None, **changes: Any) -> Sighting:  # noqa: ANN401 - any field
    """A file that nobody knows yet, in the feed's directory."""
    feed = feed or a_feed(os.path.dirname(path))  # noqa: PTH120 - a name may be no text
    values: dict[str, Any] = {
        "feed": feed,
        "path": path,
        "relative_path": path.removeprefix(feed.directory + "/"),
        "identity": an_identity(),
        "companion_path": None,
        "seen_at": NOW,
        **changes,
    }
    return Sighting(**values)


def registered(path: Path, **changes: object) -> FileRecord:
    """A real file on the disk, as it is after manifest has read it and its row was seen."""
    content = path.read_bytes()
    values: dict[str, Any] = {
        "path": str(path),
        "relative_path": path.name,
        "identity": Identity.of(path.stat()),
        "companion_path": None,
        "size_bytes": len(content),
        "record_count": content.count(b"\n"),
        "sha256": hashlib.sha256(content).hexdigest(),
        "file_timestamp": NOW,
        "batch_id": "b1",
        "row_seen_at": NOW,
        "archive_name": f"eLUX/traffic/{path.name}.gz",
        **changes,
    }
    return a_running_file(Stage.SHIP, **values)


def task_of(file: FileRecord, feed: Feed | None = None, **changes: Any) -> Task:  # noqa: ANN401 - any field
    """A claimed file of a feed whose directory is there."""
    feed = feed or a_feed(Path(file.path).parent)
    return Task(file=file, feed=feed, root=find_root(feed.directory), **changes)


def claimed(file: FileRecord) -> FileRecord:
    """As the ledger's claim leaves it."""
    return replace(
        file,
        status=Status.RUNNING,
        attempts=file.attempts + 1,
        claims=file.claims + 1,
        awaits=Awaits.NOTHING,
    )


def claimed_batch(batch: Batch) -> Batch:
    return replace(
        batch, status=Status.RUNNING, attempts=batch.attempts + 1, claims=batch.claims + 1
    )
