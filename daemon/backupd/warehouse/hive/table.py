"""What a table in Hive is like, read out of DESCRIBE FORMATTED, and whether it fits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from backupd.core.times import DATE_FORM
from backupd.warehouse.columns import KINDS, PARTITION, in_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backupd.warehouse.hive.staging import Staging

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
        return path_of(self.location)

    @property
    def location(self) -> str:
        """The same with them, as Hive writes it."""
        return self.facts.get("Location", "")

    def is_true(self, parameter: str) -> bool:
        """Return whether a table parameter is set to true."""
        return self.facts.get(parameter, "").lower() == "true"


def path_of(location: str) -> str:
    """Return a location without scheme and host."""
    return urlsplit(location).path


def dates_of(rows: Sequence[Row]) -> list[str]:
    """Read what SHOW PARTITIONS returned, each as `<column>=<date>`; return the dates in order."""
    dates = (str(name).partition("=")[2] for (name,) in rows)
    return sorted(filter(DATE_FORM.fullmatch, dates))


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


def unlike(
    found: Description, columns: Mapping[str, str], partition: str = PARTITION
) -> Iterator[str]:
    """Yield in what a table differs from what the config's columns ask for.

    `partition` is which of ours it is partitioned by.
    """
    wanted = {name: KINDS[ours] for ours, name in in_file(columns, partition).items()}
    yield from differences(found, wanted, columns[partition])


def differences(found: Description, wanted: Mapping[str, str], partition: str) -> Iterator[str]:
    """Yield in what a table differs from these columns (name to type) and its partition column."""
    yield from _differences("column", list(wanted.items()), found.columns)
    yield from _differences("partition column", [(partition, "string")], found.partitions)


def unfit_for_files(found: Description) -> Iterator[str]:
    """Yield why no Parquet file can be moved into the table."""
    if found.is_true("transactional"):
        yield "it is transactional"
    if "parquet" not in found.facts.get("InputFormat", "").lower():
        yield f"it is not stored as Parquet but read by {found.facts.get('InputFormat')}"


def not_shared(found: Description, staging: Staging) -> Iterator[str]:
    """Yield why no file of the staging folder can be moved into the table by a rename."""
    if not staging.shares_files_with(location := found.facts.get("Location", "")):
        yield f"it lies at {location}, where no file of the staging folder can be moved"


def unfit_for_staging(found: Description) -> Iterator[str]:
    """Yield why the table cannot be the staging table, beside its columns."""
    yield from unfit_for_files(found)
    if found.is_true("EXTERNAL") and not found.is_true("external.table.purge"):
        yield "it is external without external.table.purge, so dropped partitions leave their files"


def unfit_for_insert(found: Description) -> Iterator[str]:
    """Yield why rows that are inserted into the table would not all come back as they are.

    No file name holds a control character, so those are safe as delimiters of a text table.
    """
    delimiter = found.facts.get("field.delim", "")
    if delimiter.isprintable() and delimiter and not found.facts.get("escape.delim"):
        yield (
            f"its fields end with {delimiter!r}, which may stand in a file name, and nothing"
            " escapes it"
        )


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
