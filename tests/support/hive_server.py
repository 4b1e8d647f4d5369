"""A small HiveServer2 on the real wire protocol, for the faults that no real one makes on demand.

The drivers' own generated service reads and answers the calls; `HiveTables` carries out what they
ask. Faults are set by `on`, each for the next statement that its pattern is found in.
"""

from __future__ import annotations

import re
import struct
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from TCLIService.ttypes import TOperationHandle, TOperationState
from thrift.Thrift import TException
from thrift.transport.TTransport import TTransportException

from support.hive_binary import SaslAnswer, converse_binary
from support.hive_http import HiveHttp
from support.hive_tables import HiveTables, Rows, SqlError
from support.http_serving import converse
from support.listener import Listener

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

Fault = Literal[
    "cut before",  # the connection breaks, nothing was done
    "cut after",  # it was done, the connection breaks before the answer
    "zombie",  # the connection breaks; it is done when `release` is called
    "hang",  # it runs until it is cancelled, and is not done
    "fail",  # it is taken, and ends with an error
    "forget",  # it is taken and done, and then unknown
    "orphan",  # the connection breaks before the answer; it runs until `release`
    "linger",  # the connection breaks at the first poll; it runs until `release`
]


@dataclass
class _Operation:
    statement: str
    rows: Rows = field(default_factory=list)
    state: int = TOperationState.RUNNING_STATE
    error: SqlError | None = None
    session: bytes = b""
    rest: Callable[[], Rows] | None = None  # of one that runs until `release`
    cut: bool = False  # the connection breaks at the next poll


class HiveServer(Listener):
    """Serves tables from `start` to `stop`. Sessions last until they are closed, also over HTTP."""

    def __init__(self, tables: HiveTables) -> None:
        """Several servers may share the tables. Without `passwords` anyone may log in."""
        super().__init__(self._converse)
        self.tables = tables
        self.transport: Literal["binary", "http"] = "binary"
        self.http = HiveHttp(self)
        self.sasl = True  # NONE, LDAP and KERBEROS speak it, NOSASL does not
        self.sasl_answer: SaslAnswer | None = None  # what every login gets
        self.impala = False  # has the calls that Impala adds to the protocol
        self.passwords: dict[str, str] | None = None
        self.refuses_sessions = ""  # with these words
        self.sessions: set[bytes] = set()  # those that are open
        self.users: list[str] = []  # of the sessions so far
        self.settings: list[dict[str, str]] = []  # of the sessions so far
        self.statements: list[str] = []  # in the order in which they came
        self.cut_at = ""  # the connection breaks, once, at the next call of this name
        self._came = threading.Condition()
        self._polled: list[str] = []
        self._faults: list[tuple[str, Fault]] = []
        self._zombies: list[Callable[[], Rows]] = []
        self._operations: dict[bytes, _Operation] = {}

    def stop(self) -> None:
        """Break all connections and forget all operations, as a server that was killed."""
        super().stop()
        self._operations.clear()
        self.sessions.clear()

    def on(self, pattern: str, fault: Fault) -> None:
        """Have the next statement that `pattern` is found in meet a fault."""
        self._faults.append((pattern, fault))

    def wait_for(self, pattern: str) -> None:
        """Wait until a statement came that the pattern is found in."""
        with self._came:
            self._came.wait_for(lambda: any(re.search(pattern, each) for each in self.statements))

    def note_poll(self, statement: str) -> None:
        """Note that somebody asked how a statement is."""
        with self._came:
            self._polled.append(statement)
            self._came.notify_all()

    def wait_for_poll(self, pattern: str) -> None:
        """Wait until somebody was told how a statement is that the pattern is found in."""
        with self._came:
            self._came.wait_for(lambda: any(re.search(pattern, each) for each in self._polled))

    def release(self) -> list[str]:
        """Let what runs on come to its end; return what each ended with, "" for well."""
        zombies, self._zombies = self._zombies, []
        for operation in self._operations.values():
            if operation.rest:
                zombies.append(operation.rest)
                operation.rest, operation.state = None, TOperationState.FINISHED_STATE
        return [_ended(zombie) for zombie in zombies]

    def _converse(self, connection: socket.socket) -> None:
        with suppress(TException, EOFError, struct.error):
            if self.transport == "http":
                converse(connection, self.http.respond)
            else:
                converse_binary(self, connection)

    # -- statements ------------------------------------------------------------------------------

    def execute(self, statement: str, session: bytes) -> bytes:
        """Begin a statement; return the operation's id."""
        if session not in self.sessions:
            raise SqlError("Invalid SessionHandle", 0)
        with self._came:
            self.statements.append(statement)
            self._came.notify_all()
        fault = self._fault_of(statement)
        operation, key = _Operation(statement, session=session), uuid.uuid4().bytes
        self._carry_out(operation, fault)
        if fault not in ("cut before", "zombie", "forget"):
            self._operations[key] = operation
        if fault in ("cut before", "zombie", "cut after", "orphan"):
            raise TTransportException(message="cut")
        return key

    def _carry_out(self, operation: _Operation, fault: Fault | None) -> None:
        match fault:
            case "cut before" | "hang":
                pass
            case "fail":
                operation.error, operation.state = (
                    SqlError("disk on fire", 1),
                    TOperationState.ERROR_STATE,
                )
            case "zombie":
                self._zombies.append(self.tables.begin(operation.statement))
            case "orphan" | "linger":
                operation.rest = self.tables.begin(operation.statement)
                operation.cut = fault == "linger"
            case _:
                operation.rows = self.tables.run(operation.statement)
                operation.state = TOperationState.FINISHED_STATE

    def open_session(self) -> bytes:
        """Begin a session, which lasts until it is closed, as over a connection half open."""
        if self.refuses_sessions:
            raise SqlError(self.refuses_sessions, 0)
        key = uuid.uuid4().bytes
        self.sessions.add(key)
        return key

    def close_session(self, key: bytes) -> None:
        """End a session and what runs in it."""
        if key not in self.sessions:
            raise SqlError("Session does not exist", 0)
        self.sessions.remove(key)
        for name, operation in list(self._operations.items()):
            if operation.session == key:
                del self._operations[name]

    def operation(self, handle: TOperationHandle) -> _Operation:
        """Return a known operation."""
        found = self._operations.get(handle.operationId.guid)
        if found is None:
            raise SqlError("Invalid OperationHandle", 0)
        return found

    def end(self, handle: TOperationHandle) -> None:
        """Forget a known operation."""
        self.operation(handle)
        del self._operations[handle.operationId.guid]

    def _fault_of(self, statement: str) -> Fault | None:
        for each in self._faults:
            if re.search(each[0], statement):
                self._faults.remove(each)
                return each[1]
        return None


def _ended(work: Callable[[], Rows]) -> str:
    try:
        work()
    except SqlError as error:
        return str(error)
    return ""
