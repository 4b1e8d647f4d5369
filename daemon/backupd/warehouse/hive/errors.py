"""What is said about a statement or a server's error message. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupd.config.sections import HiveSection

_SHOWN = 500  # characters of a server's message; it may be a whole Java stack


def verb(statement: str) -> str:
    """Return the first two words of a statement, which say what it was to do."""
    return " ".join(statement.split(maxsplit=2)[:2])


def words_of(error: Exception) -> str:
    """Return what the server or the library said."""
    first = error.args[0] if error.args else None
    status = getattr(first, "status", None)
    if status is not None:
        return cut(status.errorMessage)
    return cut(getattr(error, "message", None) or str(error)) or type(error).__name__


def cut(message: str | None) -> str:
    """Return the message's first line, which holds the cause, cut where it is long."""
    line = (message or "the server gives no reason").strip().partition("\n")[0]
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def hint(words: str, section: HiveSection) -> str:
    """Return what to do about them."""
    if "Bad status: 3" in words:
        return "see that warehouse.hive.username and password_file are what the server wants"
    if "read 0 bytes" in words:
        return (
            f"look whether it runs, and whether its hive.server2.authentication is {section.auth}"
        )
    return "docs/hive.md says what backupd needs there"
