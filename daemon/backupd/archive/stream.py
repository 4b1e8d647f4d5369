"""The single pass: read, hash, compress, hash again. No temporary file, a few MiB of memory.

The work is done in threads, a step of up to a MiB at a time, one step ahead of what is being sent:
hashlib and the compressors let go of the interpreter lock, so that the event loop only sends and
several files use several cores.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from isal import isal_zlib

from backupd.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from backupd.core.ports import RunStep

CHUNK = 256 * 1024  # bytes read at once: fits the second-level cache, through which all passes go
STEP = 1024 * 1024  # bytes read for one change of thread
BLOCK = 255 * 1024  # bytes of a block at most: the largest write that OpenSSH takes
FAST_LEVELS = 3  # isal knows no higher ones
GZIP = 31  # window bits that ask for a gzip header; both libraries leave time and name out of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """What went through: `sha256` is of the bytes read, `sent_sha256` of the blocks given out."""

    sha256: str
    sent_bytes: int
    sent_sha256: str


class Compressor(Protocol):
    """What isal and zlib have in common."""

    def compress(self, data: bytes, /) -> bytes:
        """Take in data, give out what is ready."""
        ...

    def flush(self) -> bytes:
        """Give out the rest."""
        ...


class SendStream:
    """Reads an open regular file to its end; gives out what is to be sent.

    The same content always gives the same blocks. The descriptor stays the caller's: it is left
    open, and its position is not used.
    """

    def __init__(self, fd: int, run: RunStep, *, compress: bool, level: int) -> None:
        """`level` is the config's 1 to 9: up to 3 by isal, at several 100 MB/s, above by zlib."""
        self._fd = fd
        self._run = run
        self._compressor = _compressor(level) if compress else None
        self._read_hash = hashlib.sha256()
        self._sent_hash = hashlib.sha256()
        self._read_bytes = 0
        self._sent_bytes = 0
        self._ended = False

    @property
    def totals(self) -> Totals:
        """The sums, once `blocks` has come to its end; ValueError before."""
        if not self._ended:
            raise ValueError("the stream was not read to its end")
        return Totals(
            sha256=self._read_hash.hexdigest(),
            sent_bytes=self._sent_bytes,
            sent_sha256=self._sent_hash.hexdigest(),
        )

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Yield blocks of at most `BLOCK` bytes; of an empty file that is not compressed: none.

        Raises TransientError when the file cannot be read, and what `run` raises. Use it within
        `contextlib.aclosing`: only then is it certain, after a break, that no thread reads the
        descriptor any more.
        """
        ahead = self._begin_step()
        try:
            while True:
                data = await asyncio.shield(ahead)
                last = self._ended
                if not last:
                    ahead = self._begin_step()
                for start in range(0, len(data), BLOCK):
                    yield data[start : start + BLOCK]
                if last:
                    return
        finally:
            if not ahead.done():
                await asyncio.wait([ahead])

    def _begin_step(self) -> asyncio.Future[bytes]:
        return asyncio.ensure_future(self._run(self._step))

    def _step(self) -> bytes:
        """Read on, up to a step or the end; return what is to be sent of it."""
        ready: list[bytes] = []
        step_ends = self._read_bytes + STEP
        while self._read_bytes < step_ends and not self._ended:
            ready.append(self._take(self._read_chunk()))
        data = b"".join(ready)
        self._sent_bytes += len(data)
        self._sent_hash.update(data)
        return data

    def _read_chunk(self) -> bytes:
        try:
            # By position: should the descriptor be closed and its number given to a socket while
            # a thread still reads, this fails, where a plain read would steal the socket's bytes.
            return os.pread(self._fd, CHUNK, self._read_bytes)
        except OSError as error:
            raise TransientError(f"the file cannot be read: {error.strerror}") from error

    def _take(self, chunk: bytes) -> bytes:
        self._ended = not chunk
        self._read_bytes += len(chunk)
        self._read_hash.update(chunk)
        if self._compressor is None:
            return chunk
        return self._compressor.compress(chunk) if chunk else self._compressor.flush()


def _compressor(level: int) -> Compressor:
    if level <= FAST_LEVELS:
        return isal_zlib.compressobj(level, wbits=GZIP)
    return zlib.compressobj(level, wbits=GZIP)
