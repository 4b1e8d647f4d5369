"""Starts our programs out of a process that has imported all of the product already.

What a program then does is the same; only its start, most of a second, is spared. A start of its
own remains where that is what a test is about, or where a launcher or an environment is given.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from backupd.cli import admin, daemon

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PROGRAMS = {"backupd": daemon.main, "backupd-admin": admin.main}
_ORDER = 65_536  # bytes of a start's arguments and environment, at most


class Started:
    """A running program, as subprocess.Popen shows it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = int(connection.recv(32))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit code, or minus the signal."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int(self._connection.recv(32))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            self._connection.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


Program = subprocess.Popen[bytes] | Started
_orders: list[socket.socket] = []  # to the process that starts programs, while there is one


def start(command: Sequence[str], environ: dict[str, str], stdout: int, stderr: int) -> Program:
    """Start `backupd` or `backupd-admin`, the prepared one while there is one."""
    if not _orders:
        return subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environ)
    order = json.dumps([list(command), environ, str(Path.cwd())]).encode()
    assert len(order) < _ORDER
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.send(order)
        socket.send_fds(_orders[-1], [b"start"], [theirs.fileno(), stdout, stderr])
    return Started(ours)


@contextmanager
def programs_prepared() -> Iterator[None]:
    """Have programs started by a process that has imported the product, while the block lasts."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", __name__, str(theirs.fileno())]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with ours, theirs:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environ
        )
        theirs.close()
        _orders.append(ours)
        yield
        _orders.remove(ours)
    process.wait()


# ------------------------------------------------------------------ in the process that starts


def _serve(orders: socket.socket) -> None:
    _import_all()
    while True:
        words, descriptors, _, _ = socket.recv_fds(orders, 16, 3)
        if not words:
            return
        if not os.fork():
            orders.close()
            _look_after(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):  # those that have ended
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _import_all() -> None:
    for place, _ in (admin.COMMANDS | daemon.COMMANDS).values():
        pkgutil.resolve_name(place)
    pkgutil.resolve_name("backupd.supervisor")
    gc.freeze()


def _look_after(connection: int, stdout: int, stderr: int) -> NoReturn:
    with socket.socket(fileno=connection) as ours:
        program = os.fork()
        if not program:
            _become(ours, stdout, stderr)
        ours.send(str(program).encode())
        _, status = os.waitpid(program, 0)
        with suppress(OSError):
            ours.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(connection: socket.socket, stdout: int, stderr: int) -> NoReturn:
    command, environ, directory = json.loads(connection.recv(_ORDER))
    connection.close()
    for descriptor, number in ((stdout, 1), (stderr, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(directory)
    time.tzset()
    sys.argv = command
    _PROGRAMS[Path(command[0]).name]()
    os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
