"""What is written of the places that backupd writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from backupd.ledger.schema import places, warehouse_files

if TYPE_CHECKING:
    from collections.abc import Sequence


def remember(connection: sa.Connection, found: Sequence[tuple[str, str, float]]) -> list[None]:
    """Write which mark each place bears, over what was known: items are (name, mark, now)."""
    rows = [{"name": name, "mark": mark, "known_since": now} for name, mark, now in found]
    connection.execute(sa.insert(places).prefix_with("OR REPLACE"), rows)
    return [None] * len(found)


def remember_files(connection: sa.Connection, sums: Sequence[tuple[str, str]]) -> list[None]:
    """Write which SHA-256 each file has, over what was known: items are (name, sha256)."""
    rows = [{"name": name, "sha256": sha256} for name, sha256 in sums]
    connection.execute(sa.insert(warehouse_files).prefix_with("OR REPLACE"), rows)
    return [None] * len(sums)
