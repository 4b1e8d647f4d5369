"""The seam to the drivers: one connection, one statement at a time, each with a deadline.

A statement is run asynchronously and polled, so that it can be given up and cancelled. A connection
is kept, tried before use when it has idled, and made anew after any transport error. All calls
block: they belong into a thread.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from pyhive import hive
from pyhive.exc import Error as HiveError
from pyhive.exc import OperationalError
from pyhive.sasl_compat import PureSASLClient
from TCLIService.ttypes import (
    TCloseSessionReq,
    TGetOperationStatusReq,
    THandleIdentifier,
    TOperationHandle,
    TOperationState,
    TOperationType,
    TSessionHandle,
    TStatusCode,
)
from thrift.Thrift import TException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport
from thrift_sasl import TSaslClientTransport

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError, UnknownOutcomeError
from backupd.warehouse.hive.errors import cut, hint, verb, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupd.config.sections import HiveSection

    Row = Sequence[Any]
    Identify = Callable[[str, str], None]  # gets session and operation; "" while there is none
    from thrift.transport.TTransport import TTransportBase

    from backupd.config.sections import ImpalaSection

_ANSWER_WITHIN = 60.0  # seconds: for a call that only asks; a server that takes longer hangs
_COMPILE_WITHIN = 300.0  # seconds: a statement is compiled before it is answered, one at a time
_CANCEL_WITHIN = 10.0  # seconds
_TRY_AFTER_IDLE = 30.0  # seconds: a firewall or the server may have dropped the connection
_POLL_FROM, _POLL_TO = 0.01, 0.5  # seconds between polls; the server itself holds a poll back
_ROWS_AT_ONCE = 10_000
_STILL = {
    TOperationState.INITIALIZED_STATE,
    TOperationState.PENDING_STATE,
    TOperationState.RUNNING_STATE,
}
_BY_ITSELF = {TOperationState.FINISHED_STATE, TOperationState.ERROR_STATE}
_FORGOTTEN = re.compile("Invalid SessionHandle|Session does not exist")  # before Hive 4, and since
_DIES_WITHIN = 5.0  # seconds: what is cancelled may be moving a file yet
_TRANSPORT = (TException, OSError, EOFError)  # what thrift raises is no DB-API error


class Connection(Protocol):
    """Runs statements; made by what a server's driver needs."""

    def run(self, statement: str, identify: Identify | None = None) -> list[Row]:
        """Run it to its end and return its rows; [] where it has none.

        `identify` is called with what the server knows the statement by: before it is sent, and
        again once the server has taken it.
        Raises DependencyDownError with the server's words when it cannot be reached, refuses the
        statement or fails at it: statements contain no values of files, so no file is at fault.
        Raises UnknownOutcomeError when the statement did not end in time. Whatever is raised, the
        statement may have worked, or may still come to its end.
        """
        ...

    def end(self, session: str, operation: str, patience: float) -> None:
        """Make sure that a statement of another session, maybe another process's, has ended.

        It gets `patience` seconds to end by itself, where its operation is known; then its session
        is closed, which ends it too. Raises DependencyDownError while that is unknown.
        """
        ...

    def give_up(self) -> None:
        """End what runs, from another thread; what comes later fails at once."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class HiveConnection:
    """`Connection` to HiveServer2, by PyHive."""

    def __init__(self, section: HiveSection) -> None:
        self._section = section
        self._open: hive.Connection | None = None
        self._socket: TSocket | None = None
        self._used_at = 0.0
        self._gave_up = threading.Event()

    def run(self, statement: str, identify: Identify | None = None) -> list[Row]:
        """Run a statement: see `Connection`."""
        connection = self._ready()
        identified = None
        if identify:
            identified = partial(identify, _written(connection.sessionHandle.sessionId))
            identified("")
        try:
            rows = self._run(ImpatientCursor(connection), statement, identified)
        except HiveError as error:
            if "SessionHandle" in words_of(error):  # the server has closed the session on us
                self._drop()
            raise self._down(f"{verb(statement)} failed", error) from error
        except UnknownOutcomeError:
            self._drop()
            raise
        except _TRANSPORT as error:
            self._drop()
            raise self._down("the connection broke", error) from error
        self._used_at = time.monotonic()
        return rows

    def end(self, session: str, operation: str, patience: float) -> None:
        """See that a statement of another session has ended: see `Connection`."""
        connection = self._ready()
        self._patience(_ANSWER_WITHIN)
        try:
            if not (operation and self._has_ended(connection, operation, patience)):
                self._close(connection, session)
        except _TRANSPORT as error:
            self._drop()
            raise self._down("the connection broke", error) from error

    def give_up(self) -> None:
        """End what runs within seconds: see `Connection`."""
        self._gave_up.set()

    def close(self) -> None:
        """Close the session, without insisting."""
        if self._open is not None:
            self._patience(_CANCEL_WITHIN)
            with suppress(HiveError, *_TRANSPORT):
                self._open.close()
        self._drop()

    # ------------------------------------------------------------------ a statement

    def _run(
        self,
        cursor: ImpatientCursor,
        statement: str,
        taken: Callable[[str], None] | None = None,
    ) -> list[Row]:
        deadline = time.monotonic() + self._section.statement_timeout
        self._patience(min(self._section.statement_timeout, _COMPILE_WITHIN))
        cursor.execute(statement, async_=True)
        if taken:
            taken(cursor.operation)
        self._patience(_ANSWER_WITHIN)
        self._wait(cursor, deadline)
        rows = cursor.fetchall() if cursor.description else []
        cursor.close()
        return rows

    def _wait(self, cursor: ImpatientCursor, deadline: float) -> None:
        pause = _POLL_FROM
        while True:
            status = cursor.poll(get_progress_update=False)
            if status.operationState == TOperationState.FINISHED_STATE:
                return
            if status.operationState not in _STILL:
                with suppress(HiveError):
                    cursor.close()
                raise OperationalError(cut(status.errorMessage))
            if time.monotonic() > deadline or self._gave_up.wait(pause):
                self._cancel(cursor)
            pause = min(pause * 2, _POLL_TO)

    def _cancel(self, cursor: ImpatientCursor) -> None:
        """Ask the server to end the statement; nobody can know whether it does."""
        self._patience(_CANCEL_WITHIN)
        with suppress(HiveError, *_TRANSPORT):
            cursor.cancel()
        if self._gave_up.is_set():
            raise UnknownOutcomeError("a statement was cancelled because backupd stops")
        raise UnknownOutcomeError(
            f"a statement did not end in {self._section.statement_timeout:.0f} s and was cancelled",
            hint="look at HiveServer2 and its queue, or raise warehouse.hive.statement_timeout",
        )

    # ------------------------------------------------------------------ a statement of before

    def _has_ended(self, connection: hive.Connection, operation: str, patience: float) -> bool:
        """Wait for it to come to its end; False where it does not, or the server forgot it."""
        handle = TOperationHandle(_identifier(operation), TOperationType.EXECUTE_STATEMENT, False)
        deadline = time.monotonic() + patience
        while True:
            status = connection.client.GetOperationStatus(TGetOperationStatusReq(handle))
            if status.status.statusCode != TStatusCode.SUCCESS_STATUS:
                return False
            if status.operationState not in _STILL:
                return bool(status.operationState in _BY_ITSELF)
            if self._gave_up.wait(_POLL_TO):
                raise UnknownOutcomeError("backupd stops")
            if time.monotonic() > deadline:
                return False

    def _close(self, connection: hive.Connection, session: str) -> None:
        """End a session and what runs in it, and give that the time to die."""
        handle = TSessionHandle(_identifier(session))
        status = connection.client.CloseSession(TCloseSessionReq(handle)).status
        words = status.errorMessage or ""
        if status.statusCode != TStatusCode.SUCCESS_STATUS and not _FORGOTTEN.search(words):
            raise self._down("an earlier session cannot be ended", OperationalError(cut(words)))
        if self._gave_up.wait(_DIES_WITHIN):
            raise UnknownOutcomeError("backupd stops")

    # ------------------------------------------------------------------ the connection

    def _ready(self) -> hive.Connection:
        if self._gave_up.is_set():
            raise UnknownOutcomeError("backupd stops")
        if self._open is not None and time.monotonic() - self._used_at > _TRY_AFTER_IDLE:
            self._test()
        if self._open is None:
            self._connect()
        return self._open

    def _test(self) -> None:
        """Drop a connection that does not answer any more."""
        self._patience(_ANSWER_WITHIN)
        try:
            self._run(ImpatientCursor(self._open), "SELECT 1")
        except (HiveError, UnknownOutcomeError, *_TRANSPORT):
            self._drop()

    def _connect(self) -> None:
        section = self._section
        self._socket = TSocket(section.host, section.port, socket_keepalive=True)
        self._patience(_ANSWER_WITHIN)
        try:
            self._open = hive.Connection(
                username=section.username,
                database=section.database,
                configuration=session_settings(section),
                thrift_transport=transport_over(self._socket, section),
            )
        except HiveError as error:
            self._drop()
            raise self._down("refused the session", error) from error
        except _TRANSPORT as error:
            self._drop()
            raise self._down("cannot be reached", error) from error

    def _patience(self, seconds: float) -> None:
        if self._socket is not None:
            self._socket.setTimeout(seconds * 1000)

    def _drop(self) -> None:
        """Forget the connection: after a transport error even `close` raises."""
        if self._socket is not None:
            self._socket.close()
        self._open = self._socket = None

    def _down(self, what: str, error: Exception) -> DependencyDownError:
        section = self._section
        words = words_of(error)
        return DependencyDownError(
            Dependency.WAREHOUSE,
            f"Hive at {section.host}:{section.port}: {what}: {words}",
            hint=hint(words, section),
        )


# Reading a few columns of a partition needs no job, however large the partition is.
_READING = {"hive.fetch.task.conversion": "more", "hive.fetch.task.conversion.threshold": "-1"}
# A batch may hold files of any number of dates; each file makes one partition at the most.
_INSERTING = {
    "hive.exec.dynamic.partition": "true",
    "hive.exec.dynamic.partition.mode": "nonstrict",
    "hive.exec.max.dynamic.partitions": "100000",
    "hive.exec.max.dynamic.partitions.pernode": "100000",
}


def session_settings(section: HiveSection) -> dict[str, str]:
    """Return the Hive settings of our sessions; those of the config go over ours."""
    ours = _READING | _INSERTING if section.merge == "insert" else _READING
    return ours | section.settings


class ImpatientCursor(hive.Cursor):  # type: ignore[misc]  # PyHive has no types
    """PyHive's, without its pause of a second between fetches."""

    def __init__(self, connection: hive.Connection | None) -> None:
        super().__init__(connection, arraysize=_ROWS_AT_ONCE)
        self._poll_interval = 0

    @property
    def operation(self) -> str:
        """What the server knows the statement by."""
        return _written(self._operationHandle.operationId)


def _written(identifier: THandleIdentifier) -> str:
    return f"{identifier.guid.hex()}:{identifier.secret.hex()}"


def _identifier(text: str) -> THandleIdentifier:
    return THandleIdentifier(*map(bytes.fromhex, text.split(":")))


def transport_over(socket: TSocket, section: HiveSection | ImpalaSection) -> TTransportBase:
    """Return the transport that speaks as `auth` says. The socket stays the caller's to close."""
    if section.auth == "NOSASL":
        return TBufferedTransport(socket)
    # With NONE the server believes any password, as long as there is one.
    password = section.password or "x"

    def client() -> PureSASLClient:
        return PureSASLClient(section.host, username=section.username, password=password)

    return TSaslClientTransport(client, "PLAIN", socket)
