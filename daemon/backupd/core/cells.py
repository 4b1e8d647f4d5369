"""Cells of a CSV file that people open in a spreadsheet."""

from __future__ import annotations

from typing import TypeVar

from backupd.core.names import escaped

T = TypeVar("T")

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also in full width


def harmless(cell: T) -> T | str:
    """Return a cell that no spreadsheet takes for a formula; of a text one printable line."""
    if not isinstance(cell, str):
        return cell
    text = cell if cell.isprintable() else escaped(cell)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
