"""Who may open the control socket."""

from __future__ import annotations

import grp
import os
import socket
import stat
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from backupd.control import ControlServer, ask_daemon
from backupd.core.errors import BackupdError
from support.ledgers import opened

if TYPE_CHECKING:
    from pathlib import Path


def the_group_backupd_is(monkeypatch: pytest.MonkeyPatch, gid: int | None) -> None:
    """Let the host have that group, or (None) not."""

    def found(name: str) -> SimpleNamespace:
        if gid is None or name != "backupd":
            raise KeyError(name)
        return SimpleNamespace(gr_gid=gid)

    monkeypatch.setattr(grp, "getgrnam", found)


@pytest.mark.parametrize(("gid", "mode"), [(None, 0o600), (os.getegid(), 0o660)])
async def test_the_socket_is_its_users_and_where_there_is_one_the_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gid: int | None, mode: int
) -> None:
    the_group_backupd_is(monkeypatch, gid)
    async with (
        opened(tmp_path / "ledger.db") as ledger,
        ControlServer(tmp_path / "socket", ledger),
    ):
        found = (tmp_path / "socket").stat()
        assert stat.S_IMODE(found.st_mode) == mode
        assert found.st_gid == os.getegid()


async def test_a_daemon_of_somebody_elses_lets_the_services_group_not_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    the_group_backupd_is(monkeypatch, os.getegid() + 1)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    async with (
        opened(tmp_path / "ledger.db") as ledger,
        ControlServer(tmp_path / "socket", ledger),
    ):
        assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["file", "link"])
async def test_what_is_no_socket_is_neither_removed_nor_opened_to_others(
    tmp_path: Path, kind: str
) -> None:
    private = tmp_path / "private"
    private.write_text("secret")
    private.chmod(0o600)
    way = private if kind == "file" else tmp_path / "link"
    if kind == "link":
        way.symlink_to(private)
    async with opened(tmp_path / "ledger.db") as ledger:
        with pytest.raises(BackupdError, match="cannot listen"):
            await ControlServer(way, ledger).__aenter__()
    assert way.read_text() == "secret"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


async def test_a_link_put_in_the_sockets_place_gives_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    the_group_backupd_is(monkeypatch, os.getegid())
    private = tmp_path / "private"
    private.write_text("secret")
    private.chmod(0o600)
    bind = socket.socket.bind

    def raced(listening: socket.socket, path: str) -> None:
        bind(listening, path)
        os.unlink(path)  # noqa: PTH108 -- a text, as the socket has it
        os.symlink(private, path)  # noqa: PTH211 -- the same

    monkeypatch.setattr(socket.socket, "bind", raced)
    async with opened(tmp_path / "ledger.db") as ledger:
        with pytest.raises(BackupdError, match="cannot listen"):
            await ControlServer(tmp_path / "socket", ledger).__aenter__()
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_who_is_refused_unheard_is_told_why(tmp_path: Path) -> None:
    answer = b'{"error": "user 7 may not control this daemon"}\n'
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()

        def refuse() -> None:
            with listening.accept()[0] as connection:
                connection.sendall(answer)

        refusing = threading.Thread(target=refuse)
        refusing.start()
        with pytest.raises(BackupdError, match="user 7 may not control"):
            ask_daemon(tmp_path / "socket", {"verb": "hold", "ids": ["x" * 200_000]})
        refusing.join()
