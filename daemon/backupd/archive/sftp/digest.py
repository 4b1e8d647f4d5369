"""SHA-256 of what is read back."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WORTH_A_THREAD = 64 * 1024  # bytes; below it the change of thread takes longer than the hash


async def sha256_of(blocks: AsyncIterator[bytes]) -> str:
    """Return the hex digest of all blocks."""
    digest = hashlib.sha256()
    async for block in blocks:
        if len(block) < WORTH_A_THREAD:
            digest.update(block)
        else:
            await asyncio.to_thread(digest.update, block)
    return digest.hexdigest()
