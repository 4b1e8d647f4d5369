"""What several tests of integration share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.judged import judging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.judged import Place


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A ledger, a lane that judges what came, and a clock to be set."""
    async with judging(tmp_path) as place:
        yield place
