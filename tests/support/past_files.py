"""A host whose files are of one past date, each in a batch of its own."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from support.daemon import until
from support.rows import NOON

if TYPE_CHECKING:
    from support.daemon import Host

FILES = 3


def deliver(host: Host, number: int, at: float = NOON) -> str:
    """Deliver a file of that time; its date is its mtime's."""
    name = f"{number}.csv"
    hidden = host.deliver(f".{name}", f"A;B\n{number};2\n".encode())
    os.utime(hidden, (at, at))
    hidden.rename(host.inbox / name)
    return name


def run_each(host: Host) -> None:
    """Have each of a few files in a batch of its own."""
    for number in range(FILES):
        deliver(host, number)
        assert host.once().returncode == 0


def comes_to_its_end(host: Host, name: str) -> None:
    """Wait until a daemon has taken this file through all stages."""
    until(lambda: host.standing().get(name) == "cleanup done", lambda: str(host.standing()))


def compacted(host: Host, *options: str, exit_code: int = 0) -> list[dict[str, Any]]:
    """Have all dates compacted; return what is said of each."""
    answer = host.admin("compact", "--json", *options)
    assert answer.returncode == exit_code, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def assert_nothing_differs(host: Host) -> None:
    """See that the ledger, the table and the archive agree, and that a file is proven."""
    reconciled = host.admin("reconcile")
    assert (reconciled.returncode, reconciled.stdout) == (0, "")
    assert host.admin("prove", "0.csv").returncode == 0
