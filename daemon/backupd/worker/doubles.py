"""Rows that production has more than once are an incident until each is there once."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from backupd.core.errors import BackupdError, LedgerError
from backupd.core.incidents import DOUBLED_CAUSE, Incident, Kind
from backupd.core.records import new_id
from backupd.core.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.core.ports import RowKey, Warehouse
    from backupd.worker.shop import Shop

log = structlog.get_logger()

_LOOK_EVERY = 600.0  # seconds, while there are any
_NAMED = 5  # files, and statements, in the incident's words


class DoublesLane:
    """Looks again at the rows that a merge saw more than once."""

    def __init__(self, shop: Shop, warehouse: Warehouse) -> None:
        self._shop = shop
        self._warehouse = warehouse
        self._wake = shop.ledger.wakes(Stage.MERGE)
        self._known: list[RowKey] = []
        self._looked_at = 0.0

    async def run(self) -> None:
        """Work until the shop stops, and once more then: the last merge may have made some."""
        while not self._shop.stop.is_set():
            looked_at = time.monotonic()
            self._wake.clear()
            await self._look()
            await self._shop.sleep(self._wake, None, looked_at)
        await self._look()

    async def _look(self) -> None:
        doubled = await self._shop.ledger.doubled_rows()
        is_due = self._shop.now() - self._looked_at >= _LOOK_EVERY
        if not doubled or (doubled == self._known and not is_due):
            return
        self._known, self._looked_at = doubled, self._shop.now()
        # Told before it is looked again: the warehouse may be away by now.
        await self._tell(doubled)
        try:
            still = await self._still(doubled)
        except LedgerError:
            raise
        except BackupdError as error:
            log.warning("doubled rows could not be looked at again", reason=str(error))
            return
        if still != doubled:
            gone = [key for key in doubled if key not in still]
            await self._shop.ledger.forget_doubled(gone)
            await self._tell(still)

    async def _still(self, doubled: Sequence[RowKey]) -> list[RowKey]:
        dates = {key.file_date for key in doubled}
        rows = Counter([key async for key in self._warehouse.rows(dates)])
        return [key for key in doubled if rows[key] > 1]

    async def _tell(self, doubled: Sequence[RowKey]) -> None:
        now = self._shop.now()
        if not doubled:
            await self._shop.ledger.close_incidents([DOUBLED_CAUSE], now)
            return
        dates = sorted({key.file_date for key in doubled})
        incident = Incident(
            id=new_id(now),
            kind=Kind.DOUBLED,
            cause=DOUBLED_CAUSE,
            feed="",
            trouble=_cut("; ", self._warehouse.repairs(dates)),
            reason=f"file ids {_cut(', ', [key.file_id for key in doubled])}"
            f" in the partitions {_cut(', ', dates)}",
            opened_at=now,
        )
        await self._shop.ledger.note_incident(incident)


def _cut(between: str, items: Sequence[str]) -> str:
    """Return the first few items as one text, and how many more there are."""
    more = f"{between}and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return between.join(items[:_NAMED]) + more
