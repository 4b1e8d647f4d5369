"""What a table in Hive is like, read out of DESCRIBE FORMATTED, and whether it fits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from backupd.warehouse.columns import KINDS, PARTITION, in_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Row = Sequence[Any]

_NOTHING = ("", "")


@dataclass(slots=True)
class Description:
    """Columns and partition columns (name to type, in order), and the rest by its labels."""

    columns: dict[str, str] = field(default_factory=dict)
    partitions: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)  # "Location", "InputFormat", parameters...

    @property
    def path(self) -> str:
        """Where it lies, without scheme and host."""
        return urlsplit(self.facts.get("Location", "")).path


def describe(rows: Sequence[Row]) -> Description:
    """Read what DESCRIBE FORMATTED of a table or a partition returned."""
    found = Description()
    into = found.columns
    for row in rows:
        first, second, third = (str(cell or "").strip() for cell in row[:3])
        match first:
            case "# Partition Information":
                into = found.partitions
            case _ if first.startswith(("# Detailed", "# Storage")):
                into = found.facts
            case _ if first.startswith("#"):
                continue  # headings of columns
            case "":
                if second and into is found.facts:  # a parameter: its name is in the second column
                    into[second] = third
            case _:
                into[first.rstrip(":") if into is found.facts else first] = second
    return found


def unlike(found: Description, columns: Mapping[str, str]) -> Iterator[str]:
    """Yield in what the production table differs from what the config's columns ask for."""
    wanted = [(name, KINDS[ours]) for ours, name in in_file(columns).items()]
    yield from _differences("column", wanted, found.columns)
    yield from _differences("partition column", [(columns[PARTITION], "string")], found.partitions)


def unfit_for_files(found: Description) -> Iterator[str]:
    """Yield why no Parquet file can be moved into the table."""
    if found.facts.get("transactional", "").lower() == "true":
        yield "it is transactional"
    if "parquet" not in found.facts.get("InputFormat", "").lower():
        yield f"it is not stored as Parquet but read by {found.facts.get('InputFormat')}"


def _differences(
    what: str, wanted: Sequence[tuple[str, str]], found: Mapping[str, str]
) -> Iterator[str]:
    # Hive shows names in lower case. The order counts: Impala reads Parquet by position.
    pairs = zip_longest(wanted, found.items(), fillvalue=_NOTHING)
    for number, ((name, kind), (their_name, their_kind)) in enumerate(pairs, 1):
        if (name.lower(), kind) != (their_name.lower(), their_kind):
            there = f"{their_name} {their_kind}" if their_name else "missing"
            here = f"{name} {kind}" if name else "none"
            yield f"{what} {number} is {there}, the config wants {here}"
