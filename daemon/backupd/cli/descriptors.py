"""How many files this process may open, and how many a config may need."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.config.sections import Config

_ENOUGH = 65_536
_ALWAYS = 192  # libraries, the ledger, connections to the metrics port and the control socket
_A_FILE = 6  # with the directories that it is reached by, and its copy in a local archive
_CLEANUPS = 32  # at once


def wanted(config: Config) -> int:
    """Return how many descriptors one of the two processes may need at most."""
    first = len(config.feeds) + _A_FILE * config.concurrency.manifest  # a feed's claim is a socket
    carrier = _A_FILE * (config.concurrency.ship + _CLEANUPS)
    return _ALWAYS + max(first, carrier)


def raise_limit() -> None:
    """Use the descriptors that we may have: the usual first limit is too low for many feeds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def limit_warnings(config: Config) -> Iterator[str]:
    """Yield a warning where this process may not open as many as the config may need."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < (number := wanted(config)):
        yield (
            f"a process here may open {hard:,} files, and this config may need {number:,}: raise"
            " LimitNOFILE= of backupd.service (elsewhere: ulimit -Hn), or lower [concurrency]"
        )
