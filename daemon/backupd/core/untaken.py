"""What stands in a feed's directory and cannot be taken, in words for people. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Trouble(NamedTuple):
    """One kind of reason why something is not taken, and what to do about it."""

    what: str  # as it is said of one of them: "it is a symbolic link"
    hint: str


class Untaken(NamedTuple):
    """All that one feed does not take for one trouble; `example` is the path of one."""

    feed: str
    trouble: Trouble
    number: int
    example: str  # escaped

    @property
    def reason(self) -> str:
        """Say which, why, and what to do."""
        more = f", and {self.number - 1:,} more like it" if self.number > 1 else ""
        return f"{self.example}: {self.trouble.what}{more} ({self.trouble.hint})"
