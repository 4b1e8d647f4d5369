"""The asking end of the control socket."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from backupd.core.errors import BackupdError

if TYPE_CHECKING:
    from pathlib import Path

_DEADLINE = 120.0  # seconds: a requeue of very many files takes its time


class DaemonAbsentError(BackupdError):
    """No daemon answers on the socket."""


def ask_daemon(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the daemon, return its answer.

    Raises DaemonAbsentError when none listens, BackupdError when it refuses or does not answer.
    """
    try:
        answer = _exchange(path, request)
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
        raise BackupdError(str(answer["error"]))
    return answer


def _exchange(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_DEADLINE)
        connection.connect(str(path))
        with suppress(BrokenPipeError):  # refused unheard: the answer says why
            connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    answer: dict[str, Any] = json.loads(line)
    return answer
