"""Makes this process die at a moment of its conversation with HiveServer2, as `kill -9` does it."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any, Literal

from backupd.warehouse.hive.driver import ImpatientCursor

if TYPE_CHECKING:
    from collections.abc import Callable

Moment = Literal["sent", "polled"]  # a statement was sent; the server took it and is asked about it


def die_at(pattern: str, moment: Moment) -> None:
    """Die when a statement that begins with this pattern comes to that moment."""
    current = ""
    execute = ImpatientCursor.execute

    def begin(self: ImpatientCursor, operation: str, **options: object) -> None:
        nonlocal current
        current = operation
        client = self._connection.client
        if moment == "sent":
            client.recv_ExecuteStatement = deadly(client.recv_ExecuteStatement)
        else:
            client.send_GetOperationStatus = deadly(client.send_GetOperationStatus)
        execute(self, operation, **options)

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: object) -> object:
            if re.match(pattern, current):
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)

        return called

    ImpatientCursor.execute = begin
