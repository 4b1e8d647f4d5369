"""Directories that are no partition's any more: what came into them too late, and their end."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from backupd.core.errors import TransientError
from backupd.core.names import escaped
from backupd.warehouse.compacted import LeftAloneError
from backupd.warehouse.hive.partition_dirs import COMPACTED
from backupd.warehouse.hive.sql import (
    can_be_located,
    drop,
    identifier,
    make_over,
    put_in_place,
)
from backupd.warehouse.hive.table import path_of
from backupd.warehouse.parquet import file_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.core.compacting import Replacement
    from backupd.warehouse.hive.batch_statements import BatchStatements
    from backupd.warehouse.hive.partition_dirs import PartitionDirs
    from backupd.warehouse.hive.rows import HiveRows
    from backupd.warehouse.hive.sql import TableSql
    from backupd.warehouse.hive.staging import BatchFolders

_HIVES = ".hive-staging"  # directories that Hive writes in before it moves files into place
MARKER = "moved-by-backupd.txt"
_MARKER = """\
backupd has compacted the partition of {date}. Hive reads it from
{new}
Leave this directory here: without it, MSCK REPAIR TABLE ... DROP or SYNC PARTITIONS would drop the
partition. docs/hive.md says more.
"""


@dataclass(frozen=True, slots=True)
class ReplacedDirs:
    """Blocks. `database` is where the tables are made by which Hive removes directories."""

    database: str
    dirs: PartitionDirs
    folders: BatchFolders
    production: HiveRows
    execution: BatchStatements

    def late(self, replacement: Replacement) -> tuple[list[str], list[str]]:
        """Return the names of files that came into the old directory after it was read.

        One whose rows are all in the partition is not among them: it is a second copy. Beside them,
        what a person should know of: files that are neither.
        """
        names = self.dirs.entries(replacement.old).keys() - {MARKER, *replacement.files}
        late, said = [], []
        for name in sorted(names):
            try:
                ids = self._ids_in(replacement.old, name)
                lacking = self._lacking(ids, replacement.file_date)
                _demand_whole(name, ids, lacking)
            except LeftAloneError as error:
                said.append(_stays(replacement, name, str(error)))
            else:
                late += [name] if lacking else []
        return late, said

    def move(self, replacement: Replacement, names: Sequence[str]) -> None:
        """Move files of the old directory into the partition."""
        for name in names:
            location = f"{replacement.old}/{name}"
            self.dirs.connection.run(self.dirs.sql.load(location, replacement.file_date))

    def remove(self, replacement: Replacement, location: str) -> None:
        """Remove a directory that no partition is read from, or what is in one that Hive made.

        Raises LeftAloneError where it must stay: the partition is read from there after all, or
        lacks a row that is there.
        """
        self._demand_superfluous(replacement, location)
        over = f"{identifier(self.database)}.{identifier(f'backupd_replaced_{replacement.id}')}"
        parent = location.rpartition("/")[0]
        if f"/{COMPACTED}/" in location:  # the parent was made for it alone
            self.dirs.connection.run(make_over(over, parent, purge=True))
            self._run(replacement, location, drop(over))
            left = set(self.dirs.entries(location))
        else:
            self.dirs.connection.run(make_over(over, location, purge=False))
            self._leave_marker(replacement, location, over)
            self.dirs.connection.run(drop(over))
            left = self.dirs.entries(location).keys() - {MARKER}
        if left:
            raise LeftAloneError(f"{location} was not removed: {len(left)} files are left there")

    def _demand_superfluous(self, replacement: Replacement, location: str) -> None:
        there = self.dirs.entries(location)
        there.pop(MARKER, None)
        self._demand_elsewhere(replacement, location)
        files = [name for name, each in there.items() if each.is_file]
        if odd := [name for name in there if name not in files and not _is_hives(location, name)]:
            raise LeftAloneError(f"{location} stays: {escaped(odd[0])} in it is not a file")
        ids = {each for name in files for each in self._ids_in(location, name)}
        if lacking := self._lacking(ids, replacement.file_date):
            message = f"{location} stays: {len(lacking)} of its rows are not in the partition"
            raise LeftAloneError(message)

    def _leave_marker(self, replacement: Replacement, location: str, over: str) -> None:
        """Put a note in the place of the files.

        The directory itself must stay: MSCK REPAIR TABLE takes a partition for lost, and drops it
        where it is to drop those, if there is no directory of its name in the table's.
        """
        text = _MARKER.format(date=replacement.file_date, new=replacement.new)
        with self.folders.staging.files() as files:
            part = self.folders.part(files, replacement.id, {MARKER: text.encode()})
            try:
                source = self.folders.staging.for_hive(f"{part}/{MARKER}")
                self._run(replacement, location, put_in_place(source, over))
            finally:
                files.remove(part)

    def _run(self, replacement: Replacement, location: str, statement: str) -> None:
        """Run a statement that removes files: alone, and after a last look."""
        self._demand_elsewhere(replacement, location)
        self.execution.run_alone(replacement.id, statement)
        self.execution.over(replacement.id)

    def drop_beside(self, beside: TableSql) -> None:
        """Drop the table that a new file was made in, if it is there still."""
        self.dirs.connection.run(drop(beside.name))

    def _demand_elsewhere(self, replacement: Replacement, location: str) -> None:
        if self.dirs.location(replacement.file_date) == location:
            date = replacement.file_date
            raise LeftAloneError(f"{location} stays: the partition of {date} is read from there")

    def _ids_in(self, location: str, name: str) -> set[str]:
        """Return the ids of a file's rows. Raises LeftAloneError where it cannot be read."""
        path = path_of(f"{location}/{name}")
        try:
            with self.dirs.staging.files() as files:
                content = BytesIO(files.read(path))
            return set(map(str, file_ids(content, self.dirs.columns["file_id"], path)))
        except TransientError as error:
            raise LeftAloneError(str(error)) from error

    def _lacking(self, ids: set[str], date: str) -> set[str]:
        """Return those that the partition has no row of."""
        return ids - set(self.production.ids(date)) if ids else ids


def _is_hives(location: str, name: str) -> bool:
    """Return whether an INSERT of ours may have left it, which was cut short: no other is there."""
    return f"/{COMPACTED}/" in location and name.startswith(_HIVES)


def _demand_whole(name: str, ids: set[str], lacking: set[str]) -> None:
    if lacking and lacking != ids:
        raise LeftAloneError("only some of its rows are in the partition")
    if not can_be_located(name):
        raise LeftAloneError("its name has characters that no statement of ours has")


def _stays(replacement: Replacement, name: str, reason: str) -> str:
    return (
        f"{escaped(name)} came into {replacement.old} while the partition of"
        f" {replacement.file_date} was compacted, and its rows may not be read: {reason}"
    )


class ReplacementMemory:
    """`core.compacting.ReplacementLog` without a ledger."""

    def __init__(self) -> None:
        self._known: dict[str, Replacement] = {}

    def write(self, replacement: Replacement) -> None:
        """Remember it."""
        self._known[replacement.id] = replacement

    def all(self, table: str) -> list[Replacement]:
        """Return those of a table."""
        return [each for each in self._known.values() if each.table == table]

    def forget(self, replacement_id: str) -> None:
        """Forget it."""
        self._known.pop(replacement_id, None)

    def owes_refresh(self, table: str, date: str) -> bool:  # noqa: ARG002 - the port's arguments
        """Return that nobody reads it but Hive."""
        return False
