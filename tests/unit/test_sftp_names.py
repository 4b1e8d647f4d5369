"""The trial of how a server gives names: one for many files of a connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncssh

from backupd.archive.sftp.names import Names

if TYPE_CHECKING:
    import pytest


class Link:
    """A connection, of which nothing is asked here."""


async def test_what_is_refused_in_one_directory_fails_no_file_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names, link, tried = Names("/root"), Link(), []

    async def trial(_: object, directory: str) -> str:
        tried.append(directory)
        await asyncio.sleep(0)
        if directory == "/root/closed":
            raise asyncssh.SFTPFailure("refused")
        return "rename"

    monkeypatch.setattr(names, "_try", trial)
    directories = ["/root/closed", "/root/a", "/root/b", "/root/c"]
    ways = (names.way(link, each) for each in directories)  # type: ignore[arg-type] # any link
    found = await asyncio.gather(*ways, return_exceptions=True)
    assert isinstance(found[0], asyncssh.SFTPFailure)
    assert found[1:] == ["rename"] * 3
    assert tried == ["/root/closed", "/root/a"]
    await names.aclose()
