"""The errors that decide what becomes of a file.

    BackupdError
    ├── TransientError           try again after a pause; an attempt is burnt
    │   ├── UnknownOutcomeError  it may have happened: the next try looks first (a file's attempt is
    │   │                    not burnt, a batch's is)
    │   ├── RefusedError         the archive answered and refused: what beside it is refused too
    │   │                    decides whose fault it is (`archive.scope`)
    │   └── NoRoomError          the archive has no room for this file, though for smaller ones: it
    │                        waits alone, no attempt is burnt
    ├── PermanentError           trying again cannot help: park
    │   ├── NameTakenError       the name exists in the archive; nothing was written over
    │   ├── LostStoryError       what is known of its first delivery is not in the history any more
    │   └── LocalGoneError       the local file is not there, or not the registered one, any more
    ├── DependencyDownError      the fault is not the file's: its stage pauses, no attempt is burnt
    ├── WorkerDiedError          a process of ours died with the file in hand: may be its fault
    ├── RewindError              the ground changed: go back to an earlier stage
    └── LedgerError              the ledger cannot be trusted: stop the daemon

Adapters translate their libraries' exceptions into these once, at their edge. `str(error)` is a
sentence for an operator; `hint` is the next thing to do, where there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupd.core.stages import Stage


class BackupdError(Exception):
    """Anything that backupd itself raises. `hint` says what the operator should do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Let it go from one process to another, whatever its constructor asks for."""
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[BackupdError], args: tuple[object, ...], state: dict[str, object]) -> object:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class TransientError(BackupdError):
    """May well work when tried again."""


class UnknownOutcomeError(TransientError):
    """The answer was lost: it may have happened or not. Every stage looks before it repeats."""


class RefusedError(TransientError):
    """The archive answered, and refused. Whose fault it is shows in what else it refuses.

    `room`: it may be for want of room. `load`: it may be that too much is open there at once.
    """

    def __init__(
        self, message: str, *, hint: str = "", room: bool = False, load: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.room = room
        self.load = load


class NoRoomError(TransientError):
    """The archive has no room for this file, while it takes smaller ones."""


class PermanentError(BackupdError):
    """Trying the same again cannot help: the file (or the batch, by splitting) is parked."""


class NameTakenError(PermanentError):
    """The name in the archive exists already. Nothing was written over."""


class LostStoryError(PermanentError):
    """The file was delivered before, its row would not be recognised, and its story is lost."""


class LocalGoneError(PermanentError):
    """The local file vanished or was replaced before it was shipped: its content is lost to us."""


class DependencyDownError(BackupdError):
    """A dependency, not the file, is at fault.

    `dependency` is a `Dependency`, or the name of a feed's or an archive directory
    (`core.dependencies`).
    """

    def __init__(self, dependency: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.dependency = dependency


class WorkerDiedError(BackupdError):
    """A process of ours died while it had the file in hand. Counts as an interruption."""


class RewindError(BackupdError):
    """What an earlier stage left is no longer so: the file or batch goes back to `stage`."""

    def __init__(self, stage: Stage, message: str, **changes: object) -> None:
        """`changes` are new values for the file's record."""
        super().__init__(message)
        self.stage = stage
        self.changes = changes


class LedgerError(BackupdError):
    """The ledger cannot be read or written as it must be. Fatal: nothing may go on without it."""
