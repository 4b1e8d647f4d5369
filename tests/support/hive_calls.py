"""The calls of HiveServer2's protocol, as the drivers' own generated service takes them."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from impala._thrift_gen.ImpalaService import ImpalaHiveServer2Service
from impala._thrift_gen.ImpalaService.ttypes import TCloseImpalaOperationResp
from TCLIService import TCLIService, ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TTransportException

from support.hive_tables import SqlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.hive_server import HiveServer

    Call = Callable[[Any, Any], Any]

_SUCCESS = ttypes.TStatus(ttypes.TStatusCode.SUCCESS_STATUS)
_NAME = ttypes.TGetInfoValue(stringValue="Hive")


class HiveProtocol(TBinaryProtocol):  # type: ignore[misc]  # thrift has no types
    """The drivers' own, which would fail at an unknown call: it takes all bytes there for text."""

    def readString(self) -> str:
        return bytes(self.readBinary()).decode(errors="replace")


def processor(server: HiveServer) -> Any:
    """Return what reads a call from a protocol and writes the answer to another."""
    service = ImpalaHiveServer2Service if server.impala else TCLIService
    return service.Processor(_Calls(server))


def _or_refusal(answer: Any) -> Callable[[Call], Call]:
    """Have a call that is refused answer in its own kind."""

    def around(call: Call) -> Call:
        @wraps(call)
        def answered(calls: Any, request: Any) -> Any:
            try:
                return call(calls, request)
            except SqlError as error:
                return answer(_refusal(error))

        return answered

    return around


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

    @_or_refusal(ttypes.TOpenSessionResp)
    def OpenSession(self, request: Any) -> Any:
        self._server.users.append(request.username)
        self._server.settings.append(request.configuration)
        return ttypes.TOpenSessionResp(
            _SUCCESS,
            request.client_protocol,
            ttypes.TSessionHandle(_identifier(self._server.open_session())),
        )

    @_or_refusal(ttypes.TCloseSessionResp)
    def CloseSession(self, request: Any) -> Any:
        self._server.close_session(request.sessionHandle.sessionId.guid)
        return ttypes.TCloseSessionResp(_SUCCESS)

    @_or_refusal(lambda status: ttypes.TGetInfoResp(status, _NAME))
    def GetInfo(self, request: Any) -> Any:
        if request.sessionHandle.sessionId.guid not in self._server.sessions:
            raise SqlError("Session does not exist", 0)
        return ttypes.TGetInfoResp(_SUCCESS, _NAME)

    @_or_refusal(ttypes.TExecuteStatementResp)
    def ExecuteStatement(self, request: Any) -> Any:
        key = self._server.execute(request.statement, request.sessionHandle.sessionId.guid)
        has_rows = request.statement.startswith(("SELECT", "DESCRIBE", "SHOW"))
        kind = ttypes.TOperationType.EXECUTE_STATEMENT
        handle = ttypes.TOperationHandle(_identifier(key), kind, has_rows)
        return ttypes.TExecuteStatementResp(_SUCCESS, handle)

    @_or_refusal(ttypes.TGetOperationStatusResp)
    def GetOperationStatus(self, request: Any) -> Any:
        found = self._server.operation(request.operationHandle)
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

    @_or_refusal(ttypes.TCancelOperationResp)
    def CancelOperation(self, request: Any) -> Any:
        found = self._server.operation(request.operationHandle)
        found.state, found.rest = ttypes.TOperationState.CANCELED_STATE, None
        return ttypes.TCancelOperationResp(_SUCCESS)

    @_or_refusal(ttypes.TCloseOperationResp)
    def CloseOperation(self, request: Any) -> Any:
        self._server.end(request.operationHandle)
        return ttypes.TCloseOperationResp(_SUCCESS)

    @_or_refusal(TCloseImpalaOperationResp)
    def CloseImpalaOperation(self, request: Any) -> Any:
        self._server.end(request.operationHandle)
        return TCloseImpalaOperationResp(_SUCCESS)

    @_or_refusal(ttypes.TGetResultSetMetadataResp)
    def GetResultSetMetadata(self, request: Any) -> Any:
        rows = self._server.operation(request.operationHandle).rows
        entry = ttypes.TTypeEntry(ttypes.TPrimitiveTypeEntry(ttypes.TTypeId.STRING_TYPE))
        columns = [
            ttypes.TColumnDesc(f"c{number}", ttypes.TTypeDesc([entry]), number)
            for number in range(len(rows[0]) if rows else 1)
        ]
        return ttypes.TGetResultSetMetadataResp(_SUCCESS, ttypes.TTableSchema(columns))

    @_or_refusal(ttypes.TFetchResultsResp)
    def FetchResults(self, request: Any) -> Any:
        found = self._server.operation(request.operationHandle)
        rows, found.rows = found.rows[: request.maxRows], found.rows[request.maxRows :]
        columns = [_column(cells) for cells in (zip(*rows, strict=True) if rows else [()])]
        return ttypes.TFetchResultsResp(_SUCCESS, False, ttypes.TRowSet(0, [], columns))


def _identifier(key: bytes) -> Any:
    return ttypes.THandleIdentifier(key, key)


def _refusal(error: SqlError) -> Any:
    return ttypes.TStatus(
        ttypes.TStatusCode.ERROR_STATUS, [], "42000", error.code, errorMessage=str(error)
    )


# How a column of these values goes over the wire, and what stands there for null.
_COLUMNS: dict[type, tuple[str, Any, object]] = {
    str: ("stringVal", ttypes.TStringColumn, ""),
    bool: ("boolVal", ttypes.TBoolColumn, False),
    int: ("i64Val", ttypes.TI64Column, 0),
    float: ("doubleVal", ttypes.TDoubleColumn, 0.0),
}


def _column(cells: tuple[object, ...]) -> Any:
    kind = next((type(cell) for cell in cells if cell is not None), str)
    name, made, nothing = _COLUMNS[kind]
    values = [nothing if cell is None else cell for cell in cells]
    return ttypes.TColumn(**{name: made(values, _nulls(cells))})


def _nulls(cells: tuple[object, ...]) -> bytes:
    """Return a bit a cell, the lowest of each byte first."""
    bits = sum(1 << number for number, cell in enumerate(cells) if cell is None)
    return bits.to_bytes((len(cells) + 7) // 8, "little")
