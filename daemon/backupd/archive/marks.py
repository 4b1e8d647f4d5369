"""The archive's mark: where it is missing, nothing is written, and nothing is believed missing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, DependencyDownError, NameTakenError
from backupd.core.places import MARK_FILE, mark_in, mark_state, mark_text, new_mark
from backupd.core.ports import Archive, Probe
from backupd.core.request_batcher import RequestBatcher

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from backupd.core.places import Witness

# Seconds for which a look is good before a file is sent: many small files need not look each.
LOOK_KEPT = 1.0


class Markable(Archive, Protocol):
    """An archive whose mark can be read."""

    async def read_mark(self) -> bytes | None:
        """Return up to `places.MOST` bytes of the file of the mark; None: there is none."""
        ...


class Mark:
    """The mark that an archive has to bear: none until it was identified."""

    def __init__(self, archive: Markable, root: str, look: str, host: str = "") -> None:
        """Nothing is looked at yet. `host` is where `root` is, if not here.

        `look` says, in the words of a hint, how to find out whether it is the right place.
        """
        self._archive = archive
        self._root = root
        self._look_there = look
        self._host = host
        self._expected: str | None = None
        self._seen_at = float("-inf")
        self._looks: RequestBatcher[str, None] = RequestBatcher(self._look)

    async def identify(self, expected: str | None, witnesses: Sequence[Witness]) -> str:
        """See the port."""
        if expected is None:
            expected = await self._first_mark(witnesses)
        else:
            self._compare(await self._archive.read_mark(), expected)
        self._expected = expected
        return expected

    async def ensure(self) -> str:
        """Return the mark that is there, or a new one, written now."""
        text = await self._archive.read_mark()
        if text is None:
            return await self._write(new_mark())
        if found := mark_in(text):
            return found
        raise DependencyDownError(
            Dependency.ARCHIVE,
            f"{MARK_FILE} in {self._root} is not a valid mark",
            hint="look at that file; remove it if it is not needed, a new one is then written",
        )

    def demand(self, text: bytes | None) -> None:
        """Compare what the file holds. DependencyDownError where it is not the expected mark."""
        if self._expected is not None:
            self._compare(text, self._expected)

    @property
    def is_expected(self) -> bool:
        """Whether the archive was identified."""
        return self._expected is not None

    async def look(self) -> None:
        """Demand it, from what is there now. Many at once cost little more than one."""
        if self.is_expected:
            await self._looks.ask(MARK_FILE)

    async def look_unless_just_seen(self) -> None:
        """Demand it, from what was there within the last second."""
        if time.monotonic() - self._seen_at > LOOK_KEPT:
            await self.look()

    async def probe(self, expected: str | None) -> Probe:
        """Return how the archive is marked."""
        subject = "archive place"
        try:
            text = await self._archive.read_mark()
            if expected is not None:
                self._compare(text, expected)
        except BackupdError as error:
            return Probe(subject, ok=False, detail=str(error), hint=error.hint)
        return Probe(subject, ok=True, detail=mark_state(text, expected))

    async def aclose(self) -> None:
        """Give up a look that is under way."""
        await self._looks.aclose()

    async def _look(self, files: Collection[str]) -> dict[str, None]:
        looked_at = time.monotonic()
        self.demand(await self._archive.read_mark())
        self._seen_at = looked_at
        return dict.fromkeys(files)

    async def _first_mark(self, witnesses: Sequence[Witness]) -> str:
        """A ledger that has shipped there before must see one of its copies first."""
        for witness in witnesses:
            if await self._archive.size(witness.archive_name) == witness.sent_bytes:
                break
        else:
            if witnesses:
                why = f"none of {len(witnesses)} files that were shipped to it is there"
                raise self._another_place(why)
        return await self.ensure()

    async def _write(self, mark: str) -> str:
        text = mark_text(mark)
        try:
            # One owner's name for all: who comes next takes over the claim that a kill left.
            async with self._archive.upload(MARK_FILE, f"mark.{mark}", len(text)) as upload:
                await upload.write(text)
                await upload.publish()
        except NameTakenError:  # somebody else was quicker
            return await self.ensure()
        await self._archive.flush(MARK_FILE)
        return await self.ensure()  # two who wrote it at once are to have one

    def _compare(self, text: bytes | None, expected: str) -> None:
        if text is None:
            raise self._another_place(f"its mark {MARK_FILE} is missing")
        if mark_in(text) != expected:
            raise self._another_place(f"its mark {MARK_FILE} is another one")

    def _another_place(self, why: str) -> DependencyDownError:
        where = f"{self._root} on {self._host}" if self._host else self._root
        return DependencyDownError(
            Dependency.ARCHIVE,
            f"{where} is not the archive that this ledger knows: {why}",
            hint=f"{self._look_there}; if it was moved on purpose: backupd check --new-place",
        )
