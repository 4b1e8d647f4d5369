"""Processes that have no descriptor left, for as long as a block takes."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def descriptors_left(left: int, pid: int = 0) -> Iterator[None]:
    """Let a process (0: this one) open no more than so many descriptors than it has open."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(each.name) for each in Path(f"/proc/{pid or os.getpid()}/fd").iterdir()}
    free = (number for number in itertools.count() if number not in taken)
    limit = next(itertools.islice(free, left, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
