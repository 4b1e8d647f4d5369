"""The second edge node, as the old job's variables name it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from backupd.migration.draft import LeftOut, Setting, ToFillIn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.migration.draft import Piece
    from backupd.migration.properties import Properties, Text

_ARCHIVE = ("archive",)
_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")  # as ssh tries them


def archive(properties: Properties, root: tuple[str, tuple[str, ...]]) -> Iterator[Piece]:
    """Yield `[archive]`. `root` is the directory there, with the variables that it came from."""
    host = properties.text("archive host")
    user = properties.text("archive user") or properties.text("user")
    directory, variables = root
    if host is None:
        yield ToFillIn("archive.url", "no variable names the host that files are copied to")
        return
    name, _, address = host.value.rpartition("@")
    if ":" in name:
        yield LeftOut(host.name, "it holds a password")
        return
    who = name or (user.value if user else "backupd")
    if not directory:
        directory = f"/home/{who}"
        yield ToFillIn("archive.url", "no variable names a directory there: the home of its user")
    from_user = (user.name,) if user and not name else ()
    yield Setting(
        section=_ARCHIVE,
        name="url",
        value=f"sftp://{quote(who)}@{address}{quote(directory)}",
        variables=(*from_user, host.name, *variables),
    )
    yield from _login(properties.text("home"))


def _login(home: Text | None) -> Iterator[Piece]:
    """Yield the key and the host keys that ssh of the old job's user has."""
    ssh = Path(home.value if home else "/nonexistent", ".ssh")
    keys = [ssh / name for name in _KEYS if (ssh / name).is_file()]
    yield from _file("identity_file", keys, Path("/etc/backupd/id_ed25519"), home)
    hosts = [ssh / "known_hosts"] if (ssh / "known_hosts").is_file() else []
    yield from _file("known_hosts_file", hosts, Path("/etc/backupd/known_hosts"), home)


def _file(name: str, found: list[Path], usual: Path, home: Text | None) -> Iterator[Piece]:
    if found and home:
        yield Setting(
            section=_ARCHIVE,
            name=name,
            value=str(found[0]),
            variables=(home.name,),
            words="as ssh of the old job takes it; backupd's user must be able to read it",
        )
        return
    yield Setting(section=_ARCHIVE, name=name, value=str(usual), words="no variable names it")
    yield ToFillIn(f"archive.{name}", f"put the file there: {usual}")
