"""Places that backupd writes to, each known by a mark: the file `.backupd-id` in it.

A disk that is not mounted leaves an empty directory behind, which takes whatever is written to it.
So the first one who writes to a place leaves a mark there, the ledger remembers it, and nothing is
written to a place that lacks it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

MARK_FILE = ".backupd-id"
LONGEST_MARK = 100  # bytes; what is longer is none of ours
MOST = LONGEST_MARK + 1  # bytes to be read of the file: enough to see that it is too long
_MARK = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Witness:
    """A copy that must be in the archive, if it is the one that the ledger means."""

    archive_name: str
    sent_bytes: int


def new_mark() -> str:
    """Return a mark that no other place has: 32 hex digits."""
    return secrets.token_hex(16)


def mark_text(mark: str) -> bytes:
    """Return what the file of a mark holds."""
    return f"{mark}\n".encode()


def mark_in(text: bytes) -> str | None:
    """Return the mark that a file holds; None where it holds something else."""
    found = text.decode("ascii", "replace").strip()
    return found if _MARK.fullmatch(found) else None


def mark_state(found: bytes | str | None, expected: str | None) -> str:
    """Say how a place is marked that agrees with the expected mark, or of which none is expected.

    `found` is its mark, or the text of its file; None: there is none.
    """
    if expected is not None:
        return f"its mark {MARK_FILE} is the one that this ledger knows"
    if found is None:
        return "no mark yet: it is written at the first use"
    return f"has a mark, {MARK_FILE}: it is taken over at the first use"
