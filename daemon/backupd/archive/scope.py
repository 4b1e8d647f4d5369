"""What a refusal concerns: one file, a directory of the archive, or all of it.

Shown by what else is refused beside it, not by the kind of refusal: a small file of ours is tried
in the same directory, then in those of other feeds.

    the directory takes it                 the file's own trouble (no room for so much, or other)
    it is refused, another takes it        the topmost directory below which none does is down
    none takes it                          the archive is down
    refused for what else is open there    fewer files at once, none at fault
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from backupd.archive.at_once import AtOnce
from backupd.archive.canary import Canary
from backupd.core.archive_names import is_below
from backupd.core.dependencies import Dependency, archive_directory
from backupd.core.errors import DependencyDownError, NoRoomError, RefusedError
from backupd.core.names import escaped
from backupd.core.request_batcher import RequestBatcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from backupd.core.ports import Archive

    Outcomes = dict[str, RefusedError | None]

T = TypeVar("T")

_SURE_AFTER = 3  # looks, or tries: what else is open changes from one to the next
_TWICE = 2  # looks, where what else is open cannot be why
_LOOKS = 6  # in a row, should they never agree
_TRIES = 15  # of a file while others are refused too: each time fewer of them are let in


@dataclass(frozen=True, slots=True)
class Finding:
    """Nothing is taken at or below the directory `down` ("": nowhere); `refused` says why."""

    down: str
    refused: RefusedError


class Scope:
    """Finds out what a refusal concerns, for many files by one look."""

    def __init__(self, archive: Archive, directories: Collection[str]) -> None:
        """`directories` are those of all feeds, relative to the archive's root."""
        self._canary = Canary(archive, directories)
        self._directories = sorted(set(directories))
        self._at_once = AtOnce()
        self._refusals = 0
        # A refusal that comes during a look is not judged by that one.
        self._looks: RequestBatcher[str, Finding | None] = RequestBatcher(self._look)

    async def within(self, directory: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do what works on a file in this directory.

        A refusal is raised as DependencyDownError where it is not the file's fault, as NoRoomError
        where the file is too large; as it is, when it was met again and again.
        """
        result = await self._within(directory, work)
        await self._canary.remove_left(directory)
        return result

    async def _within(self, directory: str, work: Callable[[], Awaitable[T]]) -> T:
        doubts, tries, lacked_room = 0, 0, False
        while True:
            before = self._refusals
            try:
                async with self._at_once:
                    return await work()
            except RefusedError as error:
                refused = error
            others, alone = self._at_once.inside, before == self._refusals
            self._refusals += 1
            tries += 1
            found = await self._looks.ask(directory)
            waited_out = not others or tries == _TRIES
            if found is not None and (waited_out or not _may_be_load(found)):
                raise self._down(found, refused) from refused
            if found is None and refused.room:
                if lacked_room:
                    raise NoRoomError(str(refused), hint=refused.hint) from refused
                lacked_room = True  # there may be room by now
                continue
            may_be_load = others and (found is not None or refused.load)
            doubts += not may_be_load or (found is None and alone)
            if doubts == _SURE_AFTER or tries == _TRIES:
                raise refused
            if may_be_load:
                self._at_once.shrink(others if alone else others * 2 // 3)

    async def demand(self, down: str) -> None:
        """Return where files are taken at or below a directory that was down.

        Raises DependencyDownError: it still is, or another one instead of it.
        """
        below = next((each for each in self._directories if is_below(each, down)), down)
        others = self._at_once.inside
        found = await self._looks.ask(below)
        if found is None:
            return
        if others and _may_be_load(found):
            found = Finding(down, found.refused)
        raise self._down(found, found.refused)

    async def _look(self, directories: Collection[str]) -> dict[str, Finding | None]:
        outcomes: Outcomes = {}
        return {each: await self._find(each, outcomes) for each in directories}

    async def _find(self, directory: str, outcomes: Outcomes) -> Finding | None:
        """Look until looks agree where others take files: that may change during a look."""
        found, agreeing = await self._find_once(directory, outcomes), 1
        for _ in range(_LOOKS):
            if not found or not found.down or agreeing == _sure_after(found):
                break
            again = await self._find_once(directory, {})
            agreeing = agreeing + 1 if again and again.down == found.down else 1
            found = again
        return found

    async def _find_once(self, directory: str, outcomes: Outcomes) -> Finding | None:
        async def refusal_in(each: str) -> RefusedError | None:
            if each not in outcomes:
                outcomes[each] = await self._canary.refusal(each)
            return outcomes[each]

        refused = await refusal_in(directory)
        if refused is None:
            return None
        return Finding(await topmost(directory, self._directories, refusal_in), refused)

    def _down(self, found: Finding, refused: RefusedError) -> DependencyDownError:
        if found.down:
            reason = f"nothing can be written in its directory {escaped(found.down)}: {refused}"
            return DependencyDownError(archive_directory(found.down), reason, hint=refused.hint)
        self._at_once.lift()
        return DependencyDownError(Dependency.ARCHIVE, str(refused), hint=refused.hint)


async def topmost(
    directory: str,
    others: Collection[str],
    refusal_in: Callable[[str], Awaitable[RefusedError | None]],
) -> str:
    """Return the topmost directory below which nothing is taken, this one being refused.

    "" where no other one takes anything. None is tried that cannot change the answer.
    """
    down, above = directory, directory
    while above:
        above = posixpath.dirname(above)
        beside = [each for each in others if is_below(each, above) and not is_below(each, down)]
        for each in beside:
            if await refusal_in(each) is None:
                return down
        if beside:
            down = above
    return ""


def _sure_after(found: Finding) -> int:
    return _SURE_AFTER if found.refused.load else _TWICE


def _may_be_load(found: Finding) -> bool:
    """All is refused, and it may be for what is open there."""
    return not found.down and found.refused.load
