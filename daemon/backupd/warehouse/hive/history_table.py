"""The history's table: stories are written and read back, a partition at a time."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError, TransientError
from backupd.warehouse.history_parquet import encode_stories
from backupd.warehouse.history_rows import EVENTS, PARTITION, RECEIPT, hive_types, story_of
from backupd.warehouse.hive.history_sql import COLUMNS, WRITTEN_BY, HistorySql
from backupd.warehouse.hive.partition_files import PartitionFiles
from backupd.warehouse.hive.staging import BatchFolders
from backupd.warehouse.hive.table import (
    dates_of,
    describe,
    differences,
    not_shared,
    unfit_for_files,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from backupd.config.sections import HiveSection
    from backupd.core.history import Past, Story
    from backupd.warehouse.hive.connection import Connection, Row
    from backupd.warehouse.hive.staging import Staging

_NESTED = (RECEIPT, EVENTS)  # HiveServer2 sends them as JSON


class HistoryTable:
    """Blocks. What is wrong with it is raised as the warehouse's fault."""

    def __init__(self, section: HiveSection, connection: Connection, staging: Staging) -> None:
        self.sql = HistorySql(section.database, section.history_table)
        self._connection = connection
        self._staging = staging
        self._folders = BatchFolders(staging)
        self._files = PartitionFiles(connection, self._run, self._folders, self.sql)

    def check(self) -> None:
        """Raise DependencyDownError unless it can take our files, and we can look at them."""
        found = describe(self._connection.run(self.sql.describe()))
        reasons = [
            *unfit_for_files(found),
            *not_shared(found, self._staging),
            *differences(found, COLUMNS, PARTITION),
        ]
        if reasons:
            message = f"the table {self.sql.name} does not fit: {'; '.join(reasons)}"
            hint = "`backupd check --ddl` prints the table that this config wants"
            raise DependencyDownError(Dependency.WAREHOUSE, message, hint=hint)
        with self._staging.files() as files:
            files.names(found.path)

    def write(self, batch_id: str, date: str, stories: Sequence[Story]) -> None:
        """Have a file with the stories in the partition, once."""
        in_order = sorted(stories, key=lambda story: story.file.id)
        content = bytes(encode_stories(in_order, **{WRITTEN_BY: batch_id}))
        self.check()
        targets = self._files.stage(batch_id, {date: content})
        with self._staging.files() as files:
            failure = self._files.move(files, batch_id, targets)
            if not files.exists(targets[date]):
                raise failure or TransientError(f"{batch_id} is neither staged nor in {date}")
            self._files.clear(files, batch_id, targets)

    def written(self, batch_id: str, date: str) -> list[Story]:
        """Return the stories that were brought there under this id, by file id."""
        return self._stories(self.sql.select_written(batch_id, date))

    def dates(self, past: Past) -> list[str]:
        """Return the partitions in which there may be what is asked for, in order."""
        dates = dates_of(self._connection.run(self.sql.partitions()))
        return list(filter(past.may_be_of, dates))

    def found(self, dates: Collection[str], asked: Collection[Past]) -> dict[str, list[str]]:
        """Return by date the ids of what one of these may ask for, in order."""
        ids: dict[str, set[str]] = defaultdict(set)
        for past in asked:
            for date, file_id in self._connection.run(self.sql.select_found(dates, past)):
                ids[str(date)].add(str(file_id))
        return {date: sorted(ids[date]) for date in sorted(ids)}

    def stories(self, date: str, ids: Sequence[str], past: Past) -> list[Story]:
        """Return the stories of these files, which `found` has returned, by file id."""
        return self._stories(self.sql.select_stories(date, ids, past))

    def _run(self, _: str, statement: str) -> Sequence[Row]:
        """Nothing is remembered of what may come to its end whenever it likes."""
        return self._connection.run(statement)

    def _stories(self, query: str) -> list[Story]:
        stories = [self._story(row) for row in self._connection.run(query)]
        return sorted(stories, key=lambda story: story.file.id)

    def _story(self, cells: Row) -> Story:
        row = dict(zip(hive_types(), cells, strict=True))
        try:
            return story_of(row | {name: _nested(row[name]) for name in _NESTED})
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            message = f"the row of {row['id']!r} in {self.sql.name} is no story: {error}"
            hint = "see who wrote it; a newer backupd writes what only itself understands"
            raise TransientError(message, hint=hint) from error


def _nested(cell: str | None) -> object:
    return None if cell is None else json.loads(cell)
