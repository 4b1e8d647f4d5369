"""The seam to the drivers: one connection, one statement at a time, each with a deadline.

A statement is run asynchronously and polled, so that it can be given up and cancelled. A connection
is kept, tried before use when it has idled, and made anew after any transport error: to the next
server, where there are several. All calls block: they belong into a thread.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from pyhive.exc import Error as HiveError
from pyhive.exc import OperationalError
from TCLIService.ttypes import TCloseSessionReq, TOperationState, TSessionHandle

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError, UnknownOutcomeError
from backupd.warehouse.hive.driver import (
    STILL,
    TRANSPORT_ERRORS,
    EndedError,
    ImpatientCursor,
    TellingConnection,
    written,
)
from backupd.warehouse.hive.errors import (
    ServerLostError,
    StatementEndedError,
    cut,
    hint,
    verb,
    words_of,
)
from backupd.warehouse.hive.servers import HiveServers, Servers, shown
from backupd.warehouse.hive.transports import transport_to

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from pyhive import hive
    from TCLIService.ttypes import THandleIdentifier

    from backupd.config.sections import HiveSection, LoginSection
    from backupd.config.urls import Address
    from backupd.warehouse.hive.kerberos import Kerberos
    from backupd.warehouse.hive.transports import Transport

    Row = Sequence[Any]
    # Gets server, session and operation; the last is "" while there is none.
    Identify = Callable[[str, str, str], None]

_ANSWER_WITHIN = 60.0  # seconds: for a call that only asks; a server that takes longer hangs
_COMPILE_WITHIN = 300.0  # seconds: a statement is compiled before it is answered, one at a time
_CANCEL_WITHIN = 10.0  # seconds
_TRY_AFTER_IDLE = 30.0  # seconds: a firewall or the server may have dropped the connection
_POLL_FROM, _POLL_TO = 0.01, 0.5  # seconds between polls; the server itself holds a poll back


class Connection(Protocol):
    """Runs statements; made by what a server's driver needs."""

    def run(self, statement: str, identify: Identify | None = None) -> list[Row]:
        """Run it to its end and return its rows; [] where it has none.

        `identify` is called with what the server knows the statement by: before it is sent, and
        again once the server has taken it.
        Raises DependencyDownError with the server's words when it cannot be reached, refuses the
        statement or fails at it: statements contain no values of files, so no file is at fault.
        It is a ServerLostError where the server broke off and another may go on.
        Raises UnknownOutcomeError when the statement did not end in time. Whatever is raised, the
        statement may have worked, or may still come to its end.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class HiveConnection:
    """`Connection` to one of the HiveServer2s, by PyHive."""

    def __init__(
        self, section: HiveSection, kerberos: Kerberos | None, gave_up: threading.Event
    ) -> None:
        """`gave_up`, set from another thread, ends what runs; what comes later fails at once."""
        self._section = section
        self._kerberos = kerberos
        self._hives = HiveServers(section)
        self.servers = Servers(self._hives.find)
        self.gave_up = gave_up
        self._open: hive.Connection | None = None
        self._transport: Transport | None = None
        self._server: Address | None = None
        self._used_at = 0.0
        self._left: list[tuple[Address, THandleIdentifier]] = []

    def run(self, statement: str, identify: Identify | None = None) -> list[Row]:
        """Run a statement: see `Connection`."""
        connection = self.ready()
        identified = None
        if identify and self._server:
            session = written(connection.sessionHandle.sessionId)
            identified = partial(identify, shown(self._server), session)
            identified("")
        try:
            rows = self._run(ImpatientCursor(connection), statement, identified)
        except HiveError as error:
            failure = self.down(f"{verb(statement)} failed", error)
            self._pass_over(words_of(error))
            if isinstance(error, EndedError):
                raise StatementEndedError(str(failure), hint=failure.hint) from error
            raise failure from error
        except UnknownOutcomeError:
            self._leave(keep_session=identify is not None)
            raise
        except TRANSPORT_ERRORS as error:
            raise self.lost(error, keep_session=identify is not None) from error
        self._used_at = time.monotonic()
        return rows

    def close(self) -> None:
        """Close the session, without insisting."""
        if self._open is not None and self._server is not None:
            self.wait_at_most(_CANCEL_WITHIN)
            try:
                self._open.close()
            except TRANSPORT_ERRORS:
                self._remember_left(self._server, self._open)
            except HiveError:
                pass  # the server has closed it on us
        self._drop()

    def login(self, server: Address) -> LoginSection:
        """Return how this server is logged in to."""
        return self._hives.login(server)

    # ------------------------------------------------------------------ a statement

    def _run(
        self,
        cursor: ImpatientCursor,
        statement: str,
        taken: Callable[[str], None] | None = None,
        compile_within: float = _COMPILE_WITHIN,
    ) -> list[Row]:
        deadline = time.monotonic() + self._section.statement_timeout
        self.wait_at_most(min(self._section.statement_timeout, compile_within))
        cursor.execute(statement, async_=True)
        if taken:
            taken(cursor.operation)
        self.wait_at_most(_ANSWER_WITHIN)
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
            if status.operationState not in STILL:
                with suppress(HiveError):
                    cursor.close()
                has_ended = status.operationState == TOperationState.ERROR_STATE
                kind = EndedError if has_ended else OperationalError
                raise kind(cut(status.errorMessage))
            if time.monotonic() > deadline or self.gave_up.wait(pause):
                self._cancel(cursor)
            pause = min(pause * 2, _POLL_TO)

    def _cancel(self, cursor: ImpatientCursor) -> None:
        """Ask the server to end the statement; nobody can know whether it does."""
        self.wait_at_most(_CANCEL_WITHIN)
        with suppress(HiveError, *TRANSPORT_ERRORS):
            cursor.cancel()
        if self.gave_up.is_set():
            raise UnknownOutcomeError("a statement was cancelled because backupd stops")
        raise UnknownOutcomeError(
            f"a statement did not end in {self._section.statement_timeout:.0f} s and was cancelled",
            hint="look at HiveServer2 and its queue, or raise warehouse.hive.statement_timeout",
        )

    # ------------------------------------------------------------------ the connection

    def ready(self) -> hive.Connection:
        """Return the connection, to the next server where the last one is lost. Raises as `run`."""
        self._refuse_when_stopping()
        self._test()
        if self._open is None:
            self._connect()
        return self._open

    def ready_at(self, server: Address) -> hive.Connection:
        """Return a connection to this server and no other. Raises DependencyDownError."""
        self._refuse_when_stopping()
        self._test()
        if self._open is None or self._server != server:
            self.close()
            self._connect_to(server)
        self.wait_at_most(_ANSWER_WITHIN)
        return self._open

    def _refuse_when_stopping(self) -> None:
        if self.gave_up.is_set():
            raise UnknownOutcomeError("backupd stops")

    def _test(self) -> None:
        """Drop a connection that has idled and does not answer any more."""
        if self._open is None or time.monotonic() - self._used_at < _TRY_AFTER_IDLE:
            return
        try:
            cursor = ImpatientCursor(self._open)
            self._run(cursor, "SELECT 1", compile_within=_ANSWER_WITHIN)
            self._used_at = time.monotonic()
        except (HiveError, UnknownOutcomeError, *TRANSPORT_ERRORS):
            self._leave()

    def _connect(self) -> None:
        """Connect to the first server that takes us. Raises DependencyDownError if none does."""
        failures = []
        try:
            for server in self.servers.in_turn():
                self._refuse_when_stopping()
                try:
                    return self._connect_to(server)
                except DependencyDownError as error:
                    self.servers.leave(server)
                    failures.append(error)
        except OSError as error:  # ZooKeeper's
            raise self._unreachable(str(error)) from error
        if not failures:
            raise self._unreachable("no HiveServer2 is registered in ZooKeeper")
        raise _together(failures)

    @contextmanager
    def another_at(self, server: Address) -> Iterator[hive.Connection]:
        """Open a connection of its own to a server. Raises HiveError and TRANSPORT_ERRORS."""
        transport = self._transport_to(server)
        try:
            connection = self._log_in(server, transport)
            yield connection
            connection.close()
        finally:
            transport.drop()  # neither a login nor a `close` that fails does

    def _transport_to(self, server: Address) -> Transport:
        login = self._hives.login(server)
        transport = transport_to(server, login, self._kerberos if login.kerberos else None)
        transport.wait_at_most(_ANSWER_WITHIN)
        return transport

    def _log_in(self, server: Address, transport: Transport) -> hive.Connection:
        return TellingConnection(
            partial(self._leave_session, server),
            username=self._hives.login(server).username,
            database=self._section.database,
            configuration=session_settings(self._section),
            thrift_transport=transport.thrift,
        )

    def _connect_to(self, server: Address) -> None:
        """Connect. Raises DependencyDownError."""
        try:
            self._server, self._transport = server, self._transport_to(server)
            self._open = self._log_in(server, self._transport)
            self._close_left(server, self._open)
        except HiveError as error:
            failure = self.down("refused the session", error)
            self._drop()
            raise failure from error
        except TRANSPORT_ERRORS as error:
            failure = self.down("cannot be reached", error)
            if self._open is not None:
                self._remember_left(server, self._open)
            self._drop()
            raise failure from error
        self._used_at = time.monotonic()
        self.servers.use(server)

    def wait_at_most(self, seconds: float) -> None:
        """Set how long the server may take to answer."""
        if self._transport is not None:
            self._transport.wait_at_most(seconds)

    # ------------------------------------------------------------------ what breaks

    def lost(self, error: BaseException, *, keep_session: bool = False) -> ServerLostError:
        """Drop the connection, which has broken, and return what there is to say."""
        failure = self.down("the connection broke", error)
        self._leave(keep_session=keep_session)
        return ServerLostError(str(failure), hint=failure.hint)

    def _pass_over(self, words: str) -> None:
        """Try other servers before this one, and forget a session that the server has forgotten.

        Whether a refused statement is the server's fault shows in what the others say of it.
        """
        server = self._server
        if "SessionHandle" in words or "OperationHandle" in words or self.servers.others():
            self.close()
            if server is not None:
                self.servers.leave(server)

    def _leave(self, *, keep_session: bool = False) -> None:
        """Drop a connection that failed, and try other servers before this one."""
        if self._server is None:
            return
        if self._open is not None and not keep_session:
            self._remember_left(self._server, self._open)
        self.servers.leave(self._server)
        self._drop()

    def _leave_session(
        self, server: Address, connection: hive.Connection, error: BaseException
    ) -> None:
        """Close a session that cannot be used: at once if the server answers, else later."""
        if isinstance(error, HiveError):
            with suppress(*TRANSPORT_ERRORS):
                connection.client.CloseSession(TCloseSessionReq(connection.sessionHandle))
                return
        self._remember_left(server, connection)

    def _remember_left(self, server: Address, connection: hive.Connection) -> None:
        self._left = [*self._left[-9:], (server, connection.sessionHandle.sessionId)]

    def _close_left(self, server: Address, connection: hive.Connection) -> None:
        """Close the sessions that broke off here: over HTTP the server does not notice that.

        One with a statement whose end must be known is closed by who asks for that.
        """
        for at, session in list(self._left):
            if at == server:
                connection.client.CloseSession(TCloseSessionReq(TSessionHandle(session)))
                self._left.remove((at, session))

    def _drop(self) -> None:
        """Forget the connection: after a transport error even `close` raises."""
        if self._transport is not None:
            self._transport.drop()
        self._open = self._transport = self._server = None

    def down(self, what: str, error: BaseException) -> DependencyDownError:
        """Return what there is to say of a failure at the server in use."""
        server = shown(self._server) if self._server else "no server"
        kerberos = self._section.login.kerberos
        by = f" as {kerberos.principal}" if kerberos else ""
        words = words_of(error)
        message = f"Hive at {server}{by}: {what}: {words}"
        return DependencyDownError(Dependency.WAREHOUSE, message, hint=hint(words))

    def _unreachable(self, words: str) -> DependencyDownError:
        return DependencyDownError(Dependency.WAREHOUSE, words, hint=hint(words))


def _together(failures: Sequence[DependencyDownError]) -> DependencyDownError:
    """Return one error for the failures of all servers."""
    message = "; ".join(str(each) for each in failures)
    return DependencyDownError(Dependency.WAREHOUSE, message, hint=failures[0].hint)


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
