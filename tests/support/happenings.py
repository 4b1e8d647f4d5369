"""What may happen to a file at the stages that work on single files."""

from __future__ import annotations

from backupd.core.errors import (
    DependencyDownError,
    LocalGoneError,
    NameTakenError,
    NoRoomError,
    PermanentError,
    RefusedError,
    RewindError,
    TransientError,
    UnknownOutcomeError,
)
from backupd.core.records import Result
from backupd.core.stages import Stage

ERRORS: list[Exception] = [
    TransientError("slow"),
    UnknownOutcomeError("lost"),
    RefusedError("refused", load=True),
    NoRoomError("too large"),
    PermanentError("bad", hint="look"),
    NameTakenError("taken"),
    LocalGoneError("gone"),
    DependencyDownError("archive", "down"),
    RewindError(Stage.SETTLE, "changed"),
    ValueError("a bug"),
]
DONE = Result(changes={}, detail="well")
