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
    from pathlib import Path

Fault = Literal[
    "cut before",  # the connection breaks, nothing was done
    "cut after",  # it was done, the connection breaks before the answer
    "zombie",  # the connection breaks; it is done when `release` is called
    "hang",  # it runs until it is cancelled, and is not done
    "fail",  # it is taken, and ends with an error
    "forget",  # it is taken and done, and then unknown
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
        self._faults: list[tuple[str, Fault]] = []
        self._zombies: list[str] = []
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

    def release(self) -> list[str]:
        """Let the zombies come to their end; return what each ended with, "" for well."""
        zombies, self._zombies = self._zombies, []
        return [self._ended(statement) for statement in zombies]

    def _ended(self, statement: str) -> str:
        try:
            self.tables.run(statement)
        except SqlError as error:
            return str(error)
        return ""

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

    def execute(self, statement: str) -> bytes:
        """Begin a statement; return the operation's id."""
        with self._came:
            self.statements.append(statement)
            self._came.notify_all()
        fault = self._fault_of(statement)
        if fault in ("cut before", "zombie"):
            if fault == "zombie":
                self._zombies.append(statement)
            raise TTransportException(message="cut")
        operation, key = _Operation(statement), uuid.uuid4().bytes
        if fault == "fail":
            operation.error, operation.state = SqlError("disk on fire", 1), _STATES.ERROR_STATE
        elif fault != "hang":
            operation.rows = self.tables.run(statement)
            operation.state = _STATES.FINISHED_STATE
        if fault == "cut after":
            raise TTransportException(message="cut")
        if fault != "forget":
            self._operations[key] = operation
        return key

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
            ttypes.TSessionHandle(_identifier(uuid.uuid4().bytes)),
        )

    def CloseSession(self, _: Any) -> Any:
        return ttypes.TCloseSessionResp(_SUCCESS)

    def ExecuteStatement(self, request: Any) -> Any:
        try:
            key = self._server.execute(request.statement)
        except SqlError as error:
            return ttypes.TExecuteStatementResp(_refusal(error))
        has_rows = request.statement.startswith(("SELECT", "DESCRIBE"))
        kind = ttypes.TOperationType.EXECUTE_STATEMENT
        handle = ttypes.TOperationHandle(_identifier(key), kind, has_rows)
        return ttypes.TExecuteStatementResp(_SUCCESS, handle)

    def GetOperationStatus(self, request: Any) -> Any:
        try:
            found = self._server.operation(request.operationHandle)
        except SqlError as error:
            return ttypes.TGetOperationStatusResp(_refusal(error))
        return ttypes.TGetOperationStatusResp(
            _SUCCESS,
            found.state,
            errorCode=found.error and found.error.code,
            errorMessage=found.error and str(found.error),
        )

    def CancelOperation(self, request: Any) -> Any:
        self._server.operation(request.operationHandle).state = _STATES.CANCELED_STATE
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
