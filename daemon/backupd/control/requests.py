"""What a person wants done with files, and how the daemon is asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from backupd.core.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Action(StrEnum):
    """What to do."""

    REQUEUE = "requeue"
    HOLD = "hold"
    RELEASE = "release"
    DISMISS = "dismiss"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    """What to do with files."""

    action: Action
    stage: Stage | None = None  # requeue from here
    dry_run: bool = False
    why: str = ""  # dismiss for this reason

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Self:
        """Return the request of a message. Raises ValueError or KeyError where it is none."""
        return cls(
            action=Action(message["verb"]),
            stage=Stage(message["from"]) if message.get("from") else None,
            dry_run=bool(message.get("dry_run")),
            why=str(message.get("why", "")),
        )

    def message(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the message that asks the daemon for it."""
        request = {"verb": self.action, "ids": list(ids)}
        return request | {"from": self.stage, "dry_run": self.dry_run, "why": self.why}
