"""The daemon's end of the control socket: one JSON line asks, one JSON line answers."""

from __future__ import annotations

import errno
import grp
import json
import os
import socket
import stat
import struct
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import structlog

from backupd.completeness.judging import Excuse
from backupd.control import actions
from backupd.control.client import LONGEST_REQUEST
from backupd.control.requests import Action, FileRequest
from backupd.core.errors import BackupdError
from backupd.ops.bounded_server import BoundedServer, Bounds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backupd.core.compacting import Compacting
    from backupd.ledger import Ledger

    BackUp = Callable[[], Awaitable[dict[str, Any]]]

log = structlog.get_logger()

_CONNECTIONS = 32
_GROUP = "backupd"  # its members may use backupd-admin
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: socket(7), SO_PEERCRED
_SO_PEERGROUPS = 59  # asm-generic/socket.h; the socket module does not name it
_GROUP_ID = struct.Struct("I")
_LONGEST_ANSWER = 1024  # bytes: the most that socket.getsockopt takes, 256 groups


async def _nothing_shipped() -> dict[str, Any]:
    """Stand in for who makes snapshots, in dev."""
    raise actions.nothing_shipped()


class ControlServer:
    """Answers on a socket to root, its own user and, where there is one, the group `backupd`.

    Others may not open it, and are turned away by credentials all the same. Use as an async
    context manager: it listens while entered.
    """

    def __init__(
        self,
        path: Path,
        ledger: Ledger,
        back_up: BackUp = _nothing_shipped,
        compacting: Compacting | None = None,
    ) -> None:
        """`back_up` makes a snapshot of the ledger, and says what became of it.

        `compacting` is the warehouse; None where it is not compacted when asked.
        """
        self._path = path
        self._back_up = back_up
        self._ledger = ledger
        self._compacting = compacting
        self._since = time.time()
        self._group = _group_let_in()
        bounds = Bounds(end=b"\n", longest=LONGEST_REQUEST, connections=_CONNECTIONS)
        self._server = BoundedServer(bounds, self)

    async def __aenter__(self) -> Self:
        """Listen. Raises BackupdError where the socket cannot be made or another daemon has it."""
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._clear_the_way()
            await self._server.listen(_bound(self._path, self._group))
        except OSError as error:
            raise BackupdError(
                f"cannot listen on the control socket {self._path}: {error.strerror or error}",
                hint="set control.socket to a short path in a directory that backupd may write",
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Listen no more."""
        await self._server.close()
        self._path.unlink(missing_ok=True)

    def _clear_the_way(self) -> None:
        """Remove the socket of a daemon that is gone; never that of one that still answers.

        What is no socket stays, and the bind says that it is in the way.
        """
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._path))
            except FileNotFoundError:
                return
            except ConnectionRefusedError:  # by a file that is no socket, too
                if stat.S_ISSOCK(self._path.lstat().st_mode):
                    self._path.unlink()
                return
        raise BackupdError(
            f"another backupd answers on the control socket {self._path}",
            hint="give each daemon a control.socket of its own",
        )

    async def answer(self, request: bytes, peer: socket.socket) -> bytes:
        """Return the answer to a request's line."""
        return _line(await self._answer_to(request, peer))

    def refusal(self, why: str) -> bytes:
        """Return the answer to a line that was not heard to its end."""
        return _line({"error": f"not understood: the request is {why}"})

    async def _answer_to(self, request: bytes, peer: socket.socket) -> dict[str, Any]:
        uid, groups = _credentials_of(peer)
        if uid not in {0, os.geteuid()} and self._group not in groups:
            log.info("control request refused", uid=uid)
            return {"error": f"user {uid} may not control this daemon"}
        try:
            return await self._obey(json.loads(request))
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"not understood: {error!r}"}
        except BackupdError as error:
            return {"error": str(error), "hint": error.hint}

    async def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        now = time.time()
        match request["verb"]:
            case "status":
                trouble = "no room for the ledger on its disk" if self._ledger.lacks_room else ""
                return {"pid": os.getpid(), "since": self._since, "trouble": trouble}
            case "place" | "excuse":
                return await self._write_down(request, now)
            case "backup":
                return await self._back_up()
            case "dates to compact" | "compact":
                return await self._compact(request)
            case verb if verb in list(Action):
                asked = FileRequest.of(request)
                answers = await actions.carry_out(self._ledger, asked, request["ids"], now)
                return {"answers": [asdict(answer) for answer in answers]}
            case verb:
                return {"error": f"no such verb: {verb}"}

    async def _write_down(self, request: dict[str, Any], now: float) -> dict[str, Any]:
        if request["verb"] == "excuse":
            await actions.excuse(self._ledger, Excuse(**request["excuse"]))
        else:
            name, mark = str(request["name"]), str(request["mark"])
            await actions.remember_place(self._ledger, name, mark, now)
        return {}

    async def _compact(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._compacting is None:
            raise BackupdError("there is no warehouse here that could be compacted")
        if request["verb"] == "compact":
            return {"compaction": asdict(await self._compacting.compact(str(request["date"])))}
        return {"dates": await self._compacting.dates_to_compact(str(request["before"]))}


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _group_let_in() -> int | None:
    """Return the id of the group `backupd`, if the socket is to be its own: None, if not.

    It is where the daemon runs as that group or as root. A daemon of somebody else's, on a host
    where the service is installed too, is no concern of the service's operators.
    """
    try:
        group = grp.getgrnam(_GROUP).gr_gid
    except KeyError:
        return None
    return group if os.geteuid() == 0 or os.getegid() == group else None


def _bound(path: Path, group: int | None) -> socket.socket:
    """Return a bound socket that was never open to others, not even for a moment."""
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
        if group is not None:
            _let_in(path, group)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening


def _let_in(path: Path, group: int) -> None:
    """Give the socket to the group: it alone, and not what a link in its place would lead to."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), str(path))
        if os.geteuid() == 0:  # else it is the group's already
            os.chown(f"/proc/self/fd/{descriptor}", -1, group)
        Path(f"/proc/self/fd/{descriptor}").chmod(0o660)
    finally:
        os.close(descriptor)


def _credentials_of(peer: socket.socket) -> tuple[int, set[int]]:
    """Return the user who asks, and all of their groups, as they were when they connected."""
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(raw)
    return uid, {gid, *_other_groups(peer)}


def _other_groups(peer: socket.socket) -> list[int]:
    """Return the supplementary groups; of someone in more than Python can ask for, none."""
    try:
        groups = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _LONGEST_ANSWER)
    except OSError:
        return []
    return [group for (group,) in _GROUP_ID.iter_unpack(groups)]
