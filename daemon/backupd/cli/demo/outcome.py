"""What a demo prints at its end: each feed, the parked file, a query, where to look further."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from backupd.cli import render
from backupd.cli.completeness import completeness
from backupd.cli.incidents import describe
from backupd.cli.options import Places
from backupd.cli.progress import size_text
from backupd.cli.report import report
from backupd.cli.show import show
from backupd.core.incidents import OF_COMPLETENESS
from backupd.core.stages import Status
from backupd.ledger import LedgerReader, incidents, reports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click import Command
    from rich.console import Console, RenderableType
    from rich.table import Table

    from backupd.cli.demo.feeds import Delivery, Plan
    from backupd.config.sections import Config
    from backupd.core.records import FileRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was planned, and everything that the ledger holds after it."""

    plan: Plan
    config_path: Path
    config: Config
    files: Sequence[FileRecord]  # as they were first seen

    @property
    def parked(self) -> list[FileRecord]:
        """The files that a person would have to look at."""
        return [file for file in self.files if file.status is Status.PARKED]

    @property
    def lacking_date(self) -> str:
        """The date of the numbered files, of which one never came."""
        names = {str(each.path) for each in self.plan.numbered}
        return max(file.file_date or "" for file in self.files if file.path in names)

    @property
    def report(self) -> Path:
        """Where the daily report of that date is written."""
        return self.config_path.with_name("report.html")

    @property
    def is_as_planned(self) -> bool:
        """Whether each file is done but the damaged one, which is parked."""
        done = sum(file.status is Status.DONE for file in self.files)
        parked = [file.path for file in self.parked]
        return parked == [str(self.plan.damaged.path)] and done == self.plan.files - 1

    def second(self, delivery: Delivery) -> FileRecord | None:
        """Return the second file that came to the path of this delivery; None where none did."""
        came = [file for file in self.files if file.path == str(delivery.path)]
        return came[1] if came[1:] else None


def read(plan: Plan, config_path: Path, config: Config) -> Outcome:
    """Read what became of every file."""
    reader = LedgerReader(config.ledger.path)
    try:
        files = reader.ask(reports.select, reports.Wanted())
    finally:
        reader.close()
    return Outcome(plan=plan, config_path=config_path, config=config, files=files)


def print_outcome(outcome: Outcome) -> None:
    """Print it all on stdout."""
    console = render.console()
    console.print(render.heading("What became of each feed"))
    console.print(_feeds(outcome))
    console.print(render.heading("Two files that came under a name which had come before"))
    console.print(render.facts(_redelivered(outcome)))
    for file in outcome.parked[:1]:  # there are more only where the demo did not go as planned
        console.print(render.heading("Why a file is parked, as `backupd-admin show` tells it"))
        show.main([file.id], obj=Places(outcome.config_path), standalone_mode=False)
    print_lacking(console, outcome)
    if any(file.row_seen_at for file in outcome.files):
        _ask_production(console, outcome.config)
    console.print(render.heading("Look further"))
    for command in _commands(outcome):
        console.print(f"  {command}", soft_wrap=True)


def print_lacking(console: Console, outcome: Outcome) -> None:
    """Print what did not come, and write the daily report of the date that lacks it."""
    console.print(render.heading("What did not come, as `backupd-admin incidents` tells it"))
    with closing(LedgerReader(outcome.config.ledger.path)) as reader:
        cases = reader.ask(incidents.open_cases)
    for case in cases:
        if case.incident.kind in OF_COMPLETENESS:
            for part in describe(case, time.time(), briefly=True):
                console.print(part)
    date = outcome.lacking_date
    console.print(render.heading(f"The same for {date}, as `backupd-admin completeness` has it"))
    _run(outcome, completeness, "--date", date)
    console.print(render.heading("The daily report"))
    _run(outcome, report, "--date", date, "--html", str(outcome.report))
    console.print(f"file://{quote(str(outcome.report))}", soft_wrap=True)


def _run(outcome: Outcome, command: Command, *arguments: str) -> None:
    """Run a command of backupd-admin here; its exit code says what everybody sees."""
    with suppress(SystemExit):
        command.main(arguments, obj=Places(outcome.config_path), standalone_mode=False)


def _feeds(outcome: Outcome) -> Table:
    numbers = ("files", "done", "duplicates", "parked", "records", "size")
    made = render.table("feed", *numbers, numbers=numbers)
    for feed in outcome.config.feeds:
        made.add_row(feed.name, *_sums([file for file in outcome.files if file.feed == feed.name]))
    made.add_row("in all", *_sums(outcome.files), style="bold")
    return made


def _sums(files: Sequence[FileRecord]) -> list[str]:
    """Sum up; a duplicate's records and bytes are those of the first file and count once."""
    firsts = [file for file in files if file.duplicate_of is None]
    sums = [
        len(files),
        sum(file.status is Status.DONE for file in files),
        len(files) - len(firsts),
        sum(file.status is Status.PARKED for file in files),
        sum(file.record_count or 0 for file in firsts),
    ]
    size = size_text(sum(file.size_bytes or 0 for file in firsts))
    return [*(f"{number:,}" if number else "." for number in sums), size]


def _redelivered(outcome: Outcome) -> list[tuple[str, RenderableType]]:
    again = outcome.second(outcome.plan.again)
    corrected = outcome.second(outcome.plan.corrected)
    facts: list[tuple[str, RenderableType]] = []
    if again is not None and again.duplicate_of is not None:
        words = (
            f"{again.file_name}: a duplicate of {again.duplicate_of}, nothing done a second time"
        )
        facts.append(("same content", words))
    if corrected is not None and corrected.archive_name is not None:
        words = f"in the archive beside the first one as {corrected.archive_name}"
        facts.append(("other content", words))
    return facts


def _ask_production(console: Console, config: Config) -> None:
    # Imported here: pyarrow costs a tenth of a second that `--help` does without.
    from backupd.warehouse.embedded.summary import daily, daily_sql  # noqa: PLC0415

    console.print(render.heading("What the production table says (Parquet, for any engine)"))
    console.print(f"\n{daily_sql(config.warehouse)};\n")
    numbers = ("files", "records")
    made = render.table("file_type", "file_date", *numbers, numbers=numbers)
    for total in daily(config.warehouse):
        made.add_row(total.file_type, total.file_date, f"{total.files:,}", f"{total.records:,}")
    console.print(made)


def _commands(outcome: Outcome) -> list[str]:
    config = shlex.quote(str(outcome.config_path))
    admin = f"{_program('backupd-admin')} --config {config}"
    corrected = outcome.second(outcome.plan.corrected)
    return [
        f"{admin} status",
        f"{admin} incidents",
        f"{admin} report --date {outcome.lacking_date}",
        f"{admin} list --status parked",
        *(f"{admin} show {file.id}" for file in outcome.parked[:1]),
        *([f"{admin} prove {corrected.id}"] if corrected else []),
        f"{admin} reconcile",
        f"find {shlex.quote(outcome.config.archive.root)} -type f",
        f"{_program('backupd')} check --ddl --config {config}",
        f"{_program('backupd')} run --config {config}",
    ]


def _program(name: str) -> str:
    """Return how a shell in this directory starts one of our programs."""
    if shutil.which(name):
        return name
    path = Path(sys.executable).with_name(name)
    below = Path(os.path.relpath(path))
    return shlex.quote(str(path if ".." in below.parts else below))
