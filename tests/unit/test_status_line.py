"""The line that `systemctl status` shows."""

from __future__ import annotations

import asyncio

import pytest

from backupd.core.incidents import InShort
from backupd.core.stages import Status
from backupd.ops import systemd

MANY = [f"cause {number} is down" for number in range(5)]


@pytest.mark.parametrize(
    ("files", "incidents", "amiss", "shown"),
    [
        ({}, [], [], "no files to be done"),
        (
            {Status.PARKED: 2, Status.WAITING: 12, Status.RUNNING: 3},
            ["archive is down"],
            [],
            "files: 12 waiting, 3 running, 2 parked; archive is down",
        ),
        ({Status.PARKED: 1}, [], ["no sign of life"], "no sign of life; files: 1 parked"),
        ({}, MANY, [], f"no files to be done; {'; '.join(MANY[:3])}; 2 more incidents"),
    ],
)
def test_it_tells_counts_and_what_is_amiss(
    files: dict[Status, int], incidents: list[str], amiss: list[str], shown: str
) -> None:
    assert systemd.status_line(InShort(files=files, incidents=incidents), amiss) == shown


async def test_it_is_told_when_it_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "_STATUS_EVERY", 0.001)
    lines, stop = iter(["a", "a", "b", "b", "a"]), asyncio.Event()
    told: list[str] = []

    async def look() -> str:
        line = next(lines, None)
        if line is None:
            stop.set()
        return line or "a"

    async with asyncio.timeout(10):
        await systemd.keep_status(look, told.append, stop)

    assert told == ["a", "b", "a"]
