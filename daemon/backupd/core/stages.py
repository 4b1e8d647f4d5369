"""Where a file stands: the stage it is owed next, and its status in it."""

from __future__ import annotations

from enum import StrEnum


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


ORDER: tuple[Stage, ...] = tuple(Stage)
BATCHED: frozenset[Stage] = frozenset({Stage.LOAD, Stage.MERGE})


def following(stage: Stage) -> Stage | None:
    """Return the stage after `stage`; None after the last."""
    place = ORDER.index(stage) + 1
    return ORDER[place] if place < len(ORDER) else None
