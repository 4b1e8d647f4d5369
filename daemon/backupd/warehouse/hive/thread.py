"""One thread for all that is done in Hive: a call at a time, from server to server."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from backupd.warehouse.hive.connection import HiveConnection
from backupd.warehouse.hive.errors import ServerLostError
from backupd.warehouse.hive.kerberos import Kerberos
from backupd.warehouse.hive.servers import shown
from backupd.warehouse.hive.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupd.config.sections import HiveSection

T = TypeVar("T")


class HiveThread:
    """Owns a connection and the way to the staging folder. Nothing is connected to yet.

    No two statements of one thread ever race. A call that was given up goes on to its end before
    the next one looks at what it left.
    """

    def __init__(self, section: HiveSection, name: str) -> None:
        self._gave_up = threading.Event()
        login = section.login.kerberos or section.staging.kerberos
        self.kerberos = Kerberos(login, self._gave_up) if login else None
        self.connection = HiveConnection(section, self.kerberos, self._gave_up)
        self.staging = Staging(section.staging, self.kerberos)
        self._kinds = {"HiveServer2": self.connection.servers}
        if self.staging.hdfs:
            self._kinds["NameNode"] = self.staging.hdfs.servers
        self._thread = ThreadPoolExecutor(1, name)

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """Do it, from its beginning at the next server where one broke off, while there are more.

        All that is done here looks first, and changes nothing when it is done again.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(self._over_servers, work, *args))

    def in_use(self) -> dict[str, str]:
        """Return which servers are in use, host:port by what they are."""
        return {
            kind: shown(servers.in_use) for kind, servers in self._kinds.items() if servers.in_use
        }

    async def aclose(self) -> None:
        """Cancel the statement at work, log out."""
        self._gave_up.set()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        await asyncio.to_thread(self.connection.close)

    def _over_servers(self, work: Callable[..., T], *args: object) -> T:
        lost = 0
        while True:
            try:
                return work(*args)
            except ServerLostError:
                lost += 1
                if lost > sum(servers.others() for servers in self._kinds.values()):
                    raise
