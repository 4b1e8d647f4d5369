"""How a file gets its name on an SFTP server without ever taking another file's place.

The protocol leaves open what a rename does where the new name exists, and servers differ: OpenSSH's
refuses, Go's replaces, others look first and rename then. So what a server does is tried, once a
connection, with files of our own, and the safest way that it keeps is used:

    rename  by OpenSSH, which links and unlinks; by others that refuse and know no hard links
    link    a second name for the temporary file, which is then removed
    claim   a file beside the name, made exclusively: its owner alone looks, then renames

Programs that know nothing of claims are not kept out by one, between the look and the rename.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakValueDictionary

import asyncssh

from backupd.archive.naming import NamedBy, encode
from backupd.archive.sftp.read import read_short
from backupd.archive.sftp.trial import Trial, create, remove
from backupd.core.errors import (
    DependencyDownError,
    NameTakenError,
    TransientError,
    UnknownOutcomeError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from backupd.archive.naming import Place
    from backupd.archive.sftp.connection import Link

LONGEST_OWNER = 200  # bytes


class Names:
    """Gives files their names, by the way that each connection's server was seen to keep."""

    def __init__(self, root: str) -> None:
        """Nothing is tried yet. `root` is the archive's."""
        self._root = root
        self._ways: WeakKeyDictionary[Link, asyncio.Task[NamedBy]] = WeakKeyDictionary()
        self._left: set[str] = set()  # files of trials that a connection did not survive
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def way(self, link: Link, directory: str) -> NamedBy:
        """Return the way, tried in the archive's root, or in this directory if that is closed.

        Raises DependencyDownError where none is safe, asyncssh.SFTPError as the server does.
        """
        while (trying := self._ways.get(link)) is not None and not _failed(trying):
            if trying.done():
                return trying.result()
            # Another directory's refusal says nothing of this one.
            with contextlib.suppress(asyncssh.SFTPError):
                # Shielded, since many wait for the same.
                return await asyncio.shield(trying)
        trying = asyncio.create_task(self._try(link, directory))
        self._ways[link] = trying
        return await asyncio.shield(trying)

    async def remove_leftovers(self, link: Link) -> None:
        """Remove what a killed process of this host left of a trial."""
        await Trial(link, self._root, set()).remove_leftovers()

    async def take(self, link: Link, there: Place, part: str, owner: str) -> None:
        """Give the temporary file `part` its final name.

        Raises NameTakenError where that exists, UnknownOutcomeError when the answer was lost.
        """
        way = await self.way(link, there.directory)
        # Files of our own wait for each other here: none finds the claim of another, and a server
        # that looks and then renames has one to look for.
        async with self._turns.setdefault(there.claim, asyncio.Lock()):
            if way is NamedBy.CLAIM:
                await _rename_under_claim(link, there, part, owner)
            elif way is NamedBy.LINK:
                await _naming(link, link.sftp.link(encode(part), encode(there.path)), there)
                await link.ask(link.sftp.remove(encode(part)))
            else:
                await _naming(link, link.sftp.rename(encode(part), encode(there.path)), there)

    async def give_up(self, link: Link, there: Place, owner: str) -> None:
        """Remove the claim that an earlier try of `owner` left. What it would name must be gone.

        It is looked for first: when an open fails for want of a file, Apache MINA 2.14 gives out
        handles of files that are open already.
        """
        is_there = await link.ask(link.sftp.lexists(encode(there.claim)))
        if is_there and await read_short(link, there.claim, LONGEST_OWNER) == owner.encode():
            await remove(link, there.claim)

    async def _try(self, link: Link, directory: str) -> NamedBy:
        made, self._left = self._left, set()
        try:
            return await Trial(link, self._root, made).way()
        except asyncssh.SFTPError:
            return await Trial(link, directory, made).way()
        finally:
            self._left |= made

    async def aclose(self) -> None:
        """Give up trials that are under way."""
        trials = list(self._ways.values())
        for trial in trials:
            trial.cancel()
        await asyncio.gather(*trials, return_exceptions=True)


def _failed(trying: asyncio.Task[NamedBy]) -> bool:
    return trying.done() and (trying.cancelled() or trying.exception() is not None)


async def _rename_under_claim(link: Link, there: Place, part: str, owner: str) -> None:
    await _claim(link, there.claim, owner)
    try:
        await _look_and_rename(link, part, there)
    except (NameTakenError, asyncssh.SFTPError):
        await remove(link, there.claim)
        raise
    # Not when the answer was lost: the rename may yet be done, and nobody else may begin.
    await remove(link, there.claim)


async def _look_and_rename(link: Link, part: str, there: Place) -> None:
    if await link.ask(link.sftp.lexists(encode(there.path))):
        raise NameTakenError(f"{there.path} is there already")
    await _naming(link, link.sftp.rename(encode(part), encode(there.path)), there)


async def _naming(link: Link, request: Awaitable[None], there: Place) -> None:
    """Ask for the name; say what became of it."""
    try:
        await link.ask(request)
    except DependencyDownError as error:
        raise UnknownOutcomeError(
            f"no answer whether {there.path} got its name: {error}"
        ) from error
    except asyncssh.SFTPError as error:
        if await link.ask(link.sftp.lexists(encode(there.path))):
            raise NameTakenError(f"{there.path} is there already") from error
        raise


async def _claim(link: Link, claim: str, owner: str) -> None:
    """Make the claim, or find that it is ours already. TransientError where it is another's."""
    try:
        await create(link, claim, owner.encode())
    except asyncssh.SFTPError:
        holder = await read_short(link, claim, LONGEST_OWNER)
        if holder is None:
            raise
        if holder != owner.encode():
            raise TransientError(
                f"another file holds the claim {claim} on {link.address}",
                hint="look whether another backupd ships to this archive; if none does, remove it",
            ) from None
