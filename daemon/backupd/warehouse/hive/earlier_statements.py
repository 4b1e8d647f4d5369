"""Makes sure that a statement of before, maybe another process's, has ended.

Only the server that ran it can say so, or being dead: another one does not know it, which proves
nothing. Where a load balancer or a gateway hides which server answers, only time tells.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyhive.exc import Error as HiveError
from pyhive.exc import OperationalError
from TCLIService.ttypes import (
    TCloseSessionReq,
    TGetInfoReq,
    TGetInfoType,
    TGetOperationStatusReq,
    TOperationHandle,
    TOperationState,
    TOperationType,
    TSessionHandle,
    TStatus,
    TStatusCode,
)

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError, UnknownOutcomeError
from backupd.core.times import moment
from backupd.warehouse.hive.driver import STILL, TRANSPORT_ERRORS, identifier
from backupd.warehouse.hive.errors import cut, verb
from backupd.warehouse.hive.servers import address_of, shown

if TYPE_CHECKING:
    from pyhive import hive

    from backupd.config.sections import HiveSection
    from backupd.config.urls import Address
    from backupd.core.rows import Statement
    from backupd.warehouse.hive.connection import HiveConnection

_ASK_EVERY = 0.5  # seconds
_CONNECT_WITHIN = 10.0  # seconds
_DIES_WITHIN = 5.0  # seconds: what is cancelled may be moving a file yet
_STOPS_WITHIN = 15.0  # seconds: a server that stops closes its port, then ends its statements
_LOOKS = 3  # connections that ask each other's server for their sessions
_BY_ITSELF = {TOperationState.FINISHED_STATE, TOperationState.ERROR_STATE}
_FORGOTTEN = re.compile("Invalid SessionHandle|Session does not exist")  # before Hive 4, and since


@dataclass(frozen=True, slots=True)
class EarlierStatements:
    """Asks over the one connection, which goes to the server that ran the statement for that."""

    section: HiveSection
    connection: HiveConnection

    def end(self, statement: Statement, patience: float) -> None:
        """Make sure that it has ended.

        It gets `patience` seconds to end by itself, where its operation is known; then its session
        is closed, which ends it too. Raises DependencyDownError while that is unknown.
        """
        server = self._server_of(statement)
        if server is None:
            _wait_out(statement, "the ledger does not say at which server", patience)
        elif self._is_hidden(server) or not self._is_dead(server):
            self._end_at(server, statement, patience)

    def _server_of(self, statement: Statement) -> Address | None:
        """Return who ran it; older ledgers do not say, and knew one server alone."""
        if statement.server:
            return address_of(statement.server)
        hosts = self.section.hosts
        return hosts[0] if len(hosts) == 1 else None

    def _end_at(self, server: Address, statement: Statement, patience: float) -> None:
        """Ask there, and end it. An answer is proof; that it is not known is none by itself."""
        try:
            connection = self.connection.ready_at(server)
        except DependencyDownError as error:
            if patience <= 0 and (self._is_hidden(server) or not _refuse_or_take(server)):
                return  # its time is over, and there is nobody to ask
            raise _unknown(statement, f"{shown(server)}: {error}") from error
        try:
            is_known_to_have_ended = self._ended_there(connection, server, statement, patience)
        except (HiveError, *TRANSPORT_ERRORS) as error:
            raise self.connection.lost(error) from error
        if not is_known_to_have_ended:
            hidden = f"a load balancer or gateway at {shown(server)} hides which server has it"
            _wait_out(statement, hidden, patience)

    def _ended_there(
        self, connection: hive.Connection, server: Address, statement: Statement, patience: float
    ) -> bool:
        if statement.operation and self._has_ended(connection, statement.operation, patience):
            _close_session(connection, statement)
            return True
        if self._close(connection, statement):
            return True
        return not self._is_hidden(server) and self._is_one_server(server, connection)

    def _has_ended(self, connection: hive.Connection, operation: str, patience: float) -> bool:
        """Wait for it to come to its end; False where it does not, or the server forgot it."""
        handle = TOperationHandle(identifier(operation), TOperationType.EXECUTE_STATEMENT, False)
        deadline = time.monotonic() + patience
        while True:
            status = connection.client.GetOperationStatus(TGetOperationStatusReq(handle))
            if status.status.statusCode != TStatusCode.SUCCESS_STATUS:
                return False
            if status.operationState not in STILL:
                return bool(status.operationState in _BY_ITSELF)
            self._pause(_ASK_EVERY)
            if time.monotonic() > deadline:
                return False

    def _close(self, connection: hive.Connection, statement: Statement) -> bool:
        """End a session and what runs in it; False if the server knows no such session."""
        status = _close_session(connection, statement)
        words = status.errorMessage or ""
        is_closed = bool(status.statusCode == TStatusCode.SUCCESS_STATUS)
        if not is_closed and not _FORGOTTEN.search(words):
            error = OperationalError(cut(words))
            raise self.connection.down("an earlier session cannot be ended", error)
        self._pause(_DIES_WITHIN)
        return is_closed

    def _pause(self, seconds: float) -> None:
        if self.connection.gave_up.wait(seconds):
            raise UnknownOutcomeError("backupd stops")

    # ------------------------------------------------------------------ who answers

    def _is_dead(self, server: Address) -> bool:
        """Return whether nothing listens there any more; False while nobody can know."""
        if _refuse_or_take(server) != "refuses":
            return False
        self._pause(_STOPS_WITHIN)
        return _refuse_or_take(server) == "refuses"

    def _is_hidden(self, server: Address) -> bool:
        """Return whether the config or DNS shows that this is not the address of one server."""
        if self.section.zookeeper:
            return False  # it registered itself
        if server not in self.section.hosts:
            return True  # it was taken out of the config: nobody knows what it is
        login = self.section.login
        is_balanced = self.section.load_balanced or login.kerberos_host not in ("", server[0])
        is_gateway = login.transport == "http" and "/" in login.http_path
        return is_balanced or is_gateway or len(_ip_addresses(server)) > 1

    def _is_one_server(self, server: Address, connection: hive.Connection) -> bool:
        """Return whether new connections to this address all find the session of the first."""
        asked = TGetInfoReq(connection.sessionHandle, TGetInfoType.CLI_SERVER_NAME)
        for _ in range(_LOOKS):
            with self.connection.another_at(server) as other:
                status = other.client.GetInfo(asked).status
            if status.statusCode == TStatusCode.ERROR_STATUS:
                return False
        return True


def _close_session(connection: hive.Connection, statement: Statement) -> TStatus:
    """End the statement's session; return what the server says of it."""
    handle = TSessionHandle(identifier(statement.session))
    return connection.client.CloseSession(TCloseSessionReq(handle)).status


def _refuse_or_take(server: Address) -> str:
    """Return "takes" or "refuses" connections; "" where nobody can know, as of a host that is off.

    With several addresses, of IPv4 and IPv6, all must refuse.
    """
    answers = {_connects(address) for address in _ip_addresses(server)}
    if "takes" in answers:
        return "takes"
    return "refuses" if answers == {"refuses"} else ""


def _connects(address: Address) -> str:
    try:
        socket.create_connection(address, _CONNECT_WITHIN).close()
    except ConnectionRefusedError:
        return "refuses"
    except OSError:
        return ""
    return "takes"


def _ip_addresses(server: Address) -> set[Address]:
    """Return what a server's name stands for, IPv6 only where there is no IPv4."""
    try:
        found = socket.getaddrinfo(*server, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    older = {str(at[0]) for family, *_, at in found if family == socket.AF_INET}
    return {(ip, server[1]) for ip in older or {str(at[0]) for *_, at in found}}


def _wait_out(statement: Statement, reason: str, patience: float) -> None:
    """Return once the statement's time is over."""
    if patience > 0:
        raise _unknown(statement, reason, time.time() + patience)


def _unknown(statement: Statement, reason: str, until: float | None = None) -> DependencyDownError:
    what = f"{verb(statement.text)} of compaction"
    if statement.text.startswith("INSERT"):
        what = "an INSERT of batch"
    message = f"{what} {statement.batch_id} may still run: {reason}"
    over = f", or until {moment(until)}" if until else ""
    hint = f"no rows are inserted until its server says that it has ended{over}: docs/hive.md"
    return DependencyDownError(Dependency.WAREHOUSE, message, hint=hint)
