"""The journal of systemd: an entry a log line, with its facts as fields `BACKUPD_...`.

Entries go to the journal's own socket, not over stderr: a line of text has no fields. They go by a
thread: a journal that is stopped takes none, and libsystemd would wait with the whole process.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from array import array
from typing import TYPE_CHECKING

from backupd.ops.streams import STDERR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_SOCKET = "/run/systemd/journal/socket"

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}  # syslog(3)
_SUBJECTS = ("file", "batch", "title", "dependency", "feed")  # what a line is about, shown bare
_WORDS = ("detail", "reason", "why", "mistake", "hint")  # sentences: at the end, shown bare
_NOT_SHOWN = frozenset(
    {"event", "level", "exception", "file_id", "stage", "incident", "cause", "kind", *_WORDS}
)


def is_stderr(environ: Mapping[str, str]) -> bool:
    """Return whether stderr is connected to the journal: systemd.exec(5), $JOURNAL_STREAM."""
    try:
        found = os.fstat(STDERR)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class Journal:
    """The way to the journal: its native protocol, an entry a datagram."""

    def __init__(self, address: str = _SOCKET) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __call__(self, lines: Sequence[bytes]) -> int:
        """Send entries."""
        return sum(not self._is_sent(line) for line in lines)

    def _is_sent(self, line: bytes) -> bool:
        try:
            self._socket.sendto(line, self._address)
        except OSError as error:
            return error.errno == errno.EMSGSIZE and self._is_sent_as_file(line)
        return True

    def _is_sent_as_file(self, line: bytes) -> bool:
        """Send an entry that is too large for a datagram."""
        file = os.memfd_create("entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(file, line)
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALED)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [file]))
            self._socket.sendmsg([b""], [rights], 0, self._address)
        except OSError:
            return False
        finally:
            os.close(file)
        return True


_SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class JournalLogger:
    """What structlog writes to: takes a line's facts, its `event` and `level` among them."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._put = put

    def send(self, **facts: object) -> None:
        """Make an entry of them."""
        self._put(datagram(entry(facts)))

    debug = info = warning = error = critical = send


class JournalHandler(logging.Handler):
    """Takes the lines of libraries."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        """Make an entry of it."""
        facts: dict[str, object] = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.exc_info:
            facts["exception"] = logging.Formatter().formatException(record.exc_info)
        self._put(datagram(entry(facts)))


def datagram(fields: Iterable[bytes]) -> bytes:
    """Return an entry as the journal's native protocol has it. Pure."""
    return b"".join(map(_field, fields))


def _field(field: bytes) -> bytes:
    if b"\n" not in field:
        return field + b"\n"
    name, _, value = field.partition(b"=")
    return b"%s\n%s%s\n" % (name, len(value).to_bytes(8, "little"), value)


def entry(facts: Mapping[str, object]) -> list[bytes]:
    """Return the fields of a line's entry, each as `NAME=value`. Pure."""
    fields = {
        "MESSAGE": message(facts),
        "PRIORITY": _PRIORITIES.get(str(facts.get("level")), _PRIORITIES["info"]),
        "SYSLOG_IDENTIFIER": "backupd",
        **{f"BACKUPD_{name.upper()}": value for name, value in facts.items() if name != "level"},
    }
    return [f"{name}={value}".encode(errors="backslashreplace") for name, value in fields.items()]


def message(facts: Mapping[str, object]) -> str:
    """Return a line as people want to read it: what happened, to what, what more is known."""
    subject = next((str(facts[name]) for name in _SUBJECTS if facts.get(name)), "")
    words = [str(facts[name]) for name in _WORDS if facts.get(name)]
    more = ", ".join(f"{name} {facts[name]}" for name in facts if _is_more(name, subject, facts))
    about = ": ".join(part for part in (str(facts["event"]), subject) if part)
    text = ": ".join([f"{about} ({more})" if more else about, *words])
    return "\n".join(part for part in (text, str(facts.get("exception") or "")) if part)


def _is_more(name: str, subject: str, facts: Mapping[str, object]) -> bool:
    value = facts[name]
    return name not in _NOT_SHOWN and (bool(value) or value == 0) and value != subject
