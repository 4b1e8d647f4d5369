"""The asking end of the control socket."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from backupd.core.errors import BackupdError

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_REQUEST = 256 * 1024  # bytes: thousands of ids fit
_DEADLINE = 120  # seconds: a requeue of very many files takes its time
_SECONDS = struct.Struct("ll")  # and microseconds: socket(7), SO_SNDTIMEO


class DaemonAbsentError(BackupdError):
    """No daemon answers on the socket."""


def ask_daemon(path: Path, request: dict[str, Any], patience: int = _DEADLINE) -> dict[str, Any]:
    """Ask the daemon, return its answer, for which is waited so many seconds.

    Raises DaemonAbsentError when none listens, BackupdError when it refuses or does not answer, or
    would not hear a request so long.
    """
    line = json.dumps(request).encode() + b"\n"
    if len(line) > LONGEST_REQUEST:
        raise BackupdError(
            f"the request has {len(line):,} bytes, the daemon hears {LONGEST_REQUEST:,} at most",
            hint="ask for fewer files at once, or give a shorter reason",
        )
    try:
        answer = _exchange(path, line, patience)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise DaemonAbsentError(f"no daemon listens on {path}") from error
    except PermissionError as error:
        raise BackupdError(
            f"the control socket {path} may not be opened by this user",
            hint="run it as root, as the daemon's user, or as a member of the group backupd",
        ) from error
    except (OSError, ValueError) as error:
        raise BackupdError(f"the daemon did not answer on {path}: {error}") from error
    if "error" in answer:
        raise BackupdError(str(answer["error"]), hint=str(answer.get("hint", "")))
    return answer


def _exchange(path: Path, request: bytes, patience: int) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        # Not yet settimeout: a connect that may not block fails where others stand in the queue.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SECONDS.pack(_DEADLINE, 0))
        connection.connect(str(path))
        connection.settimeout(patience)
        with suppress(BrokenPipeError):  # refused unheard: the answer says why
            connection.sendall(request)
        with connection.makefile("rb") as answers:
            line = answers.readline()
    answer: dict[str, Any] = json.loads(line)
    return answer
