"""Intake as a whole: watches, scans and settles for as long as the daemon runs.

Events say where to look, scans find whatever events did not report, settling decides what is
complete. Nothing is remembered here: a file that was seen has a row in the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from backupd.core.calls import DoesNotAnswerError
from backupd.core.host import host_fault
from backupd.core.pace import repeat
from backupd.core.threads import DirectoryThreads
from backupd.intake.finding import Finder
from backupd.intake.health import FeedHealth
from backupd.intake.matching import FeedMap
from backupd.intake.observer import PendingHints
from backupd.intake.readiness import Rules
from backupd.intake.scan import Scanner
from backupd.intake.settling import AT_ONCE, Settling
from backupd.intake.watcher import Watcher, is_remote

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from backupd.config.sections import IntakeSection
    from backupd.core.errors import DependencyDownError
    from backupd.core.records import Feed
    from backupd.core.untaken import Untaken
    from backupd.intake.matching import Root
    from backupd.intake.ports import IntakeLedger
    from backupd.intake.scan import Tree
    from backupd.localfs.directory import Directory

log = structlog.get_logger()

T = TypeVar("T")

CHECK_EVERY = 1.0  # seconds between checks of the observer and of the feeds' directories
POLL_EVERY = 5.0  # seconds between scans of polled directories, at least
_POLL_SHARE = 20  # polling takes a twentieth of the time at most
_SETTLE_PAUSE = 0.05  # seconds: files that are due a moment apart are looked at together
_SLOW = 1.0  # seconds
_FOLLOWED = 4  # lots of hints at once, which bounds the memory
_EVERYWHERE = ""  # the calls into all directories hang by themselves
_LOG_EVERY = 60.0  # seconds between lines on the observer's death
_LONGEST_PAUSE = 60.0  # seconds: a clock that was set must not leave anything waiting for long


async def _reported_to_nobody(_: DependencyDownError) -> None:
    """Do nothing: nobody is to be notified."""


class Intake:
    """The watching part of the daemon.

    `ready` is set once the watches are set up and the first scan is done; `health` says which
    feeds' files can be reached just now.
    """

    def __init__(
        self,
        section: IntakeSection,
        feeds: Iterable[Feed],
        ledger: IntakeLedger,
        hampered: Callable[[DependencyDownError], Awaitable[object]] = _reported_to_nobody,
    ) -> None:
        """`hampered` is called with the host fault that keeps intake from looking at anything."""
        self._hampered = hampered
        self.ready = asyncio.Event()
        self._section = section
        self._feeds = FeedMap(feeds)
        self._ledger = ledger
        self._hinted = asyncio.Event()
        self._rescan = asyncio.Event()
        self._watch_anew = False
        self._next_telling = 0.0
        self._hints = PendingHints(self._hint_came)
        self._watcher = Watcher(self._hints)
        self._threads = DirectoryThreads("intake")
        # A thread of its own while it runs: those of the loop may all be busy, reading slow disks.
        self._asking: ThreadPoolExecutor | None = None
        self.health = FeedHealth(
            self._feeds.feeds.values(), ledger, self._threads, self._start_anew
        )
        self._settling = Settling(ledger, self.health, self, self._threads)
        scanner = Scanner(self._watch)
        self._finder = Finder(ledger, self.health, self._threads, scanner, self._settling)

    @property
    def found(self) -> Counter[str]:
        """New files so far by what found them: `events`, `start`, `rescan`, `poll`."""
        return self._finder.found

    def untaken(self) -> Mapping[str, list[Untaken] | None]:
        """Return what each feed does not take; None where its directory was not scanned yet."""
        return self._finder.oddities.of(self._feeds.roots)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Whatever fails in here ends it: raises an ExceptionGroup."""
        self._loop = asyncio.get_running_loop()
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="sign-of-life")
        await self._enduring(self._begin)
        parts = (
            *(self._scans, self._polls, self._events, self._checks, self._settles),
            self._finder.kept.run,
        )
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._enduring(part), name=part.__name__) for part in parts
                ]
                await stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            asking, self._asking = self._asking, None
            asking.shutdown(wait=False)
            await asyncio.to_thread(self._watcher.stop)
            self._settling.close()
            self.health.close()

    async def sign_of_life(self) -> None:
        """Return once the observer's thread has shown that it reads events; at once at the end."""
        if self._asking is not None:
            await self._loop.run_in_executor(self._asking, self._watcher.sign_of_life)

    async def scan_once(self) -> None:
        """Make rows for all files in the directories, without watching them.

        A host fault is reported to `hampered`; then not all files may have been looked at.
        """
        try:
            await self._scan_all()
        except Exception as error:
            if (fault := host_fault(error)) is None:
                raise
            await self._hampered(fault)

    async def settle_once(self) -> None:
        """Look at every file that is due in settle."""
        while await self._settling.run_pass() == AT_ONCE:
            pass

    # -- what settling asks ----------------------------------------------------------------------

    def feed(self, name: str) -> Feed | None:
        """Return a feed by name; None: the config has no such feed any more."""
        return self._feeds.feeds.get(name)

    def rules(self, feed: Feed) -> Rules:
        """Return how the feed's files are to be judged."""
        polled = feed.directory in self._watcher.polled
        rescan_every = self._section.rescan_every
        return Rules(
            companion=feed.companion,
            settle_for=self._section.settle_for,
            look_every=min(POLL_EVERY, rescan_every) if polled else rescan_every,
            trust_timestamps=self._watcher.trust_timestamps(feed.directory),
            ask_writers=self._section.open_files == "auto",
        )

    # -- the parts that run side by side ---------------------------------------------------------

    async def _enduring(self, part: Callable[[], Awaitable[None]]) -> None:
        """Run a part. What the host's limits cut short begins anew, and all is looked at again."""
        while True:
            try:
                return await part()
            except Exception as error:
                if (fault := host_fault(error)) is None:
                    raise
                await self._hampered(fault)
            self._rescan.set()
            await asyncio.sleep(CHECK_EVERY)

    async def _begin(self) -> None:
        await self._start_anew()
        await self.health.check()

    async def _scan_all(self) -> None:
        await self.health.check()
        await self._finder.scan(self._feeds.roots, "start", companions=True)
        await self._finder.kept.compare()

    async def _scans(self) -> None:
        """Watch, then scan: at the start, whenever events may have been lost, and regularly."""
        source, lost = "start", True
        while True:
            if self._watch_anew:
                self._watch_anew, lost = False, True
                self._rescan.clear()
                directories = [root.directory for root in self._feeds.roots]
                start = partial(self._watcher.start, self._trees(), directories)
                try:
                    await self._threads.run(_EVERYWHERE, start)
                except Exception as error:
                    self._watch_anew = True
                    if not isinstance(error, DoesNotAnswerError):
                        raise
            await self._finder.scan(self._to_rescan(source), source, companions=lost)
            await self._everywhere(self._watcher.forget_gone)
            self.ready.set()
            source = "rescan"
            lost = await _set_within(self._rescan, self._section.rescan_every)

    async def _polls(self) -> None:
        """Scan the directories for which there are no events."""
        longest = self._section.rescan_every
        await asyncio.sleep(min(POLL_EVERY, longest))
        await repeat(self._poll, POLL_EVERY, asyncio.Event(), share=_POLL_SHARE, longest=longest)

    async def _poll(self) -> None:
        await self._finder.scan(self._polled(), "poll", companions=False)

    async def _events(self) -> None:
        """Follow hints. Where they lead to what is slow, some later ones do not wait for it."""
        following: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._hinted.wait()
                self._hinted.clear()
                hints = self._hints.take()
                if hints.rescan:
                    log.info("events were lost, scanning")
                    self._rescan.set()
                following.add(group.create_task(self._finder.follow(hints, self._feeds)))
                _, following = await asyncio.wait(following, timeout=_SLOW)
                if len(following) == _FOLLOWED:
                    await asyncio.wait(following, return_when=asyncio.FIRST_COMPLETED)

    async def _checks(self) -> None:
        """See that the feeds' directories are there, and that they are being watched."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            await self.health.check()
            if not self._watcher.is_alive():
                self._tell_death()
                await self._start_anew()
            elif await self._everywhere(partial(self._watcher.renew, self._trees())):
                self._rescan.set()

    def _tell_death(self) -> None:
        """Say that the observer died; not each second, should it die again and again."""
        now = time.monotonic()
        if now >= self._next_telling:
            log.error("the observer died, watching and scanning anew")
            self._next_telling = now + _LOG_EVERY

    async def _settles(self) -> None:
        """Look at files as they fall due."""
        while True:
            self._ledger.wake_settle.clear()
            await self.settle_once()
            next_at = await self._ledger.next_settle_at(self._settling.busy())
            pause = _LONGEST_PAUSE if next_at is None else next_at - time.time()
            pause = min(max(pause, _SETTLE_PAUSE), _LONGEST_PAUSE)
            await _set_within(self._ledger.wake_settle, pause)

    # -- helpers ---------------------------------------------------------------------------------

    async def _everywhere(self, call: Callable[[], T]) -> T | None:
        """Make a call that goes to all directories. None: one of them hangs; it can wait."""
        with contextlib.suppress(DoesNotAnswerError):
            return await self._threads.run(_EVERYWHERE, call)
        return None

    def _trees(self) -> list[Tree]:
        return list(self._finder.trees(self._feeds.roots))

    def _polled(self) -> list[Root]:
        return [root for root in self._feeds.roots if root.directory in self._watcher.polled]

    def _to_rescan(self, source: str) -> list[Root]:
        """At the start everything; later what is polled has its own, closer rhythm."""
        polled = [] if source == "start" else self._polled()
        return [root for root in self._feeds.roots if root not in polled]

    async def _start_anew(self) -> None:
        """Have the watches set up anew, and everything scanned after that."""
        directories = [root.directory for root in self._feeds.roots]
        answers = await self._threads.run_each(
            {directory: (directory, partial(is_remote, directory)) for directory in directories}
        )
        remote = {directory for directory, answer in answers.items() if answer}  # or none came
        self._watcher.place(self._section.mode, set(directories), remote)
        self._watch_anew = True
        self._rescan.set()

    def _watch(self, root: Root, path: str, directory: Directory) -> None:
        """Watch a directory that is about to be scanned. Called in threads."""
        self._watcher.watch(root, path, directory)

    def _hint_came(self) -> None:
        """Wake the event loop. Called in the observer's thread, which may outlive the loop."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._hinted.set)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, and clear it; False when the time was over first."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
