"""The production table. `open_warehouse` and `open_refresher` pick what the config names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupd.config.sections import WarehouseSection
    from backupd.core.compacting import ReplacementLog
    from backupd.core.history import History
    from backupd.core.ports import PlaceMemory, Refresher, StatementLog, Warehouse


def open_warehouse(
    section: WarehouseSection,
    log: StatementLog | None = None,
    place: PlaceMemory | None = None,
    mark: str | None = None,
    replacements: ReplacementLog | None = None,
) -> Warehouse:
    """Return the warehouse of this section. Nothing is touched or connected to yet.

    Who loads and merges in it gives a `log`, the memory of its `place` and of `replacements`, which
    outlive the process; who only looks gives the `mark` that the ledger knows, if it knows one.
    """
    # The libraries cost 30 MiB and a tenth of a second: commands that need no table go without.
    if section.hive is not None:
        from backupd.warehouse.hive.batch_statements import StatementMemory  # noqa: PLC0415
        from backupd.warehouse.hive.replaced_dirs import ReplacementMemory  # noqa: PLC0415
        from backupd.warehouse.hive.warehouse import HiveWarehouse  # noqa: PLC0415

        memories = log or StatementMemory(), replacements or ReplacementMemory()
        return HiveWarehouse(section.hive, section.columns, *memories)
    from backupd.warehouse.embedded.warehouse import EmbeddedWarehouse  # noqa: PLC0415

    return EmbeddedWarehouse(section, place, mark)


def open_history(
    section: WarehouseSection, place: PlaceMemory | None = None, mark: str | None = None
) -> History:
    """Return the history that is in this warehouse. Nothing is touched or connected to yet.

    Who writes there gives the memory of the warehouse's `place`; who only looks the `mark` that the
    ledger knows. In Hive it is known by its table's name.
    """
    if section.hive is not None:
        from backupd.warehouse.hive.history import HiveHistory  # noqa: PLC0415 - as above

        return HiveHistory(section.hive)
    from backupd.warehouse.embedded.history import EmbeddedHistory  # noqa: PLC0415 - as above

    return EmbeddedHistory(section.embedded_root, place, mark)


def open_refresher(section: WarehouseSection) -> Refresher | None:
    """Return what notifies Impala of merges; None without Impala. Nothing is connected to yet."""
    if section.hive is None or section.impala is None:
        return None
    from backupd.warehouse.hive.impala import Impala  # noqa: PLC0415
    from backupd.warehouse.hive.sql import TableSql  # noqa: PLC0415

    hive = section.hive
    sql = TableSql(hive.database, hive.production_table, section.columns["file_date"])
    return Impala(section.impala, sql)
