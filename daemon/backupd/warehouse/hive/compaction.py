"""Compaction of partitions: a new directory with one file takes the place of one with many.

    <table>/.compacted/<id>/file_date=YYYY-MM-DD/compacted-<id>.parquet

Hive's own user makes it, through a table of its own that is dropped again; then one statement has
the partition read from there. The old directory stays for a day, for who has listed it, and so that
what comes in there at the very moment of the switch is found and moved after it.

Each step is written down before it is taken. A process that dies leaves the partition as it was or
as it is to be: where it lies tells, once no statement of ours can run any more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backupd.core.compacting import Replacement, Step
from backupd.core.records import new_id
from backupd.core.rows import Compaction
from backupd.core.times import DATE_FORM
from backupd.warehouse.compacted import LeftAloneError
from backupd.warehouse.hive.sql import TableSql

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupd.core.compacting import ReplacementLog
    from backupd.warehouse.hive.batch_statements import BatchStatements
    from backupd.warehouse.hive.new_file import NewFile
    from backupd.warehouse.hive.partition_dirs import Partition, PartitionDirs
    from backupd.warehouse.hive.replaced_dirs import ReplacedDirs

KEPT_FOR = 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class HiveCompaction:
    """Over one connection. Blocks."""

    database: str
    dirs: PartitionDirs
    new_file: NewFile
    replaced: ReplacedDirs
    moved: Callable[[str], None]  # is called with a date whose partition lies elsewhere now
    execution: BatchStatements
    log: ReplacementLog

    def dates(self, before: str) -> list[str]:
        """Return the dates of all partitions before this one."""
        return [date for date in self.dirs.dates() if date < before]

    def counts(self, dates: Sequence[str]) -> dict[str, int]:
        """Return how many files the partition of each date has."""
        return self.dirs.counts(dates, self._in_place())

    def compact(self, date: str) -> Compaction:
        """Compact a partition, unless anything in it is not ours.

        Raises DependencyDownError, UnknownOutcomeError; then it is as it was, or `finish` goes on.
        """
        if not DATE_FORM.fullmatch(date):
            raise ValueError(f"{date!r} is not a date")
        self._settle_begun()
        self.execution.settle()  # an INSERT that was given up would go to the old directory
        count = 0
        try:
            old = self.dirs.look(date, self._in_place())
            count = len(old.files)
            if count <= 1:
                return Compaction(date=date, files_before=count, files_after=count)
            return self._replace(old)
        except LeftAloneError as error:
            left = str(error)
        return Compaction(date=date, files_before=count, files_after=count, left=left)

    def finish(self) -> list[str]:
        """Go on with what was begun; return what a person should know of."""
        self._settle_begun()
        said = []
        for each in self._all():
            try:
                said += self._go_on(each)
            except LeftAloneError as error:
                said.append(str(error))
        self._forget_superseded()
        return said

    # ------------------------------------------------------------------ steps

    def _replace(self, old: Partition) -> Compaction:
        replacement_id = new_id(time.time())
        replacement = Replacement(
            id=replacement_id,
            table=self.dirs.sql.name,
            file_date=old.date,
            old=old.location,
            new=self.dirs.new(replacement_id, old.date),
            files=tuple(sorted(old.files)),
            step=Step.MAKING,
            since=time.time(),
        )
        self.log.write(replacement)
        beside = self._beside(replacement)
        try:
            rows, size = self.new_file.make(beside, replacement, old)
        except LeftAloneError:
            self.replaced.drop_beside(beside)
            raise
        if self.dirs.entries(old.location) != old.files:
            raise LeftAloneError("batches of this date come in just now: it is tried again later")
        self._switch(replacement)
        return Compaction(
            date=old.date,
            files_before=len(old.files),
            files_after=1,
            rows=rows,
            size_bytes=size,
        )

    def _switch(self, replacement: Replacement) -> None:
        """Have the partition read from its new directory, by one statement that runs alone."""
        self._write(replacement, Step.SWITCHING)
        text = self.dirs.sql.set_location(replacement.file_date, replacement.new)
        self.execution.run_alone(replacement.id, text)
        self.execution.over(replacement.id)
        if self._decide(replacement) is not Step.REPLACED:
            message = f"its location is not {replacement.new} after it was set to that"
            raise LeftAloneError(message)

    def _decide(self, replacement: Replacement) -> Step:
        """See whether it was switched, and note it."""
        location = self.dirs.location(replacement.file_date)
        if location == replacement.new:
            step = Step.REPLACED
        elif location == replacement.old:
            step = Step.ABANDONED
        else:  # somebody else moved or dropped it: both directories stay
            step = Step.DONE
        self.moved(replacement.file_date)
        now = self._write(replacement, step)
        if step is Step.REPLACED:
            self._rescue(now)
        return step

    def _rescue(self, replacement: Replacement) -> list[str]:
        """Have what came into the old directory moved after; return what cannot be."""
        late, said = self.replaced.late(replacement)
        if late:
            self.log.write(replacement)  # Impala is to be notified, also if this process dies
            self.replaced.move(replacement, late)
            self.log.write(replacement)
        return said

    def _settle_begun(self) -> None:
        """Find out what became of those that were cut short. Raises DependencyDownError."""
        for each in self._all():
            if each.step is Step.MAKING:
                self._write(each, Step.ABANDONED)
            if each.step is Step.SWITCHING:
                self.execution.settle(each.id)
                self._decide(each)

    def _go_on(self, replacement: Replacement) -> list[str]:
        is_due = time.time() >= replacement.since + KEPT_FOR
        match replacement.step:
            case Step.REPLACED if not self.dirs.location(replacement.file_date):
                self._write(replacement, Step.DONE)
                date = replacement.file_date
                return [f"{replacement.old} stays: the partition of {date} was dropped"]
            case Step.REPLACED:
                said = self._rescue(replacement)
                if not said and is_due and not self._owed(replacement):
                    self.replaced.remove(replacement, replacement.old)
                    self._write(replacement, Step.DONE)
                return said
            case Step.ABANDONED if is_due:
                self.replaced.drop_beside(self._beside(replacement))
                self.replaced.remove(replacement, replacement.new)
                self.log.forget(replacement.id)
        return []

    def _forget_superseded(self) -> None:
        """Forget those whose directory was removed, as the old one of another."""
        done = [each for each in self._all() if each.step is Step.DONE]
        removed = {each.old for each in done}
        for each in done:
            if each.new in removed:
                self.log.forget(each.id)

    # ------------------------------------------------------------------ the log

    def _all(self) -> list[Replacement]:
        return self.log.all(self.dirs.sql.name)

    def _in_place(self) -> list[Replacement]:
        """Return those whose new directory is, or was, a partition's."""
        return [each for each in self._all() if each.step in (Step.REPLACED, Step.DONE)]

    def _write(self, replacement: Replacement, step: Step) -> Replacement:
        files = replacement.files if step in (Step.SWITCHING, Step.REPLACED) else ()
        now = replace(replacement, step=step, files=files, since=time.time())
        self.log.write(now)
        return now

    def _owed(self, replacement: Replacement) -> bool:
        return self.log.owes_refresh(replacement.table, replacement.file_date)

    def _beside(self, replacement: Replacement) -> TableSql:
        name = f"backupd_compaction_{replacement.id}"
        return TableSql(self.database, name, self.dirs.columns["file_date"])
