"""Servers that bear little: what they refuse, drop, close when idle or never answer is no fault."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncssh
import pytest

from backupd.archive import open_archive
from backupd.archive.sftp import archive as sftp
from backupd.archive.sftp import connection, links, login, remote_hash
from backupd.archive.sftp.connection import begun
from backupd.core.errors import BackupdError, DependencyDownError
from support.archives import archive_section
from support.limited_sftp import Limits, limited
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from backupd.core.ports import Archive, Checksum

NAMES = [f"d/{number}.csv" for number in range(8)]
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "PAUSES", (0.01,) * 5)
    monkeypatch.setattr(connection, "RESTED_AFTER", 0.0)


@asynccontextmanager
async def opened(limits: Limits) -> AsyncIterator[Archive]:
    archive = open_archive(limits.section)
    yield archive
    await archive.aclose()


async def put(archive: Archive, name: str = NAMES[0]) -> None:
    async with archive.upload(name, "1", 7) as upload:
        await upload.write(b"content")
        await upload.publish()


async def put_all(archive: Archive) -> None:
    await asyncio.gather(*(put(archive, name) for name in NAMES))


async def verified(archive: Archive, name: str = NAMES[0]) -> Checksum:
    checksum = await archive.checksum(name)
    assert checksum is not None
    return checksum


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 -- nobody tells of it
            await asyncio.sleep(0.01)


async def told(archive: Archive, subject: str) -> str:
    (line,) = [line for line in await archive.probe([""]) if line.subject == subject]
    assert line.ok
    return line.detail


# -- connections -------------------------------------------------------------------------------

BEYOND = ["refused", "closed after login", "another is closed"]


@pytest.mark.parametrize("beyond", BEYOND)
@pytest.mark.parametrize(("most", "wanted"), [(1, 2), (2, 4)])
async def test_a_server_is_content_with_fewer_connections(
    tmp_path: Path, beyond: str, most: int, wanted: int
) -> None:
    async with limited(tmp_path, most=most, beyond=beyond) as limits:
        limits.section = replace(limits.section, connections=wanted)
        async with opened(limits) as archive:
            await put(archive, "first.csv")
            knocked = limits.knocked
            await put_all(archive)
            assert [await archive.size(name) for name in NAMES] == [7] * len(NAMES)
            assert limits.knocked == knocked
            assert len(limits.connections) <= most
            line = await told(archive, "archive connections")
    assert line.startswith(f"{most} at once, of {wanted} that are configured: ")


@pytest.mark.parametrize("wanted", [1, 3])
async def test_as_many_connections_are_made_as_configured(tmp_path: Path, wanted: int) -> None:
    async with limited(tmp_path) as limits:
        limits.section = replace(limits.section, connections=wanted)
        async with opened(limits) as archive:
            await put_all(archive)
            assert limits.greatest == wanted
            line = await told(archive, "archive connections")
    assert line == f"{wanted} at once, as configured"


async def test_a_server_that_bears_more_again_is_asked_for_more_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with limited(tmp_path, most=1) as limits, opened(limits) as archive:
        await put(archive, "1.csv")
        limits.most = 2
        await put(archive, "2.csv")
        assert limits.greatest == 1
    monkeypatch.setattr(links, "MORE_AFTER", 0.0)
    async with limited(tmp_path, most=1) as limits, opened(limits) as archive:
        await put(archive, "3.csv")
        limits.most = 2
        for number in range(100):
            await put(archive, f"more/{number}.csv")
            if limits.greatest == 2:
                break
        assert limits.greatest == 2


@pytest.mark.parametrize("dropped", ["at the door", "after login"])
@pytest.mark.parametrize("drops", [1, 4])
async def test_who_is_dropped_while_logging_in_tries_again(
    tmp_path: Path, drops: int, dropped: str
) -> None:
    async with (
        limited(tmp_path, drops=drops, dropped=dropped) as limits,
        opened(limits) as archive,
    ):
        await put(archive)
        assert limits.drops == 0


async def test_who_is_always_dropped_says_what_to_look_at(tmp_path: Path) -> None:
    async with limited(tmp_path, drops=1000) as limits, opened(limits) as archive:
        with pytest.raises(DependencyDownError) as caught:
            await put(archive)
        assert 1000 - limits.drops == 1 + len(login.PAUSES)
    assert "MaxStartups" in caught.value.hint


async def test_a_server_that_takes_one_login_at_a_time_is_no_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "PAUSES", (0.2,) * 100)
    with running_sshd(tmp_path / "sshd", extra="MaxStartups 1:100:1") as server:
        _, rival = await asyncio.open_connection(server.host, server.port)
        archive = open_archive(archive_section(tmp_path / "root", server))
        putting = asyncio.create_task(put(archive))
        await until(lambda: b"drop connection" in server.log.read_bytes())
        rival.close()
        await putting
        await archive.aclose()


# -- idle --------------------------------------------------------------------------------------


def close_when_asked(limits: Limits) -> None:
    limits.breaks_when_asked = True


def fall_silent(limits: Limits) -> None:
    limits.mute.update(limits.connections)


@pytest.mark.parametrize(
    "close", [Limits.end_sessions, Limits.end_connections, close_when_asked, fall_silent]
)
async def test_what_the_server_closes_while_idle_is_opened_again(
    tmp_path: Path, close: Callable[[Limits], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GREETED_WITHIN", 0.1)
    monkeypatch.setattr(connection, "LOOK_EVERY", 0.05)
    async with limited(tmp_path) as limits, opened(limits) as archive:
        await put(archive, "before.csv")
        close(limits)
        await put_all(archive)
        assert [await archive.size(name) for name in NAMES] == [7] * len(NAMES)
        assert not limits.breaks_when_asked


async def test_what_the_server_bears_is_still_known_when_it_closed_what_was_idle(
    tmp_path: Path,
) -> None:
    async with limited(tmp_path, most=1) as limits, opened(limits) as archive:
        await put(archive, "before.csv")
        knocked = limits.knocked
        limits.end_connections()
        await until(lambda: not limits.connections)
        await put_all(archive)
        assert limits.knocked == knocked + 1


async def test_a_command_that_the_server_ended_while_idle_is_started_again(tmp_path: Path) -> None:
    async with limited(tmp_path) as limits, opened(limits) as archive:
        await put(archive)
        for _ in range(4):
            assert (await verified(archive)).how == "remote-sha256"
            limits.end_commands()
        assert limits.asked_for_sums == 4


async def test_sums_that_are_being_taken_survive_the_end_of_an_idle_session(
    tmp_path: Path,
) -> None:
    async with limited(tmp_path, commands="held") as limits, opened(limits) as archive:
        await put(archive)
        summing = asyncio.create_task(verified(archive))
        await until(lambda: limits.asked_for_sums)
        limits.end_sessions()
        assert await archive.size(NAMES[0]) == 7
        limits.may_sum.set()
        assert (await summing).how == "remote-sha256", await told(archive, "archive checksums")


# -- commands ----------------------------------------------------------------------------------

WITHOUT_SUMS = {
    "hang": "no answer within",
    "swallowed": "no answer within",
    "end": "SFTP alone",
    "Welcome!\n": "'Welcome!",
    "Last login: \x1b[1mnow\x1b[0m ": "'Last login",
    "d" * 10_000 + "\n": "'ddd",
}


@pytest.mark.parametrize("commands", WITHOUT_SUMS)
async def test_where_commands_give_no_sums_files_are_read_back(
    tmp_path: Path, commands: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_hash, "CANARIES_WITHIN", 0.5)
    async with limited(tmp_path, commands=commands) as limits, opened(limits) as archive:
        await put_all(archive)
        verdicts = await asyncio.gather(*(verified(archive, name) for name in NAMES))
        assert {verdict.how for verdict in verdicts} == {"readback"}
        asked = limits.asked_for_sums
        line = await told(archive, "archive checksums")
        assert limits.asked_for_sums == asked
    assert "read back" in line
    assert WITHOUT_SUMS[commands] in line


async def test_a_host_that_takes_sums_again_is_asked_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "REFUSAL_KEPT", 0.0)
    async with limited(tmp_path, commands="end") as limits, opened(limits) as archive:
        await put(archive)
        assert (await verified(archive)).how == "readback"
        limits.commands = "work"
        assert (await verified(archive)).how == "remote-sha256"
        assert "takes them itself" in await told(archive, "archive checksums")


async def test_a_server_with_one_session_a_connection_tells_why_it_reads_back(
    tmp_path: Path,
) -> None:
    with running_sshd(tmp_path / "sshd", extra="MaxSessions 1") as server:
        archive = open_archive(archive_section(tmp_path / "root", server))
        assert "beside SFTP" in await told(archive, "archive checksums")
        await archive.aclose()


async def test_a_connection_that_breaks_as_a_command_begins_is_an_outage(tmp_path: Path) -> None:
    commands = "break the connection"
    async with limited(tmp_path, commands=commands) as limits, opened(limits) as archive:
        await put(archive)
        with pytest.raises(BackupdError):
            await archive.checksum(NAMES[0])
        limits.commands = "work"
        assert (await verified(archive)).how == "remote-sha256"


async def test_a_session_that_is_closed_as_it_begins_is_refused(tmp_path: Path) -> None:
    async def stumbling() -> None:
        session: asyncssh.SSHClientSession[bytes] | None = None
        session.session_started()  # type: ignore[union-attr]  # as asyncssh does

    async with limited(tmp_path) as limits:
        link = await login.log_in(limits.section)
        raw = link._connection
        with pytest.raises(asyncssh.ChannelOpenError):
            await begun(raw, stumbling())
        link.abort()
        with pytest.raises(asyncssh.ConnectionLost):
            await begun(raw, stumbling())
        await link.aclose()
