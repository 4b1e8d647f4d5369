"""The life of one daemon: signals, reload, drain."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import structlog

from backupd.config import ConfigMistakes, Mistake
from backupd.core.dependencies import Dependency
from backupd.core.stages import Stage
from backupd.ledger import files
from backupd.supervisor import customers
from backupd.supervisor.assembly import Assembly
from backupd.supervisor.customers import CustomersWatch
from backupd.supervisor.once import UntilDone

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from backupd.config.sections import Config
    from backupd.ledger import Ledger

log = structlog.get_logger()

_DRAIN = 20.0  # seconds that running files get to end after SIGTERM
_IN_ALL = 28.0  # seconds from SIGTERM to the end, whatever hangs
_AT_ONCE = 2.0  # seconds from the second SIGTERM


class Supervisor:
    """One daemon, from start to stop."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        reread: Callable[..., Config] | None = None,
        leave_within: Callable[[float, int], None] = lambda *_: None,
    ) -> None:
        """The ledger is open, so its lock is held; closing it is up to the caller.

        `reread` reads the config again at SIGHUP. A valid one ends this supervisor as SIGTERM does,
        and is put in `successor`: the caller builds the next supervisor from it. Where a
        customers_file changed it is called with the config's `document`, which it reads then.
        `leave_within` is called with the number of seconds in which the process is to end, whatever
        hangs, and with the exit code.
        """
        self._leave_within = leave_within
        self.successor: Config | None = None
        self._reread = reread
        self._is_to_reread = False
        self._rereading: asyncio.Task[None] | None = None
        self._config = config
        self._ledger = ledger
        self._stop = asyncio.Event()
        self.ready = asyncio.Event()  # recovered, watching, scanned once, answering
        self._assembly = Assembly(config, ledger, self._stop)
        self._intake = self._assembly.intake
        self._systemd = self._assembly.systemd

    async def run(self, *, once: bool) -> bool:
        """Work until the stop or, with `once`, until nothing is left to be done.

        Returns whether every file is done, as far as is known: a feed that is unavailable, or that
        cannot be looked at because of a host fault, may have more files, and what cannot be taken
        has no row. Raises LedgerError, or the error that ended a part of the daemon.
        """
        self._ledger.wait_for_room(wait=not once)
        async with AsyncExitStack() as stack:
            self._listen_to_signals(stack)  # to the very end, when a successor may stand ready
            await self._live(once=once)
            if self._rereading is not None and not self._is_ending():
                await asyncio.wait([self._rereading])  # it may give another successor
            if self._assembly.status_file:
                await self._assembly.status_file.write()
            all_done = await self._ledger.ask(files.not_done) == 0
            host_is_down = self._assembly.breakers.is_down(Dependency.HOST)
            is_blind = bool(self._intake.health.away) or host_is_down
            return all_done and not is_blind and not any(self._intake.untaken().values())

    async def _live(self, *, once: bool) -> None:
        assembly = self._assembly
        until_done = UntilDone(assembly.context, self._intake, self.stop) if once else None
        async with AsyncExitStack() as stack:
            # Should it fail, systemd is not notified any more, and acts.
            stack.callback(asyncio.create_task(assembly.watchdog.run()).cancel)
            if files := self._config.customers_files:
                await customers.keep(self._config)
            parts = await assembly.parts(stack, until_done)
            if files and not once:
                parts.append(CustomersWatch(files, self._customers_changed).run(self._stop))
            await self._work(parts)

    def stop(self) -> None:
        """Claim no more, let what runs end, then return from `run`."""
        self._stop.set()
        self._ledger.wake(*Stage)

    def _listen_to_signals(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_by_signal, asyncio.current_task())
            stack.callback(loop.remove_signal_handler, number)
        if self._reread is not None:
            loop.add_signal_handler(signal.SIGHUP, self._reload, self._reread)
            # Not its default, which ends the process: another may come before the successor runs.
            stack.callback(signal.signal, signal.SIGHUP, signal.SIG_IGN)
            stack.callback(loop.remove_signal_handler, signal.SIGHUP)

    def _reload(self, reread: Callable[..., Config]) -> None:
        """Have the config read anew; once more where that is under way: it may have changed."""
        if self._is_ending():
            return
        self._systemd.reloading()
        self._is_to_reread = True
        if self._rereading is None or self._rereading.done():
            self._rereading = asyncio.create_task(self._read_anew(reread))

    async def _read_anew(self, reread: Callable[..., Config]) -> None:
        """Read it in a thread: a directory that it names may keep it waiting."""
        while self._is_to_reread:
            self._is_to_reread = False
            try:
                config = await asyncio.to_thread(reread)
                _refuse_other_ledger(config, self._config)
            except ConfigMistakes as mistakes:
                self._refuse(mistakes)
            else:
                self._make_way_for(config)

    def _customers_changed(self) -> bool:
        """Have the customers read again. False: not now, the config is being read anew."""
        if self._reread is None or self._is_ending():
            return False
        if self._rereading is not None and not self._rereading.done():
            return False
        self._rereading = asyncio.create_task(self._read_customers(self._reread))
        return True

    async def _read_customers(self, reread: Callable[..., Config]) -> None:
        """Read them, but keep to the config that is in force: a new one waits for its reload."""
        try:
            config = await asyncio.to_thread(partial(reread, document=self._config.document))
        except ConfigMistakes as mistakes:
            self._refuse(mistakes)
        else:
            if customers.differ(config, self._config):
                self._systemd.reloading()
                self._make_way_for(config)
        await self._read_anew(reread)  # if that was asked for meanwhile

    def _make_way_for(self, config: Config) -> None:
        if not self._is_ending():
            log.info("reloading the config")
            self.successor = config
            self.stop()

    def _refuse(self, mistakes: ConfigMistakes) -> None:
        """Keep the old config."""
        if self._is_ending():
            return
        for mistake in mistakes.mistakes:
            log.error("config not reloaded: it has a mistake", mistake=str(mistake))
        self._assembly.refused = f"the new config was refused, mistakes: {len(mistakes.mistakes)}"
        if self.ready.is_set():
            self._systemd.ready()

    def _is_ending(self) -> bool:
        return self._stop.is_set() and self.successor is None

    def _stop_by_signal(self, main: asyncio.Task[bool] | None) -> None:
        """Drain at the first signal, stop at once at the second."""
        again = self._is_ending()
        self._leave_within(_AT_ONCE if again else _IN_ALL, 0)
        if again or not self.ready.is_set():
            self._ledger.wait_for_room(wait=False)
        if again and main is not None:
            main.cancel()
        self.successor = None  # should it have been making way for one
        self._systemd.stopping()
        log.info("stopping")
        self.stop()

    async def _work(self, parts: list[Coroutine[Any, Any, None]]) -> None:
        """Run all parts; one that fails ends them all. After the stop they get time to drain."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
            for task in tasks:
                task.add_done_callback(self._part_ended)
            if await self._scanned_once():
                self.ready.set()
                self._systemd.ready()
                log.info("ready", feeds=len(self._config.feeds))
            await self._stop.wait()
            _, late = await asyncio.wait(tasks, timeout=_DRAIN)
            self._ledger.wait_for_room(wait=False)
            for task in late:
                task.cancel()
        log.info("stopped")

    def _part_ended(self, task: asyncio.Task[None]) -> None:
        """Where one part failed, the others end, and may not wait for what may never come."""
        if not task.cancelled() and task.exception() is not None:
            self._ledger.wait_for_room(wait=False)
            self._leave_within(_IN_ALL, 1)

    async def _scanned_once(self) -> bool:
        """Wait for the first scan or the stop; return whether the first scan is done."""
        waits = [asyncio.create_task(event.wait()) for event in (self._intake.ready, self._stop)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self._intake.ready.is_set()


def _refuse_other_ledger(new: Config, old: Config) -> None:
    if new.ledger.path != old.ledger.path:
        mistake = Mistake("ledger.url", "has changed", "a restart takes another ledger")
        raise ConfigMistakes([mistake])
