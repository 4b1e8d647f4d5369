"""The history beside the ledger: asked where the ledger alone does not answer.

To read it takes libraries that the other commands go without.
"""

from __future__ import annotations

import asyncio
import stat
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.cli.targets import NoSuchFileError, UnknownFileError, ambiguous, resolve
from backupd.config import ConfigMistakes
from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, DependencyDownError
from backupd.core.history import Past
from backupd.core.names import escaped
from backupd.core.stages import Stage, Status
from backupd.ledger import files, history, reports, stories
from backupd.ledger import places as ledger_places

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from backupd.cli.options import Places
    from backupd.config.sections import WarehouseSection
    from backupd.core.history import History, Story
    from backupd.core.records import Event, FileRecord, Receipt
    from backupd.ledger import LedgerReader
    from backupd.ledger.reports import Wanted

_PAGE = 500  # stories


class UnknownPlaceError(BackupdError):
    """The config does not say where the history is, or who runs the command may not read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that is known of a file, wherever it is. A duplicate has the first file's receipt."""

    file: FileRecord
    original: FileRecord | None  # of a duplicate
    receipt: Receipt | None
    events: Sequence[Event]
    same_path: Sequence[str]  # ids of the other files that came to the same path


class PastReader:
    """Asks the history, if there is one."""

    def __init__(self, places: Places, reader: LedgerReader) -> None:
        self._places = places
        self._reader = reader

    def matching(self, text: str) -> list[Story]:
        """Return the stories that a person may mean: by id, else by path, else by file name."""
        names = [text, str(Path(text).absolute())] if "/" in text else [text]
        found = self.all(Past(names=names))
        for field in ("id", "path", "file_name"):
            if meant := [story for story in found if getattr(story.file, field) in names]:
                return meant
        return []

    def of_id(self, file_id: str) -> Story | None:
        """Return the story of a file."""
        return next(iter(self.all(Past(names=[file_id]))), None)

    def all(self, past: Past) -> list[Story]:
        """Return what is asked for, which is not much. Raises BackupdError."""
        return [story for page in self._pages(past) for story in page]

    def pages(self, wanted: Wanted) -> Iterator[list[Story]]:
        """Yield the stories of this host that are wanted and are not in the ledger, some at a time.

        Where the history cannot be read this is told on stderr, and there are no more.
        """
        if not may_be_past(wanted):
            return
        try:
            for page in self._pages(replace(asked(wanted), in_order=True)):
                yield ours(self._section, self._reader, page)
        except BackupdError as error:
            note_unread(error)

    def _pages(self, past: Past) -> Iterator[list[Story]]:
        opened = self._open()
        if opened is None:
            return
        with asyncio.Runner() as runner:
            found = opened.find(past)
            try:
                while page := runner.run(take(found)):
                    yield page
            finally:
                runner.run(opened.aclose())

    def _open(self) -> History | None:
        try:
            return open_past(self._section, self._reader)
        except ConfigMistakes as mistakes:
            if not self._reader.ask(history.left):
                return None
            count = len(mistakes.mistakes)
            raise UnknownPlaceError(
                f"{count} mistake(s) in the config (`backupd check` names them)"
            ) from mistakes

    @cached_property
    def _section(self) -> WarehouseSection:
        """Where it is, with the secrets that it takes. Raises ConfigMistakes."""
        section = self._places.checked_config(with_secrets=False).warehouse
        if section.hive is None or not self._reader.ask(history.left):
            return section
        return self._places.checked_config().warehouse


def note_unread(error: BackupdError) -> None:
    """Say on stderr that the history cannot be read, and that the ledger alone is shown."""
    sys.stderr.write(f"note: files that left for the history are left out: {error}\n")


def open_past(section: WarehouseSection, reader: LedgerReader) -> History | None:
    """Open the history of a warehouse; None where there is none. Raises DependencyDownError."""
    mark = reader.ask(ledger_places.place, Dependency.WAREHOUSE)
    if section.hive is None and (mark is None or not _is_there(section.embedded_root / "history")):
        return None
    if section.hive is not None and not reader.ask(history.left):
        return None
    from backupd.warehouse import open_history  # noqa: PLC0415 - takes its libraries with it

    return open_history(section, mark=mark)


def _is_there(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        message = f"the history at {path} cannot be read: {error.strerror}"
        raise DependencyDownError(Dependency.HISTORY, message) from error


def asked(wanted: Wanted) -> Past:
    """Return what to ask the history for, of what is wanted."""
    return Past(feed=wanted.feed, customer=wanted.customer, since=wanted.since)


def may_be_past(wanted: Wanted) -> bool:
    """Return whether a done file can be among those that are wanted."""
    stages, statuses = {None, Stage.CLEANUP}, {None, Status.DONE}
    return wanted.stage in stages and wanted.status in statuses


def ours(section: WarehouseSection, reader: LedgerReader, page: Sequence[Story]) -> list[Story]:
    """Return those of this host's that are not in the ledger (too).

    The embedded warehouse has but one ledger. The host may have been called otherwise before.
    """
    hosts = reader.ask(history.hosts)
    mine = [story for story in page if section.hive is None or story.host in hosts]
    back = {file.id for file in reader.ask(files.by_ids, [story.file.id for story in mine])}
    return [story for story in mine if story.file.id not in back]


async def take(found: AsyncIterator[Story]) -> list[Story]:
    """Return the next stories; none: there are no more."""
    page: list[Story] = []
    async for story in found:
        page.append(story)
        if len(page) == _PAGE:
            break
    return page


# -- one file ------------------------------------------------------------------------------------


def known(places: Places, reader: LedgerReader, text: str) -> Known:
    """Return what is known of the file that a person means. Raises NoSuchFileError."""
    past = PastReader(places, reader)
    try:
        return _in_ledger(reader, past, resolve(reader, text))
    except UnknownFileError:
        story = _meant(reader, past, text)
        if story is None:
            raise
        return _in_history(reader, past, story)


def _meant(reader: LedgerReader, past: PastReader, text: str) -> Story | None:
    try:
        found = past.matching(text)
    except BackupdError as error:
        note_unread(error)
        return None
    hosts = reader.ask(history.hosts)
    if len({story.file.path for story in found}) > 1:
        raise NoSuchFileError(ambiguous(text, [story.file for story in found]))
    return max(found, key=lambda story: (story.host in hosts, story.file.id), default=None)


def _in_ledger(reader: LedgerReader, past: PastReader, file: FileRecord) -> Known:
    original, receipt = _original(reader, past, file)
    if file.duplicate_of is None:
        receipt = reader.ask(stories.receipts_of, [file.id]).get(file.id)
    others = [each.id for each in reader.ask(reports.matching, file.path) if each.id != file.id]
    return Known(
        file=file,
        original=original,
        receipt=receipt,
        events=reader.ask(reports.history, file.id),
        same_path=others,
    )


def _in_history(reader: LedgerReader, past: PastReader, story: Story) -> Known:
    file = story.file
    original, receipt = _original(reader, past, file)
    there = [each.file for each in past.all(Past(names=[file.path]))]
    others = {each.id for each in [*there, *reader.ask(reports.matching, file.path)]} - {file.id}
    return Known(
        file=file,
        original=original,
        receipt=story.receipt if file.duplicate_of is None else receipt,
        events=story.events,
        same_path=sorted(others),
    )


def _original(
    reader: LedgerReader, past: PastReader, file: FileRecord
) -> tuple[FileRecord | None, Receipt | None]:
    """Return the first file of a duplicate, and its receipt."""
    if file.duplicate_of is None:
        return None, None
    if found := reader.ask(files.by_ids, [file.duplicate_of]):
        receipts = reader.ask(stories.receipts_of, [file.duplicate_of])
        return found[0], receipts.get(file.duplicate_of)
    story = past.of_id(file.duplicate_of)
    return (None, None) if story is None else (story.file, story.receipt)


def _refuse_past(places: Places, reader: LedgerReader, text: str) -> None:
    """Raise NoSuchFileError for a file that can be found, but not acted on: it left the ledger."""
    story = _meant(reader, PastReader(places, reader), text)
    if story is not None:
        raise NoSuchFileError(
            f"{escaped(text)} is in the history since it left the ledger: it was done on"
            f" {story.done_date}, and nothing is to be done with it"
            f" (backupd-admin show {story.file.id}). Delivered again, it is recognised"
        )


def resolve_all(places: Places, reader: LedgerReader, texts: Sequence[str]) -> list[FileRecord]:
    """Return each file of the ledger once. NoSuchFileError names all that went wrong."""
    found: dict[str, FileRecord] = {}
    wrong: list[str] = []
    for text in texts:
        try:
            file = _to_act_on(places, reader, text)
            found[file.id] = file
        except NoSuchFileError as error:
            wrong.append(str(error))
    if wrong:
        raise NoSuchFileError("\n".join([*wrong, "nothing was done"]))
    return list(found.values())


def _to_act_on(places: Places, reader: LedgerReader, text: str) -> FileRecord:
    try:
        return resolve(reader, text)
    except UnknownFileError:
        _refuse_past(places, reader, text)
        raise
