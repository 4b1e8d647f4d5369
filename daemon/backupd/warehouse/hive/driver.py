"""PyHive as it is used here, and what servers know sessions and operations by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyhive import hive
from pyhive.exc import Error as HiveError
from pyhive.exc import OperationalError
from TCLIService.ttypes import THandleIdentifier, TOperationState
from thrift.Thrift import TException

if TYPE_CHECKING:
    from collections.abc import Callable

_ROWS_AT_ONCE = 10_000
STILL = {
    TOperationState.INITIALIZED_STATE,
    TOperationState.PENDING_STATE,
    TOperationState.RUNNING_STATE,
}
"""The states of what has not ended."""
TRANSPORT_ERRORS = (TException, OSError, EOFError)
"""What thrift, sockets, TLS, HTTP and Kerberos raise: none of them is a DB-API error."""


class EndedError(OperationalError):  # type: ignore[misc]  # PyHive has no types
    """A statement that has come to its end, by an error."""


class TellingConnection(hive.Connection):  # type: ignore[misc]  # PyHive has no types
    """PyHive's, which forgets its session where the first statement in it fails."""

    def __init__(
        self, leave: Callable[[hive.Connection, BaseException], None], **options: object
    ) -> None:
        """`leave` is called with a connection whose session cannot be used, and why."""
        try:
            super().__init__(**options)
        except (HiveError, *TRANSPORT_ERRORS) as error:
            if hasattr(self, "_sessionHandle"):
                leave(self, error)
            raise


class ImpatientCursor(hive.Cursor):  # type: ignore[misc]  # PyHive has no types
    """PyHive's, without its pause of a second between fetches."""

    def __init__(self, connection: hive.Connection | None) -> None:
        super().__init__(connection, arraysize=_ROWS_AT_ONCE)
        self._poll_interval = 0

    @property
    def operation(self) -> str:
        """What the server knows the statement by."""
        return written(self._operationHandle.operationId)


def written(identifier: THandleIdentifier) -> str:
    """Return what a server knows a session or an operation by, as text."""
    return f"{identifier.guid.hex()}:{identifier.secret.hex()}"


def identifier(text: str) -> THandleIdentifier:
    """Return what `written` has made text of."""
    return THandleIdentifier(*map(bytes.fromhex, text.split(":")))
