"""Counting records: one a line, header lines not counted, the last one may lack its newline."""

from __future__ import annotations

import zlib

from backupd.core.archive_names import GZIP_WINDOW
from backupd.core.errors import PermanentError

_PIECE = 1 << 20  # bytes of text at a time: a small .gz may hold gigabytes


class LineCounter:
    """Counts the lines of data that comes in blocks."""

    def __init__(self) -> None:
        self._newlines = 0
        self._open_line = False

    def update(self, block: bytes) -> None:
        """Add the next block."""
        if block:
            self._newlines += block.count(b"\n")
            self._open_line = not block.endswith(b"\n")

    def lines(self) -> int:
        """Return how many lines there were; one without newline at the end is a line."""
        return self._newlines + self._open_line


class GzipLineCounter:
    """Counts the lines of the text in a .gz that comes in blocks, of all its members."""

    def __init__(self) -> None:
        self._text = LineCounter()
        self._member: zlib._Decompress | None = None
        self._members = 0

    def update(self, block: bytes) -> None:
        """Add the next block. Raises PermanentError when it is not gzip."""
        while block:
            if self._member is None:
                block = block.lstrip(b"\0") if self._members else block  # padding between members
                if not block:
                    return
                self._member = zlib.decompressobj(GZIP_WINDOW)
                self._members += 1
            block = self._decompress(self._member, block)

    def lines(self) -> int:
        """Return how many lines there were. Raises PermanentError when the end is missing."""
        if self._member is not None or not self._members:
            raise PermanentError(
                "it does not decompress whole: its end is missing",
                hint="have it delivered again",
            )
        return self._text.lines()

    def _decompress(self, member: zlib._Decompress, block: bytes) -> bytes:
        """Take what belongs to this member out of the block; return the rest."""
        try:
            while block:
                self._text.update(member.decompress(block, _PIECE))
                if member.eof:
                    self._member = None
                    return member.unused_data
                block = member.unconsumed_tail
        except zlib.error as error:
            raise PermanentError(
                f"it does not decompress whole: {error}", hint="have it delivered again"
            ) from error
        return block
