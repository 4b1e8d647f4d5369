"""Notifies Impala that the production table has new files: REFRESH, by impyla.

Impala reads the table's partitions and files from its own memory; REFRESH makes it look again. It
may be repeated at will, and one is enough for any number of merges before it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from impala._thrift_api import ThriftClient
from impala.error import Error as ImpalaError
from impala.hiveserver2 import HiveServer2Connection, HS2Service
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TException

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError
from backupd.warehouse.hive.errors import cut, hint, words_of
from backupd.warehouse.hive.kerberos import Kerberos
from backupd.warehouse.hive.servers import shown
from backupd.warehouse.hive.sql import refresh
from backupd.warehouse.hive.transports import transport_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from impala.hiveserver2 import HiveServer2Cursor

    from backupd.config.sections import ImpalaSection
    from backupd.warehouse.hive.sql import TableSql
    from backupd.warehouse.hive.transports import Transport

_ANSWER_WITHIN = 60.0  # seconds for a call; Impala holds back the answer to a poll for some
_LOG_OUT_WITHIN = 10.0  # seconds
_REFRESH_WITHIN = 600.0  # seconds
_POLL_EVERY = 0.2  # seconds
_PARTITIONS = 10  # more than these are refreshed by one statement for the whole table
_FAULTS = (ImpalaError, TException, OSError, EOFError)


class Impala:
    """`core.ports.Refresher`. Each REFRESH logs in anew: seconds lie between two."""

    def __init__(self, section: ImpalaSection, sql: TableSql) -> None:
        """`sql` is about the production table."""
        self._section = section
        self._sql = sql
        self._gave_up = threading.Event()
        kerberos = section.login.kerberos
        self._kerberos = Kerberos(kerberos, self._gave_up) if kerberos else None
        self._thread = ThreadPoolExecutor(1, "impala")

    @property
    def table(self) -> str:
        """The production table's name, quoted."""
        return self._sql.name

    async def refresh(self, table: str, dates: Sequence[str]) -> None:
        """Have the files of these partitions looked for again, within ten minutes a statement.

        A partition that Impala does not know yet, or a table whose partitions it refuses to refresh
        alone, is refreshed whole; so is one with many dates.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._refresh, table, dates)

    async def aclose(self) -> None:
        """Cancel what runs."""
        self._gave_up.set()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    # ------------------------------------------------------------------ in the thread

    def _refresh(self, table: str, dates: Sequence[str]) -> None:
        try:
            if not 0 < len(dates) <= _PARTITIONS:
                self._run([refresh(table)])
                return
            try:
                self._run([refresh(table, self._sql.spec(date)) for date in dates])
            except ImpalaError:
                self._run([refresh(table)])
        except _FAULTS as error:
            raise self._down(words_of(error)) from error

    def _run(self, statements: Sequence[str]) -> None:
        section = self._section
        transport = transport_to(section.address, section.login, self._kerberos)
        transport.wait_at_most(_ANSWER_WITHIN)
        try:
            cursor = self._log_in(transport)
            try:
                for statement in statements:
                    cursor.execute_async(statement)
                    self._wait(cursor, statement)
                cursor.close()
            finally:
                self._log_out(cursor, transport)
        finally:
            transport.drop()

    def _log_in(self, transport: Transport) -> HiveServer2Cursor:
        """Do as impyla's `connect`, which leaves its socket open when the login is refused."""
        transport.thrift.open()
        service = HS2Service(ThriftClient(TBinaryProtocol(transport.thrift)), retries=1)
        return HiveServer2Connection(service).cursor(user=self._section.login.username)

    def _log_out(self, cursor: HiveServer2Cursor, transport: Transport) -> None:
        """End the session where it has not ended: over HTTP it outlives its connection."""
        if self._section.login.transport == "http":
            transport.wait_at_most(_LOG_OUT_WITHIN)
            with suppress(*_FAULTS):
                cursor.close()
        # Otherwise impyla connects anew, to log out, whenever it is collected.
        cursor._closed = True  # noqa: SLF001

    def _wait(self, cursor: HiveServer2Cursor, statement: str) -> None:
        deadline = time.monotonic() + _REFRESH_WITHIN
        while cursor.is_executing():
            if time.monotonic() > deadline or self._gave_up.wait(_POLL_EVERY):
                with suppress(*_FAULTS):
                    cursor.cancel_operation()
                raise self._down(f"{statement} did not end and was cancelled")
        # How it ended; impyla's own `execute` does the same.
        cursor._wait_to_finish()  # noqa: SLF001

    def _down(self, words: str) -> DependencyDownError:
        meaning = hint(words, "")
        on = "files go on without it; until it answers it does not see the newest rows"
        return DependencyDownError(
            Dependency.IMPALA,
            f"Impala at {shown(self._section.address)}: {cut(words)}",
            hint=f"{meaning}; {on}" if meaning else on,
        )
