"""The production table. `open_warehouse` picks the adapter that the config names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupd.config.sections import WarehouseSection
    from backupd.core.ports import Warehouse


def open_warehouse(section: WarehouseSection) -> Warehouse:
    """Return the warehouse of this section. Nothing is touched or connected to yet."""
    # The libraries cost 30 MiB and a tenth of a second: commands that need no table go without.
    if section.hive is not None:
        from backupd.warehouse.hive import HiveWarehouse  # noqa: PLC0415

        return HiveWarehouse(section.hive, section.columns)
    from backupd.warehouse.embedded import EmbeddedWarehouse  # noqa: PLC0415

    return EmbeddedWarehouse(section)
