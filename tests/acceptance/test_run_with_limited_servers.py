"""Servers that bear little cost no attempt and no incident: every file goes through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from support.daemon import Host, log_of, over_sftp, until
from support.limited_sftp import Limits, limited
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backupd.config.sections import SftpArchiveSection

NAMES = [f"{number}.csv" for number in range(5)]


def archive_in(section: SftpArchiveSection) -> dict[str, str | None]:
    address = f"{section.username}@{section.host}:{section.port}"
    return {
        "archive.url": f'"sftp://{address}{section.root}"',
        "archive.identity_file": f'"{section.identity_file}"',
        "archive.known_hosts_file": f'"{section.known_hosts_file}"',
    }


def deliver_all(host: Host) -> None:
    for name in NAMES:
        host.deliver(name)


def went_well(host: Host, told: list[dict[str, Any]]) -> None:
    assert set(host.standing().values()) == {"cleanup done"}
    events = {line["event"] for line in told}
    assert not events & {
        "dependency down",
        "ship will be tried again",
        "cleanup will be tried again",
    }
    assert host.ask("incidents", "--all", "--json").stdout == ""


@pytest.mark.parametrize(
    "limits",
    [
        {"most": 1},
        {"most": 1, "beyond": "closed after login"},
        {"most": 1, "beyond": "another is closed"},
        {"drops": 2},
        {"drops": 2, "dropped": "after login"},
        {"commands": "end"},
        {"commands": "Welcome!\n"},
    ],
    ids=str,
)
async def test_every_file_goes_through_at_the_first_try(
    tmp_path: Path, limits: dict[str, object]
) -> None:
    (tmp_path / "server").mkdir()
    async with limited(tmp_path / "server", **limits) as server:
        host = Host(tmp_path, archive_in(server.section))
        deliver_all(host)
        run = await asyncio.to_thread(host.once)
    assert run.returncode == 0
    went_well(host, log_of(run.stderr))


def test_one_session_a_connection_is_enough(tmp_path: Path) -> None:
    with running_sshd(tmp_path / "sshd", extra="MaxSessions 1") as server:
        host = Host(tmp_path, dict(over_sftp(server, tmp_path / "archive")))
        deliver_all(host)
        run = host.once()
    assert run.returncode == 0
    went_well(host, log_of(run.stderr))


@pytest.mark.parametrize("close", [Limits.end_sessions, Limits.end_connections])
async def test_a_server_may_close_what_is_idle(
    tmp_path: Path, close: Callable[[Limits], None]
) -> None:
    (tmp_path / "server").mkdir()
    async with limited(tmp_path / "server") as server:
        host = Host(tmp_path, archive_in(server.section))

        def deliver_and_wait(name: str) -> None:
            host.deliver(name)
            until(lambda: host.standing().get(name) == "cleanup done", lambda: str(host.standing()))

        with host.daemon() as daemon:
            await asyncio.to_thread(deliver_and_wait, "before.csv")
            close(server)
            await asyncio.to_thread(deliver_and_wait, "after.csv")
            told = daemon.told()
            assert await asyncio.to_thread(daemon.stop) == 0
    went_well(host, told)
