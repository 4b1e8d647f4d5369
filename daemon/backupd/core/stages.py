"""Where a file stands: the stage it is owed next, and its status in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stage(StrEnum):
    """The work a file is owed next. Beside each: what a restart in it means."""

    SETTLE = "settle"  # looked at again; nothing was done yet
    MANIFEST = "manifest"  # read again from its first byte
    LOAD = "load"  # its batch is staged again under the same name
    MERGE = "merge"  # its batch is looked for in production, merged if it is not there
    SHIP = "ship"  # looked for in the archive, sent again if it is not there
    CLEANUP = "cleanup"  # compared again, then removed; already gone counts as removed


class Status(StrEnum):
    """How a file stands in its stage. Beside each: what a restart makes of it."""

    WAITING = "waiting"  # stays; picked up when it is due
    RUNNING = "running"  # becomes waiting again, noted as interrupted
    PARKED = "parked"  # stays until a person takes it back
    DONE = "done"  # stays; its stage is cleanup


class Awaits(StrEnum):
    """What a file waits for, beside its turn and its time."""

    NOTHING = ""
    COMPANION = "companion"  # its companion has not come
    WRITER = "writer"  # a process that has had it open for long
    ORIGINAL = "original"  # the file that it is a duplicate of is not done
    KEEP = "keep"  # `cleanup.keep_for` is not over
    ARCHIVE = "archive"  # its directory in the archive takes nothing
    ROOM = "room"  # the archive has no room for a file of its size
    RELEASE = "release"  # it is held by hand


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """What sets a stage apart; the texts are for people, about a file as "it"."""

    does: str
    repeats: str  # when it is requeued from here
    flag: int  # in the status file, as the health checks of the old job know it
    needs: Dependency | None = None  # the dependency without which it pauses
    batched: bool = False  # its work is done for a whole batch
    reads_all: bool = False  # it goes as fast as bytes, not files, do


FACTS: Mapping[Stage, StageFacts] = {
    Stage.SETTLE: StageFacts(
        does="it is looked at again, whether it is complete",
        repeats="it is looked at until it is complete, then goes through every stage",
        flag=1,
    ),
    Stage.MANIFEST: StageFacts(
        does="it is read, counted and hashed",
        repeats="it is read, counted and hashed again, then goes through every later stage",
        flag=1,
        reads_all=True,
    ),
    Stage.LOAD: StageFacts(
        does="its batch is staged in the warehouse",
        repeats="it goes into a new batch; its row is made only if production lacks it",
        flag=2,
        needs=Dependency.WAREHOUSE,
        batched=True,
    ),
    Stage.MERGE: StageFacts(
        does="its batch is merged into the production table",
        repeats="it goes into a new batch; its row is made only if production lacks it",
        flag=3,
        needs=Dependency.WAREHOUSE,
        batched=True,
    ),
    Stage.SHIP: StageFacts(
        does="it is sent to the archive and verified there",
        repeats="the archive is looked at first; it is sent only if it is not there",
        flag=4,
        needs=Dependency.ARCHIVE,
        reads_all=True,
    ),
    Stage.CLEANUP: StageFacts(
        does="its proof is checked, then the local copy goes as configured",
        repeats="its proof is checked anew, then the local copy goes as configured",
        flag=5,
    ),
}
ORDER: tuple[Stage, ...] = tuple(Stage)
BATCHED: frozenset[Stage] = frozenset(stage for stage in Stage if FACTS[stage].batched)
SINGLE: tuple[Stage, ...] = tuple(stage for stage in ORDER[1:] if not FACTS[stage].batched)
"""The stages with a lane for single files: intake checks those that settle."""
UNSHIPPED: tuple[Stage, ...] = ORDER[ORDER.index(Stage.MERGE) + 1 : ORDER.index(Stage.CLEANUP)]
"""The stages of a file that has a row and may have no copy yet: its content can still be lost."""


def stages_that_need(dependency: str) -> list[Stage]:
    """Return the stages that pause while a dependency is down."""
    return [stage for stage in ORDER if FACTS[stage].needs == dependency]


def following(stage: Stage) -> Stage | None:
    """Return the stage after `stage`; None after the last."""
    place = ORDER.index(stage) + 1
    return ORDER[place] if place < len(ORDER) else None
