"""The keys of `[archive]`, their readers, and what becomes of them in each kind of archive."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, unquote

from backupd.config.mistakes import Mistake
from backupd.config.readers import (
    SECRET_FILE,
    BadValueError,
    Key,
    Reader,
    choice,
    integer,
    plain_text,
)
from backupd.config.sections import LocalArchiveSection, SftpArchiveSection
from backupd.config.tables import Table
from backupd.config.urls import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backupd.config.sections import ArchiveSection

Compression = Literal["gzip", "none"]
Verification = Literal["auto", "remote-sha256", "readback"]

_SSH_PORT = 22


@dataclass(frozen=True, slots=True)
class FileUrl:
    """A directory of this host."""

    root: str  # absolute


@dataclass(frozen=True, slots=True)
class SftpUrl:
    """A directory of another host."""

    root: str  # absolute
    host: str
    port: int
    username: str


ArchiveUrl = FileUrl | SftpUrl


def archive_url(value: object) -> ArchiveUrl:
    """Read the archive's URL, percent signs decoded."""
    url = split(value)
    root = str(PurePosixPath(unquote(url.path)))
    if url.query or url.fragment:
        raise BadValueError('holds "?" or "#": write %3F or %23 where they belong to the path')
    if not root.startswith("/") or ".." in root.split("/"):
        raise BadValueError('needs an absolute path without ".."')
    plain_text(root)
    match url.scheme:
        case "file":
            return _file_url(url, root)
        case "sftp":
            return _sftp_url(url, root)
        case _:
            raise BadValueError(f'has the scheme "{url.scheme}"')


def jump_host(value: object) -> tuple[str, str, int]:
    """Read `user@host` or `user@host:port` into user, host and port."""
    parts = split(f"//{plain_text(value)}")
    if not parts.hostname or not parts.username or parts.netloc != value:
        raise BadValueError("is not a valid user@host:port")
    return unquote(parts.username), parts.hostname, parts.port or _SSH_PORT


def _file_url(url: SplitResult, root: str) -> FileUrl:
    if url.netloc:
        raise BadValueError("names a host, which file:// cannot reach (mind the three slashes)")
    return FileUrl(root)


def _sftp_url(url: SplitResult, root: str) -> SftpUrl:
    if not url.hostname:
        raise BadValueError("names no host")
    if not url.username:
        raise BadValueError("names no user")
    return SftpUrl(root, url.hostname, url.port or _SSH_PORT, unquote(url.username))


ARCHIVE = Table(
    "Where files are shipped before they are removed from this host.",
    {
        "url": Key(
            Reader(archive_url, "sftp://user@host:port/path or file:///path, without a password"),
            """
            A directory on this host (created if it is missing), file:///path, or a server,
            sftp://user@host:port/path (port 22 if none is given; no password here).
            """,
            example="file:///var/lib/backupd/archive",
        ),
        "identity_file": Key(
            SECRET_FILE,
            """
            For sftp, at least one of these two: the private key, and a file with the password.
            Both must be readable only by the daemon's user.
            """,
            default=None,
            example="/etc/backupd/id_ed25519",
        ),
        "password_file": Key(SECRET_FILE, default=None, example="/etc/backupd/archive-password"),
        "known_hosts_file": Key(
            SECRET_FILE,
            """
            Required for sftp: the server's host keys, as `ssh-keyscan` prints them. Verify them
            before use.
            """,
            default=None,
            example="/etc/backupd/known_hosts",
        ),
        "compression": Key(
            choice(Compression),
            "{allowed}. A file that already ends in .gz (or .GZ) is sent as it is.",
            default="gzip",
        ),
        "compression_level": Key(
            integer(1, 9),
            "{allowed}, from fastest to smallest; up to 3 it is several times as fast as gzip.",
            default=1,
        ),
        "connections": Key(
            integer(1, 32),
            "Connections to the server, {allowed}. If the server allows fewer, fewer are used.",
            default=2,
        ),
        "proxy_jump": Key(
            Reader(jump_host, "user@host:port, without a password"),
            """
            A jump host, user@host:port, like ProxyJump of ssh: with the same key or password, and
            its host key in known_hosts_file too. Keys come only from identity_file, never from an
            agent.
            """,
            default=None,
            example="mnaas@gateway.example:22",
        ),
        "verify": Key(
            choice(Verification),
            """
            How the archive's copy is verified: "remote-sha256" (the server hashes it), "readback"
            (it is read back and hashed here) or "auto" (the first if the server allows it, else the
            second).
            """,
            default="auto",
        ),
    },
)


def check_login(archive: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what is missing to log in. A key whose value could not be read was given."""
    if not isinstance(archive.get("url"), SftpUrl):
        return
    if "known_hosts_file" in archive and archive["known_hosts_file"] is None:
        hint = "a file with the server's host key, as ssh-keyscan prints it"
        yield Mistake("archive.known_hosts_file", "is missing, and sftp needs it", hint)
    if archive.get("identity_file", "") is None and archive.get("password_file", "") is None:
        problem = "is missing, and so is archive.password_file: there is no way to log in"
        yield Mistake("archive.identity_file", problem, "one of the two, or both")


def secret_files(archive: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys that name files with secrets, as far as the archive's kind uses them.

    What is set for a server that is not in use now is not judged.
    """
    return archive if isinstance(archive.get("url"), SftpUrl) else {}


def archive_section(values: Mapping[str, Any], secrets: Mapping[str, Any]) -> ArchiveSection:
    """Return the section that the archive of this kind is handed."""
    url: ArchiveUrl = values["url"]
    packing = {name: values[name] for name in ("compression", "compression_level")}
    if isinstance(url, FileUrl):
        return LocalArchiveSection(root=url.root, **packing)
    there = {name: values[name] for name in ("connections", "proxy_jump", "verify")}
    return SftpArchiveSection(**asdict(url), **packing, **there, **secrets)
