"""Runs one of our programs where it sees no claims of others, nor they its own: as on another host.

    python on_another_host.py HOST PROGRAM ARGUMENT...

Claims are names in the abstract socket namespace, and each kernel has its own. Only they are apart
here: the network is the same, as between hosts.
"""

from __future__ import annotations

import runpy
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from _typeshed import ReadableBuffer

    Address = tuple[Any, ...] | str | ReadableBuffer

_CLAIM = "\0backupd/"


def main() -> None:
    """Give each claim a name with the host in it, then run the program."""
    host, program = sys.argv[1:3]

    def own(address: Address) -> Address:
        is_claim = isinstance(address, str) and address.startswith(_CLAIM)
        return f"{address}@{host}" if is_claim else address

    class Socket(socket.socket):
        def bind(self, address: Address) -> None:
            super().bind(own(address))

        def connect(self, address: Address) -> None:
            super().connect(own(address))

    socket.socket = Socket  # type: ignore[misc]  # a test's own
    sys.argv[:] = sys.argv[2:]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
