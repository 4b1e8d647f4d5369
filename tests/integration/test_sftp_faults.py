"""SFTP against a real OpenSSH server to which things happen."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncssh
import pytest
from asyncssh.logging import SSHLogger

from backupd.archive import open_archive
from backupd.archive.sftp import login
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    NameTakenError,
    TransientError,
    UnknownOutcomeError,
)
from support.archives import CONNECTIONS, archive_section
from support.proxy import running_proxy
from support.sshd import SshServer, running_sshd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backupd.config.sections import SftpArchiveSection
    from backupd.core.ports import Archive, Published

CONTENT = bytes(range(256)) * 4096  # a MiB
BLOCK = 128 * 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with running_sshd(tmp_path / "sshd") as running:
        yield running


@pytest.fixture
async def archive(server: SshServer, tmp_path: Path) -> AsyncIterator[Archive]:
    opened = open_archive(archive_section(tmp_path / "root", server))
    yield opened
    await opened.aclose()


async def put(
    archive: Archive, name: str, content: bytes = CONTENT, part_id: str = "1"
) -> Published:
    async with archive.upload(name, part_id, len(content)) as upload:
        for start in range(0, len(content), BLOCK):
            await upload.write(content[start : start + BLOCK])
        return await upload.publish()


async def holds(archive: Archive, name: str, content: bytes = CONTENT) -> bool:
    checksum = await archive.checksum(name)
    return checksum is not None and checksum.sha256 == hashlib.sha256(content).hexdigest()


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_a_dropped_connection_costs_one_try_and_is_built_up_again(
    archive: Archive, server: SshServer, tmp_path: Path
) -> None:
    async def put_through_a_drop() -> None:
        async with archive.upload("d/a.csv", "1", len(CONTENT)) as upload:
            await upload.write(CONTENT)
            server.drop_connections()
            await upload.publish()

    with pytest.raises(DependencyDownError) as caught:
        await put_through_a_drop()
    assert caught.value.dependency == "archive"
    assert caught.value.hint
    await archive.discard_parts("d/a.csv", ["1"])
    await put(archive, "d/a.csv", part_id="2")
    assert await holds(archive, "d/a.csv")
    assert files_below(tmp_path / "root") == ["d/a.csv"]


async def test_cut_anywhere_and_tried_again_there_is_one_whole_file(
    server: SshServer, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    async with running_proxy(server.host, server.port) as proxy:
        server.trust_also(proxy.port)
        archive = open_archive(archive_section(root, server, port=proxy.port))
        for number, cut_after in enumerate((1_000, 3_000, 5_000, 200_000, 1_000_000, 1_049_500)):
            name = f"d/{number}.csv"
            proxy.cut_after_more(cut_after)
            await ship_stubbornly(archive, name)
            assert await holds(archive, name)
        await archive.aclose()
    assert files_below(root) == [f"d/{number}.csv" for number in range(6)]


async def ship_stubbornly(archive: Archive, name: str) -> None:
    for attempt in range(1, 6):
        try:
            earlier = [str(number) for number in range(1, attempt)]
            await archive.discard_parts(name, earlier)
            if await archive.size(name) is None:
                await put(archive, name, part_id=str(attempt))
        except (DependencyDownError, UnknownOutcomeError):
            continue
        return
    pytest.fail("five tries were not enough")


async def test_a_cut_while_many_files_are_under_way_fails_none_for_good(
    server: SshServer, tmp_path: Path
) -> None:
    async with running_proxy(server.host, server.port) as proxy:
        server.trust_also(proxy.port)
        archive = open_archive(archive_section(tmp_path / "root", server, port=proxy.port))
        names = [f"d/{number}.csv" for number in range(24)]
        proxy.cut_after_more(5_000_000)
        await asyncio.gather(*(ship_stubbornly(archive, name) for name in names))
        assert all([await holds(archive, name) for name in names])
        assert proxy.connections <= 2 * CONNECTIONS
        await archive.aclose()
    assert files_below(tmp_path / "root") == sorted(names)


async def test_a_frozen_server_is_noticed_and_used_again_when_it_thaws(
    archive: Archive, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "KEEPALIVE_EVERY", 0.1)
    monkeypatch.setattr(login, "LOGIN_WITHIN", 0.5)
    await put(archive, "a.csv")
    server.freeze()
    for _ in range(CONNECTIONS + 1):
        with pytest.raises(DependencyDownError):
            await put(archive, "b.csv")
    server.thaw()
    await put(archive, "b.csv")
    assert await holds(archive, "b.csv")


async def test_a_silent_network_is_noticed(
    server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "KEEPALIVE_EVERY", 0.5)
    async with running_proxy(server.host, server.port) as proxy:
        server.trust_also(proxy.port)
        archive = open_archive(archive_section(tmp_path / "root", server, port=proxy.port))
        await archive.size("a.csv")
        await archive.size("a.csv")
        proxy.hold()
        with pytest.raises(DependencyDownError):
            await archive.size("a.csv")
        proxy.resume()
        assert await archive.size("a.csv") is None
        await archive.aclose()


async def test_a_slow_line_only_takes_longer(server: SshServer, tmp_path: Path) -> None:
    async with running_proxy(server.host, server.port) as proxy:
        server.trust_also(proxy.port)
        proxy.bytes_per_second = 4_000_000
        archive = open_archive(archive_section(tmp_path / "root", server, port=proxy.port))
        await asyncio.gather(put(archive, "a.csv"), put(archive, "b.csv"))
        assert await holds(archive, "a.csv")
        assert await holds(archive, "b.csv")
        await archive.aclose()


async def test_a_server_that_is_away_holds_up_nobody_for_long(
    archive: Archive, server: SshServer
) -> None:
    server.stop()
    results = await asyncio.gather(
        *(archive.size(f"{number}.csv") for number in range(50)), return_exceptions=True
    )
    assert {type(result) for result in results} == {DependencyDownError}
    server.start()
    await put(archive, "a.csv")


async def test_a_changed_host_key_is_never_accepted(archive: Archive, server: SshServer) -> None:
    await put(archive, "a.csv")
    server.stop()
    server.new_host_key()
    server.start()
    for _ in range(CONNECTIONS + 1):
        with pytest.raises(DependencyDownError) as caught:
            await put(archive, "b.csv")
    assert "host key" in str(caught.value)
    assert str(server.known_hosts) in caught.value.hint
    server.trust()
    await put(archive, "b.csv")


async def test_an_unknown_host_is_never_accepted(archive: Archive, server: SshServer) -> None:
    server.known_hosts.write_text("")
    with pytest.raises(DependencyDownError, match="host key"):
        await archive.size("a.csv")


@pytest.mark.parametrize("lacking", ["identity", "known_hosts"])
async def test_a_missing_key_file_is_named(
    archive: Archive, server: SshServer, lacking: str
) -> None:
    path: Path = getattr(server, lacking)
    path.unlink()
    with pytest.raises(DependencyDownError) as caught:
        await archive.size("a.csv")
    assert str(path) in caught.value.hint


@pytest.mark.parametrize("form", [("-t", "ed25519"), ("-t", "rsa", "-m", "PEM")])
async def test_a_key_with_a_passphrase_says_how_to_be_rid_of_it(
    archive: Archive, server: SshServer, form: tuple[str, ...]
) -> None:
    server.identity.unlink()
    command = ["ssh-keygen", "-q", *form, "-N", "secret", "-f", str(server.identity)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    with pytest.raises(DependencyDownError, match="protected by a passphrase") as caught:
        await archive.size("a.csv")
    assert f"ssh-keygen -p -f {server.identity}" in caught.value.hint


@pytest.mark.parametrize("odd", ["KexAlgorithms diffie-hellman-group1-sha1", "Ciphers aes128-cbc"])
async def test_a_server_of_old_algorithms_alone_is_told_as_that(tmp_path: Path, odd: str) -> None:
    with running_sshd(tmp_path / "old", extra=odd) as server:
        archive = open_archive(archive_section(tmp_path / "root", server))
        with pytest.raises(DependencyDownError, match="no algorithm in common") as caught:
            await archive.size("a.csv")
        await archive.aclose()
    assert "ssh -vv" in caught.value.hint


async def test_a_refused_login_says_what_to_do(archive: Archive, server: SshServer) -> None:
    (server.directory / "authorized_keys").write_text("")
    with pytest.raises(DependencyDownError, match="refuses our login") as caught:
        await archive.size("a.csv")
    assert "authorized_keys" in caught.value.hint


async def test_a_server_is_reached_by_way_of_another(server: SshServer, tmp_path: Path) -> None:
    with running_sshd(tmp_path / "gateway") as gateway:
        section = jumping(archive_section(tmp_path / "root", server), gateway)
        archive = open_archive(section)
        await put(archive, "a.csv")
        assert await holds(archive, "a.csv")
        gateway.drop_connections()
        with contextlib.suppress(DependencyDownError):  # told, or noticed before it is used again
            await archive.size("a.csv")
        assert await holds(archive, "a.csv")
        await archive.aclose()
        assert "Accepted publickey" in gateway.log.read_text()


@pytest.mark.parametrize("trouble", ["unknown", "refuses", "gone"])
async def test_what_is_wrong_with_the_host_on_the_way_is_told_of_it(
    server: SshServer, tmp_path: Path, trouble: str
) -> None:
    with running_sshd(tmp_path / "gateway") as gateway:
        section = jumping(archive_section(tmp_path / "root", server), gateway)
        if trouble == "unknown":
            server.trust()
        elif trouble == "refuses":
            (gateway.directory / "authorized_keys").write_text("")
        else:
            gateway.stop()
        archive = open_archive(section)
        with pytest.raises(DependencyDownError, match=f":{gateway.port}"):
            await archive.size("a.csv")
        await archive.aclose()


def jumping(section: SftpArchiveSection, gateway: SshServer) -> SftpArchiveSection:
    """Return the section by way of a server that knows the same key."""
    assert section.identity_file
    assert section.known_hosts_file
    key = asyncssh.read_private_key(section.identity_file).export_public_key()
    (gateway.directory / "authorized_keys").write_bytes(key)
    with section.known_hosts_file.open("a") as known:
        known.write(gateway.known_hosts.read_text())
    return replace(section, proxy_jump=(gateway.username, gateway.host, gateway.port))


async def test_a_lost_connection_is_told_by_the_probe(archive: Archive, server: SshServer) -> None:
    server.stop()
    (line,) = await archive.probe(["a"])
    assert not line.ok
    assert line.hint


async def test_without_extensions_files_go_up_and_the_flush_is_not_claimed(tmp_path: Path) -> None:
    denied = "fsync,statvfs,limits"
    with running_sshd(tmp_path / "sshd", sftp_flags=f"-P {denied}") as server:
        archive = open_archive(archive_section(tmp_path / "root", server))
        assert (await put(archive, "d/a.csv")).flushed is False
        assert await holds(archive, "d/a.csv")
        with pytest.raises(NameTakenError):
            await put(archive, "d/a.csv", b"other")
        details = "; ".join(line.detail for line in await archive.probe([""]))
        assert "not confirmed" in details
        assert "without asking" in details
        await archive.aclose()


async def test_permission_denied_is_the_files_own_trouble(tmp_path: Path) -> None:
    (tmp_path / "root/d").mkdir(parents=True)
    with running_sshd(tmp_path / "sshd", sftp_flags="-R") as server:
        archive = open_archive(archive_section(tmp_path / "root", server))
        with pytest.raises(TransientError) as caught:
            await put(archive, "d/a.csv")
        assert str(tmp_path / "root/d") in str(caught.value)
        assert server.username in str(caught.value)
        assert [line.ok for line in await archive.probe(["d"])].count(False) == 1
        await archive.aclose()


async def test_a_server_without_commands_is_no_place_for_remote_sums(tmp_path: Path) -> None:
    with running_sshd(tmp_path / "sshd", sftp_only=True) as server:
        archive = open_archive(archive_section(tmp_path / "root", server, verify="remote-sha256"))
        await put(archive, "a.csv")
        with pytest.raises(DependencyDownError) as caught:
            await archive.checksum("a.csv")
        assert "readback" in caught.value.hint
        await archive.aclose()


async def test_a_server_with_one_session_a_connection_is_read_back(tmp_path: Path) -> None:
    with running_sshd(tmp_path / "sshd", extra="MaxSessions 1") as server:
        archive = open_archive(archive_section(tmp_path / "root", server))
        await put(archive, "a.csv")
        checksum = await archive.checksum("a.csv")
        assert checksum is not None
        assert checksum.how == "readback"
        await archive.aclose()


async def test_where_commands_run_the_host_takes_the_sum(archive: Archive) -> None:
    await put(archive, "a.csv")
    checksum = await archive.checksum("a.csv")
    assert checksum is not None
    assert checksum.how == "remote-sha256"


async def test_a_removed_directory_is_made_again(archive: Archive, tmp_path: Path) -> None:
    await put(archive, "d/e/a.csv")
    (tmp_path / "root/d/e/a.csv").unlink()
    (tmp_path / "root/d/e").rmdir()
    await put(archive, "d/e/a.csv")
    assert await holds(archive, "d/e/a.csv")


async def test_a_cancelled_upload_leaves_nothing_and_harms_no_other(
    archive: Archive, tmp_path: Path
) -> None:
    begun = asyncio.Event()

    async def endless() -> None:
        async with archive.upload("d/a.csv", "1", 1) as upload:
            while True:
                await upload.write(CONTENT)
                begun.set()

    task = asyncio.create_task(endless())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_below(tmp_path / "root") == []
    await put(archive, "d/a.csv")
    assert await holds(archive, "d/a.csv")


async def test_an_adapter_raises_only_our_errors_when_all_breaks(
    server: SshServer, tmp_path: Path
) -> None:
    archive = open_archive(archive_section(tmp_path / "root", server))
    await put(archive, "a.csv")
    uploads = [put(archive, f"{number}.csv") for number in range(20)]
    sums = [archive.checksum("a.csv") for _ in range(20)]
    dropping = asyncio.to_thread(server.drop_connections)
    results = await asyncio.gather(*uploads, *sums, dropping, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    assert [failure for failure in failures if not isinstance(failure, BackupdError)] == []
    await archive.aclose()


async def test_no_lines_are_put_together_for_debugging_that_nobody_sees(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(archive, "before.csv.gz")  # it logs in
    formatted: list[object] = []

    def note(*args: object, **_: object) -> str:
        formatted.append(args)
        return ""

    monkeypatch.setattr(SSHLogger, "log", note)
    monkeypatch.setattr("asyncssh.packet.plural", note)
    await put(archive, "a.csv.gz")
    assert formatted == []
