"""The production table. `open_warehouse` picks the adapter that the config names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.core.errors import PermanentError

if TYPE_CHECKING:
    from backupd.config.sections import WarehouseSection
    from backupd.core.ports import Warehouse


def open_warehouse(section: WarehouseSection) -> Warehouse:
    """Return the warehouse of this section. Nothing is touched or connected to yet.

    Raises PermanentError for a kind that this version has no adapter for.
    """
    if section.kind != "embedded":
        raise PermanentError(
            f"warehouse.kind = {section.kind!r} is not in this version",
            hint='set warehouse.kind = "embedded"',
        )
    # pyarrow costs 30 MiB and a tenth of a second: commands that need no table go without.
    from backupd.warehouse.embedded import EmbeddedWarehouse  # noqa: PLC0415

    return EmbeddedWarehouse(section)
