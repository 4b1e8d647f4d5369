"""What holds for both programs: how they start, what they may open, how they end.

They end within a bound: a thread that hangs in the kernel is not to be stopped. Nothing is lost:
what is not in the ledger was not done, as after a kill.
"""

from __future__ import annotations

import os
import pwd
import resource
import sys
import threading
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from backupd.cli.errors import FAILED, fail
from backupd.core.errors import BackupdError
from backupd.ops import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupd.config.sections import Config


class Program(click.Group):
    """A program, called without arguments as one."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's signature
        """Run it: the same whatever the locale, the user and the standard streams."""
        streams.speak_utf8()
        streams.make_sound()
        give_user_a_name()
        with leaving() if kwargs.get("standalone_mode", True) else nullcontext():
            try:
                return super().__call__(*args, **kwargs)
            except BackupdError as error:  # such as an answer that could not be written
                fail(error, FAILED)


_TO_SAY_SO = 3.0  # seconds: standard output may hang, and the last lines take their time


def leave_within(seconds: float, code: int) -> None:
    """End the process in so many seconds at the latest. Called again, the earliest end counts."""
    _later(seconds, _give_up, code)


@contextmanager
def leaving() -> Iterator[None]:
    """End the process with the block: the interpreter would wait for threads that hang."""
    try:
        yield
    except SystemExit as ended:
        _leave(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    except BaseException:  # noqa: BLE001 - not lost: it is printed as the interpreter would
        sys.excepthook(*sys.exc_info())
        _leave(1)
    _leave(0)


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if output := sys.modules.get("backupd.ops.output"):  # not loaded where nothing was logged
        output.end()
    os._exit(code)


def _give_up(code: int) -> None:
    import structlog  # noqa: PLC0415 - commands start without it

    _later(_TO_SAY_SO, os._exit, code)
    names = sorted({thread.name for thread in threading.enumerate()})
    structlog.get_logger().warning("ended without what hangs", threads=names)
    _leave(code)


def _later(seconds: float, call: Callable[[int], None], code: int) -> None:
    timer = threading.Timer(seconds, call, [code])
    timer.daemon = True
    timer.start()


_ENOUGH_FILES = 65_536
_ALWAYS_OPEN = 192  # libraries, the ledger, connections to the metrics port and the control socket
_OPEN_PER_FILE = 6  # with the directories that it is reached by, and its copy in a local archive
_CLEANUPS_AT_ONCE = 32


def _wanted_descriptors(config: Config) -> int:
    """Return how many descriptors one of the two processes may need at most."""
    claims = len(config.feeds)  # of the feeds: a socket each
    first = claims + _OPEN_PER_FILE * config.concurrency.manifest
    carrier = _OPEN_PER_FILE * (config.concurrency.ship + _CLEANUPS_AT_ONCE)
    return _ALWAYS_OPEN + max(first, carrier)


def raise_limit() -> None:
    """Use the descriptors that we may have: the usual first limit is too low for many feeds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def limit_warnings(config: Config) -> Iterator[str]:
    """Yield a warning where this process may not open as many as the config may need."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < (number := _wanted_descriptors(config)):
        yield (
            f"a process here may open {hard:,} files, and this config may need {number:,}: raise"
            " LimitNOFILE= of backupd.service (elsewhere: ulimit -Hn), or lower [concurrency]"
        )


def give_user_a_name() -> None:
    """Give a user without an entry in the user database a name and a home.

    Libraries ask for both, though they need neither, and fail where there is none.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", f"uid-{os.getuid()}")
        os.environ.setdefault("HOME", "/")
