"""An archive in memory, with faults on demand. Held to the same contract as the real ones."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from backupd.archive.marks import Mark
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    NameTakenError,
    PermanentError,
    RefusedError,
    UnknownOutcomeError,
)
from backupd.core.places import MARK_FILE
from backupd.core.ports import Checksum, Probe, Published
from backupd.core.records import VerifiedBy
from backupd.core.snapshots import is_snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence

    from backupd.core.places import Witness
    from backupd.core.records import Identity

BLOCK = 64 * 1024
LONGEST_NAME = 255


class FakeArchive:
    """Implements `core.ports.Archive`. `files` and `parts` may be looked at and tampered with.

    A verb is the name of a method of the port: size, checksum, contents, upload, write, publish,
    discard_parts.
    """

    def __init__(
        self,
        *,
        how: VerifiedBy = VerifiedBy.REMOTE_SHA256,
        free: int = 1 << 40,
        flushes: bool = True,
    ) -> None:
        """`free` bytes are left; `flushes` is what `publish` answers."""
        self.files: dict[str, bytes] = {}
        self.parts: dict[tuple[str, str], bytearray] = {}  # by name and part id
        self.how = how
        self.free = free
        self.flushes = flushes
        self.down: DependencyDownError | None = None  # raised by everything while set
        self.calls: list[tuple[str, str]] = []  # verb and name
        self.same_files: set[str] = set()  # names that stand for the source itself
        self._mark = Mark(self, "the fake", "look at the test")
        self._faults: defaultdict[str, deque[BackupdError]] = defaultdict(deque)
        self._lost_answers = 0

    def fail_next(self, verb: str, *errors: BackupdError) -> None:
        """Raise these, one a call, before the next calls of a verb do anything."""
        self._faults[verb].extend(errors)

    def lose_next_answer_to_publish(self) -> None:
        """Publish once more, but raise UnknownOutcomeError as if the answer had been lost."""
        self._lost_answers += 1

    async def identify(self, expected: str | None, witnesses: Sequence[Witness]) -> str:
        """See the port."""
        return await self._mark.identify(expected, witnesses)

    async def mark(self) -> str:
        """See the port."""
        return await self._mark.ensure()

    async def read_mark(self) -> bytes | None:
        """See `backupd.archive.marks.Markable`."""
        self._call("read_mark", MARK_FILE)
        return self.files.get(MARK_FILE)

    async def is_same_file(self, name: str, identity: Identity) -> bool:  # noqa: ARG002 -- the port's
        """See the port."""
        return name in self.same_files

    async def size(self, name: str) -> int | None:
        """See the port."""
        self._call("size", name)
        if name not in self.files:
            await self._mark.look()
            return -1 if any(each.startswith(f"{name}/") for each in self.files) else None
        return len(self.files[name])

    async def checksum(self, name: str) -> Checksum | None:
        """See the port."""
        self._call("checksum", name)
        if name not in self.files:
            await self._mark.look()
            return None
        return Checksum(hashlib.sha256(self.files[name]).hexdigest(), self.how)

    async def contents(self, name: str) -> AsyncGenerator[bytes]:
        """See the port."""
        self._call("contents", name)
        if name not in self.files:
            await self._mark.look()
            raise PermanentError(f"{name} is not there")
        stored = self.files[name]
        for start in range(0, len(stored), BLOCK):
            yield stored[start : start + BLOCK]

    @contextlib.asynccontextmanager
    async def upload(
        self, name: str, part_id: str, expected_bytes: int
    ) -> AsyncIterator[FakeUpload]:
        """See the port."""
        self._call("upload", name)
        await self._mark.look()
        if self.free < expected_bytes:
            raise RefusedError(f"no room for {expected_bytes} bytes", room=True)
        self.parts[name, part_id] = bytearray()
        try:
            yield FakeUpload(self, name, part_id)
        finally:
            if self.down is None:
                self.forget_part(name, part_id)

    def forget_part(self, name: str, part_id: str) -> None:
        """What an upload removes when it was not published."""
        self.parts.pop((name, part_id), None)

    async def discard_parts(self, name: str, part_ids: Collection[str]) -> None:
        """See the port."""
        self._call("discard_parts", name)
        for part_id in part_ids:
            self.parts.pop((name, part_id), None)

    async def names(self, directory: str) -> list[str]:
        """See the port."""
        self._call("names", directory)
        await self._mark.look()
        parts = [posixpath.join(posixpath.dirname(n), hidden(n, id_)) for n, id_ in self.parts]
        below = [each.removeprefix(f"{directory}/") for each in (*self.files, *parts)]
        there = [*self.files, *parts]
        return sorted({each.partition("/")[0] for each in set(below) - set(there)})

    async def remove_snapshot(self, name: str) -> None:
        """See the port."""
        self._call("remove_snapshot", name)
        if not is_snapshot(name):
            raise PermanentError(f"{name} is no snapshot")
        await self._mark.look()
        self.files.pop(name, None)

    async def probe(
        self,
        directories: Collection[str],
        expected: str | None = None,
        shows_up: Callable[[str], str | None] | None = None,
    ) -> list[Probe]:
        """See the port. `shows_up` is asked for a name in each directory."""
        if self.down is not None:
            return [Probe("archive", ok=False, detail=str(self.down), hint=self.down.hint)]
        marked = await self._mark.probe(expected)
        if not marked.ok:
            return [marked]
        found = shows_up(".probe.1.part") if shows_up else None
        lines = [Probe(f"archive directory {d or '.'}", not found, str(found)) for d in directories]
        return [marked, Probe("archive names", ok=True, detail="taken by the fake"), *lines]

    async def aclose(self) -> None:
        """See the port."""

    def _call(self, verb: str, name: str) -> None:
        self.calls.append((verb, name))
        if self.down is not None:
            raise self.down
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or max(len(p.encode()) for p in parts) > LONGEST_NAME:
            raise PermanentError(f"no such name can be: {name}")
        if self._faults[verb]:
            raise self._faults[verb].popleft()

    async def flush(self, name: str) -> bool:
        """See the port."""
        self._call("flush", name)
        await self._mark.look()
        return self.flushes

    def publish(self, name: str, part_id: str) -> Published:
        """For the fake's uploads."""
        self._call("publish", name)
        if name in self.files:
            raise NameTakenError(f"{name} is there already")
        self.files[name] = bytes(self.parts.pop((name, part_id)))
        if self._lost_answers:
            self._lost_answers -= 1
            raise UnknownOutcomeError(f"no answer whether {name} was renamed into place")
        return Published(self.flushes, "link")

    def write(self, name: str, part_id: str, block: bytes) -> None:
        """For the fake's uploads."""
        self._call("write", name)
        self.parts[name, part_id] += block


def hidden(name: str, part_id: str) -> str:
    """Return the temporary name of an upload."""
    return f".{posixpath.basename(name)}.{part_id}.part"


class FakeUpload:
    """Implements `core.ports.Upload`."""

    def __init__(self, archive: FakeArchive, name: str, part_id: str) -> None:
        """Belongs to one archive."""
        self._archive = archive
        self._name = name
        self._part_id = part_id

    @property
    def part_name(self) -> str:
        """See the port."""
        return hidden(self._name, self._part_id)

    async def write(self, block: bytes) -> None:
        """See the port."""
        self._archive.write(self._name, self._part_id, block)

    async def publish(self) -> Published:
        """See the port."""
        return self._archive.publish(self._name, self._part_id)
