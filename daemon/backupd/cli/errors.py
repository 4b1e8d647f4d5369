"""Exit codes, and errors as an operator wants to read them."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from backupd.core.moves import explained

FAILED = 1  # refused, nothing matched, a file is parked, the daemon could not go on
USAGE = 2  # bad usage or config
LOCKED = 3  # another process holds the ledger


def fail(error: BaseException | str, code: int) -> NoReturn:
    """Say what went wrong on stderr, or in the journal, and leave with this code."""
    text = error if isinstance(error, str) else explained(error)
    if not _told_journal(text, code):
        sys.stderr.write(f"error: {text}\n")
    sys.exit(code)


def _told_journal(text: str, code: int) -> bool:
    """Log the error where stderr is systemd's journal; return whether it is."""
    if "JOURNAL_STREAM" not in os.environ:
        return False
    # What logs need takes its time: `--help` goes without.
    import structlog  # noqa: PLC0415

    from backupd.ops import journal, logs  # noqa: PLC0415

    if not journal.is_stderr(os.environ):
        return False
    logs.set_up()
    structlog.get_logger().error("ended", reason=text, exit_code=code)
    return True
