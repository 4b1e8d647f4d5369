"""Exit codes, and errors as an operator wants to read them."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import structlog

from backupd.core.moves import explained
from backupd.ops import journal, logs

FAILED = 1  # refused, nothing matched, a file is parked, the daemon could not go on
USAGE = 2  # bad usage or config
LOCKED = 3  # another process holds the ledger


def fail(error: BaseException | str, code: int) -> NoReturn:
    """Say what went wrong on stderr, or in the journal, and leave with this code."""
    text = error if isinstance(error, str) else explained(error)
    if journal.is_stderr(os.environ):
        logs.set_up()
        structlog.get_logger().error("ended", reason=text, exit_code=code)
    else:
        sys.stderr.write(f"error: {text}\n")
    sys.exit(code)
