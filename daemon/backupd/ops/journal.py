"""The journal of systemd: an entry a log line, with its facts as fields `BACKUPD_...`.

Entries go to the journal's own socket, not over stderr: a line of text has no fields.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from systemd import journal

if TYPE_CHECKING:
    from collections.abc import Mapping

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}  # syslog(3)
_SUBJECTS = ("file", "batch", "title", "dependency", "feed")  # what a line is about, shown bare
_WORDS = ("detail", "reason", "why", "mistake", "hint")  # sentences: at the end, shown bare
_NOT_SHOWN = frozenset(
    {"event", "level", "exception", "file_id", "stage", "incident", "cause", "kind", *_WORDS}
)


def is_stderr(environ: Mapping[str, str]) -> bool:
    """Tell whether stderr is connected to the journal: systemd.exec(5), $JOURNAL_STREAM."""
    try:
        found = os.fstat(sys.__stderr__.fileno()) if sys.__stderr__ else None
    except (OSError, ValueError):
        return False
    return found is not None and environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class JournalLogger:
    """What structlog writes to: takes a line's facts, its `event` and `level` among them."""

    def send(self, **facts: object) -> None:
        """Make an entry of them."""
        _send(facts)

    debug = info = warning = error = critical = send


class JournalHandler(logging.Handler):
    """Takes the lines of libraries."""

    def emit(self, record: logging.LogRecord) -> None:
        """Make an entry of it."""
        facts: dict[str, object] = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.exc_info:
            facts["exception"] = logging.Formatter().formatException(record.exc_info)
        _send(facts)


def _send(facts: Mapping[str, object]) -> None:
    with suppress(OSError):  # a journal that takes no entries must not end what it tells of
        journal.sendv(*entry(facts))


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
