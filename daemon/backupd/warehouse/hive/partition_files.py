"""Files made here, a date each, moved into the partitions of a table by LOAD DATA.

    <staging>/<batch id>/<date>/<batch id>.parquet        the source
    <partition's folder>/<batch id>.parquet               the target

LOAD DATA is a rename: whoever comes second finds no source any more. A batch's files go into the
staging folder together, by one rename that cannot be done twice, and only while none of them is
seen in its partition: target, then source, then upload. A folder whose files were moved stays for a
while, empty: whoever had seen none of them moved, and would stage them only now, finds it taken. So
each file comes into its partition once, however many are at it, and however late a statement that
was given up comes to its end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError
from backupd.warehouse.hive.table import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from backupd.warehouse.hive.connection import Connection, Row
    from backupd.warehouse.hive.sql import TableSql
    from backupd.warehouse.hive.staging import BatchFolders, Files, Staging


_EMPTY_FOR = 600.0  # seconds that a folder stays empty; what is staged is staged within them


@dataclass(frozen=True, slots=True)
class PartitionFiles:
    """The files of batches in the table by `sql`. Blocks.

    `run` runs a statement that changes something, for a batch: it may come to its end whenever it
    likes.
    """

    connection: Connection
    run: Callable[[str, str], Sequence[Row]]
    folders: BatchFolders
    sql: TableSql
    emptied: dict[str, float] = field(default_factory=dict)  # by batch: when (time.monotonic)

    def stage(self, batch_id: str, contents: Mapping[str, bytes]) -> dict[str, str]:
        """Put a batch's files, by date, into the staging folder, but for those that were moved.

        Returns where each date's file belongs.
        """
        self.add_partitions(batch_id, contents)
        targets = self.targets(batch_id, contents)
        folder = self.folders.of(batch_id)
        with self._staging.files() as files:
            if files.exists(folder):
                if self._is_staged(files, batch_id, contents, targets):
                    return targets
                files.remove(folder)
            lacking = {date for date in contents if not files.exists(targets[date])}
            if lacking:
                staged = {date: contents[date] for date in lacking}
                self._put(files, batch_id, staged, targets)
        return targets

    def add_partitions(self, batch_id: str, dates: Collection[str]) -> None:
        """Make the partitions that are missing.

        They are made first because LOAD DATA moves the file before it makes one: a server that
        dies between the two would leave rows that nobody can see, and a second LOAD DATA at the
        same time would remove what the first has moved.
        """
        if dates:
            self.run(batch_id, self.sql.add_partitions(dates))

    def targets(self, batch_id: str, dates: Collection[str]) -> dict[str, str]:
        """Return where each date's file belongs."""
        return {date: f"{self._folder(date)}/{batch_id}.parquet" for date in dates}

    def move(self, files: Files, batch_id: str, targets: Mapping[str, str]) -> BackupdError | None:
        """Have each date moved that is not there; return what went wrong, for what is missing."""
        failure = None
        for date, target in targets.items():
            if not files.exists(target) and files.exists(self.source(batch_id, date)):
                try:
                    self.run(batch_id, self.load_sql(batch_id, date))
                except BackupdError as error:
                    failure = error  # it may have worked all the same: the target shows it
        return failure

    def clear(self, files: Files, batch_id: str, dates: Iterable[str]) -> None:
        """Leave nothing of a batch that was moved but its folder, and none of those before long."""
        for date in dates:
            files.remove(f"{self.folders.of(batch_id)}/{date}")
        now = time.monotonic()
        self.emptied[batch_id] = now
        for earlier in [each for each, at in self.emptied.items() if now - at > _EMPTY_FOR]:
            files.remove(self.folders.of(earlier))
            del self.emptied[earlier]

    def source(self, batch_id: str, date: str) -> str:
        """Return where a date's file is staged."""
        return f"{self.folders.of(batch_id)}/{date}/{batch_id}.parquet"

    def load_sql(self, batch_id: str, date: str) -> str:
        """Return the statement that moves a date's file."""
        return self.sql.load(self._staging.for_hive(self.source(batch_id, date)), date)

    @property
    def _staging(self) -> Staging:
        return self.folders.staging

    def _folder(self, date: str) -> str:
        return describe(self.connection.run(self.sql.describe_partition(date))).path

    def _is_staged(
        self,
        files: Files,
        batch_id: str,
        contents: Mapping[str, bytes],
        targets: Mapping[str, str],
    ) -> bool:
        """Return whether each date lies in its folder with just this content, or in its partition.

        No other date may lie there: its rows were left out because another backupd made them.
        What another was about to stage may (`_put`).
        Staging is looked at first: what moves between the two looks is then seen there.
        """
        names = files.names(self.folders.of(batch_id))
        if {name for name in names if not name.endswith(".part")} - contents.keys():
            return False
        for date, content in contents.items():
            try:
                if files.read(self.source(batch_id, date)) != content:
                    return False
            except FileNotFoundError:
                if not files.exists(targets[date]):
                    return False
        return True

    def _put(
        self,
        files: Files,
        batch_id: str,
        contents: Mapping[str, bytes],
        targets: Mapping[str, str],
    ) -> None:
        folder = self.folders.of(batch_id)
        named = {f"{date}/{batch_id}.parquet": content for date, content in contents.items()}
        part = self.folders.part(files, batch_id, named)
        for date in contents:
            if files.exists(targets[date]):  # a statement that was given up came to its end
                files.remove(f"{part}/{date}")
        files.rename(part, folder)
        inside = f"{folder}/{part.rpartition('/')[2]}"
        if files.exists(inside):  # another was first: what it staged is as good
            files.remove(inside)
