"""A small HiveServer2 on the real wire protocol, for the faults that no real one makes on demand.

The drivers' own generated service reads and answers the calls; `HiveTables` carries out what they
ask. Faults are set by `on`, each for the next statement that its pattern is found in.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from impala._thrift_gen.ImpalaService import ImpalaHiveServer2Service
from impala._thrift_gen.ImpalaService.ttypes import TCloseImpalaOperationResp
from TCLIService import TCLIService, ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import (
    TBufferedTransport,
    TFramedTransport,
    TTransportBase,
    TTransportException,
)

from support.hive_tables import HiveTables, Rows, SqlError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
_SUCCESS = ttypes.TStatus(ttypes.TStatusCode.SUCCESS_STATUS)
_STATES = ttypes.TOperationState
_BAD, _COMPLETE = 3, 5


@dataclass
class _Operation:
    statement: str
    rows: Rows = field(default_factory=list)
    state: int = _STATES.RUNNING_STATE
    error: SqlError | None = None
    session: bytes = b""
    rest: Callable[[], Rows] | None = None  # of one that runs until `release`
    cut: bool = False  # the connection breaks at the next poll


class HiveServer:
    """Listens on a free port of loopback from `start` to `stop`."""

    host = "127.0.0.1"

    def __init__(self, directory: Path) -> None:
        """`directory` is where the tables' files lie. Without `passwords` anyone may log in."""
        self.tables = HiveTables(directory)
        self.sasl = True  # NONE and LDAP speak it, NOSASL does not
        self.impala = False  # has the calls that Impala adds to the protocol
        self.passwords: dict[str, str] | None = None
        self.users: list[str] = []  # of the sessions so far
        self.settings: list[dict[str, str]] = []  # of the sessions so far
        self.statements: list[str] = []  # in the order in which they came
        self.cut_at = ""  # the connection breaks, once, at the next call of this name
        self.silent = False  # takes connections, and answers nothing
        self.port = 0
        self._came = threading.Condition()
        self._polled: list[str] = []
        self._faults: list[tuple[str, Fault]] = []
        self._zombies: list[Callable[[], Rows]] = []
        self._sessions: set[bytes] = set()
        self._operations: dict[bytes, _Operation] = {}
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Listen; after `stop` on the same port again."""
        self._listener = listener = socket.create_server((self.host, self.port))
        self.port = listener.getsockname()[1]
        self._begin(self._accept, listener)

    def stop(self) -> None:
        """Break all connections and forget all operations, as a server that was killed."""
        assert self._listener
        with self._listener, suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._operations.clear()
        self._sessions.clear()

    def cut(self) -> None:
        """Break every connection now."""
        for each in list(self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

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
                operation.rest, operation.state = None, _STATES.FINISHED_STATE
        return [_ended(zombie) for zombie in zombies]

    # -- connections -----------------------------------------------------------------------------

    def _begin(self, work: Any, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                self._begin(self._serve, listener.accept()[0])

    def _serve(self, connection: socket.socket) -> None:
        self._connections.add(connection)
        with connection, suppress(TException, OSError, EOFError, struct.error):
            carrier = TSocket()
            carrier.setHandle(connection)
            if not self.silent:
                self._converse(carrier, connection)
            while connection.recv(4096):
                pass
        self._connections.discard(connection)

    def _converse(self, carrier: TSocket, connection: socket.socket) -> None:
        transport: TTransportBase = TBufferedTransport(carrier)
        if self.sasl:
            if not self._log_in(connection):
                return
            transport = TFramedTransport(carrier)
        protocol = TBinaryProtocol(transport)
        service = ImpalaHiveServer2Service if self.impala else TCLIService
        processor = service.Processor(_Calls(self))
        while True:
            processor.process(protocol, protocol)

    def _log_in(self, connection: socket.socket) -> bool:
        """Speak SASL's PLAIN."""
        _message(connection)  # the mechanism
        _, user, password = _message(connection)[1].split(b"\0")
        if self.passwords is not None and self.passwords.get(user.decode()) != password.decode():
            _answer(connection, _BAD, b"Error validating the login")
            return False
        _answer(connection, _COMPLETE, b"")
        return True

    # -- statements ------------------------------------------------------------------------------

    def execute(self, statement: str, session: bytes = b"") -> bytes:
        """Begin a statement; return the operation's id."""
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
                operation.error, operation.state = SqlError("disk on fire", 1), _STATES.ERROR_STATE
            case "zombie":
                self._zombies.append(self.tables.begin(operation.statement))
            case "orphan" | "linger":
                operation.rest = self.tables.begin(operation.statement)
                operation.cut = fault == "linger"
            case _:
                operation.rows = self.tables.run(operation.statement)
                operation.state = _STATES.FINISHED_STATE

    def open_session(self) -> bytes:
        """Begin a session, which lasts until it is closed, as over a connection half open."""
        key = uuid.uuid4().bytes
        self._sessions.add(key)
        return key

    def close_session(self, key: bytes) -> bool:
        """End a session and what runs in it; tell whether there was one."""
        if key not in self._sessions:
            return False
        self._sessions.remove(key)
        for name, operation in list(self._operations.items()):
            if operation.session == key:
                del self._operations[name]
        return True

    def operation(self, handle: ttypes.TOperationHandle) -> _Operation:
        """Return a known operation."""
        found = self._operations.get(handle.operationId.guid)
        if found is None:
            raise SqlError("Invalid OperationHandle", 0)
        return found

    def end(self, handle: ttypes.TOperationHandle) -> None:
        """Forget an operation."""
        self._operations.pop(handle.operationId.guid, None)

    def _fault_of(self, statement: str) -> Fault | None:
        for each in self._faults:
            if re.search(each[0], statement):
                self._faults.remove(each)
                return each[1]
        return None


class _Calls:
    """What the generated service calls. The names are the protocol's."""

    def __init__(self, server: HiveServer) -> None:
        self._server = server

    def __getattribute__(self, name: str) -> Any:
        server = object.__getattribute__(self, "_server")
        if name == server.cut_at:
            server.cut_at = ""
            raise TTransportException(message="cut")
        return object.__getattribute__(self, name)

    def OpenSession(self, request: Any) -> Any:
        self._server.users.append(request.username)
        self._server.settings.append(request.configuration)
        return ttypes.TOpenSessionResp(
            _SUCCESS,
            request.client_protocol,
            ttypes.TSessionHandle(_identifier(self._server.open_session())),
        )

    def CloseSession(self, request: Any) -> Any:
        key = request.sessionHandle.sessionId.guid
        if self._server.close_session(key):
            return ttypes.TCloseSessionResp(_SUCCESS)
        return ttypes.TCloseSessionResp(_refusal(SqlError("Session does not exist", 0)))

    def ExecuteStatement(self, request: Any) -> Any:
        try:
            session = request.sessionHandle.sessionId.guid
            key = self._server.execute(request.statement, session)
        except SqlError as error:
            return ttypes.TExecuteStatementResp(_refusal(error))
        has_rows = request.statement.startswith(("SELECT", "DESCRIBE", "SHOW"))
        kind = ttypes.TOperationType.EXECUTE_STATEMENT
        handle = ttypes.TOperationHandle(_identifier(key), kind, has_rows)
        return ttypes.TExecuteStatementResp(_SUCCESS, handle)

    def GetOperationStatus(self, request: Any) -> Any:
        try:
            found = self._server.operation(request.operationHandle)
        except SqlError as error:
            return ttypes.TGetOperationStatusResp(_refusal(error))
        if found.cut:
            found.cut = False
            raise TTransportException(message="cut")
        self._server.note_poll(found.statement)
        return ttypes.TGetOperationStatusResp(
            _SUCCESS,
            found.state,
            errorCode=found.error and found.error.code,
            errorMessage=found.error and str(found.error),
        )

    def CancelOperation(self, request: Any) -> Any:
        found = self._server.operation(request.operationHandle)
        found.state, found.rest = _STATES.CANCELED_STATE, None
        return ttypes.TCancelOperationResp(_SUCCESS)

    def CloseOperation(self, request: Any) -> Any:
        self._server.end(request.operationHandle)
        return ttypes.TCloseOperationResp(_SUCCESS)

    def CloseImpalaOperation(self, request: Any) -> Any:
        self._server.end(request.operationHandle)
        return TCloseImpalaOperationResp(_SUCCESS)

    def GetResultSetMetadata(self, request: Any) -> Any:
        rows = self._server.operation(request.operationHandle).rows
        entry = ttypes.TTypeEntry(ttypes.TPrimitiveTypeEntry(ttypes.TTypeId.STRING_TYPE))
        columns = [
            ttypes.TColumnDesc(f"c{number}", ttypes.TTypeDesc([entry]), number)
            for number in range(len(rows[0]) if rows else 1)
        ]
        return ttypes.TGetResultSetMetadataResp(_SUCCESS, ttypes.TTableSchema(columns))

    def FetchResults(self, request: Any) -> Any:
        found = self._server.operation(request.operationHandle)
        rows, found.rows = found.rows[: request.maxRows], found.rows[request.maxRows :]
        columns = [
            ttypes.TColumn(
                stringVal=ttypes.TStringColumn([cell or "" for cell in cells], _nulls(cells))
            )
            for cells in (zip(*rows, strict=True) if rows else [()])
        ]
        return ttypes.TFetchResultsResp(_SUCCESS, False, ttypes.TRowSet(0, [], columns))


def _ended(work: Callable[[], Rows]) -> str:
    try:
        work()
    except SqlError as error:
        return str(error)
    return ""


def _identifier(key: bytes) -> Any:
    return ttypes.THandleIdentifier(key, key)


def _refusal(error: SqlError) -> Any:
    return ttypes.TStatus(
        ttypes.TStatusCode.ERROR_STATUS, [], "42000", error.code, errorMessage=str(error)
    )


def _nulls(cells: tuple[str | None, ...]) -> bytes:
    """Return a bit a cell, the lowest of each byte first."""
    bits = sum(1 << number for number, cell in enumerate(cells) if cell is None)
    return bits.to_bytes((len(cells) + 7) // 8, "little")


def _message(connection: socket.socket) -> tuple[int, bytes]:
    status, length = struct.unpack(">BI", _exactly(connection, 5))
    return status, _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _answer(connection: socket.socket, status: int, body: bytes) -> None:
    connection.sendall(struct.pack(">BI", status, len(body)) + body)
