"""`backupd run`: the daemon in the foreground, or one pass for cron."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import structlog

from backupd.cli import progress
from backupd.cli.errors import FAILED, LOCKED, fail
from backupd.cli.options import config_option, load_config, read_config
from backupd.cli.program import leave_within, limit_warnings, raise_limit
from backupd.config import find
from backupd.core.errors import BackupdError
from backupd.ledger import Ledger, LedgerLockedError
from backupd.ops import logs, output, process
from backupd.ops.systemd import Manager

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from backupd.config.sections import Config

log = structlog.get_logger()

_LEDGER_WITHIN = 20.0  # seconds, to close it: its disk may hang


@click.command(
    epilog="""\
\b
Exit: 0 stopped, or all done; 1 with --once, a file is parked, still fails or cannot be taken;
      2 config; 3 another process holds the ledger.

\b
Examples:
  backupd run --config /etc/backupd/config.toml
  backupd run --once
"""
)
@config_option
@click.option("--once", is_flag=True, help="Process whatever is there, then exit (for cron).")
def run(config_path: Path | None, once: bool) -> None:
    """Run the daemon in the foreground.

    It watches the feeds' directories until SIGTERM or SIGINT, then lets running files end (20 s at
    most; a second signal stops at once). SIGHUP reads the config anew; one with mistakes is
    refused and the old one stays. With --once it ends when nothing is left to be done.
    """
    output.take_stderr()
    process.die_with_threads()
    path = find(config_path, os.environ).absolute()
    config = load_config(path)
    bars = once and sys.stderr.isatty()
    raise_limit()
    faulthandler.enable()  # an abort (systemd's watchdog) leaves every thread's stack on stderr
    logs.set_up(logging.WARNING if bars else logging.INFO)  # bars take the place of the lines
    for name in config.inactive:
        log.warning("not acted on", key=name)
    for warning in limit_warnings(config):
        log.warning("too few files may be open at once", why=warning)
    all_done = finished(_run(config, partial(read_config, path), once=once, bars=bars))
    sys.exit(FAILED if once and not all_done else 0)


def finished(running: Coroutine[Any, Any, bool]) -> bool:
    """Run the daemon until it ends; return what it says. Its errors end the program."""
    try:
        return asyncio.run(running)
    except LedgerLockedError as error:
        fail(error, LOCKED)
    except BackupdError as error:
        fail(error, FAILED)
    except BaseExceptionGroup as group:
        ours = group.subgroup(BackupdError)
        if ours is None:
            raise
        fail(_first(ours), FAILED)
    except asyncio.CancelledError:
        return False  # asked to stop at once


async def _run(config: Config, reread: Callable[..., Config], *, once: bool, bars: bool) -> bool:
    """Return whether every file is done."""
    # Imported here: it brings every adapter's library, which `check` and `--help` do without.
    from backupd.supervisor import Supervisor  # noqa: PLC0415

    ledger = Ledger(config.ledger.path, Manager(os.environ).alive)
    try:
        async with progress.shown(ledger) if bars else nullcontext():
            while True:
                for directory in config.silent:
                    log.warning(
                        "a directory does not answer: it is judged by its path", path=directory
                    )
                supervisor = Supervisor(config, ledger, reread, leave_within)
                all_done = await supervisor.run(once=once)
                if supervisor.successor is None:
                    return all_done
                config = supervisor.successor
    finally:
        leave_within(_LEDGER_WITHIN, FAILED)
        await ledger.close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error in a group of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
