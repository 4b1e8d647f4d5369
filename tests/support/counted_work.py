"""A stage that knows how many files it works on at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupd.core.records import Result, Task


class CountedWork:
    """Gives each file the same result; `most` files were at work at once."""

    def __init__(self, result: Result) -> None:
        self.most = 0
        self._now = 0
        self._result = result

    async def __call__(self, _: Task) -> Result:
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0.001)  # whoever else may begin does so meanwhile
        self._now -= 1
        return self._result
