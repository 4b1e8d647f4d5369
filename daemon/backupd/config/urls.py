"""Reads the URLs of the config. None of them may hold a password, and none is ever repeated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from backupd.config.readers import BadValueError, plain_text

_SSH_PORT = 22
_LEDGER_PREFIX = "sqlite:///"
_PLAIN_PATH = re.compile(r"(/[\w.=@+-]+)+/?", re.ASCII)  # it stands in statements as it is


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


def ledger_path(value: object) -> Path:
    """Read `sqlite:////absolute/path`."""
    url = plain_text(value)
    path = url.removeprefix(_LEDGER_PREFIX)
    if path == url or not path.startswith("/") or path.endswith("/") or set(path) & {"?", "#"}:
        raise BadValueError(
            "is not a valid SQLite URL with an absolute path (mind the four slashes)"
        )
    return Path(path)


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


def staging_url(value: object) -> str:
    """Read the URL of a folder that Hive can read too."""
    url = split(value)
    if not url.scheme or url.query or url.fragment:
        raise BadValueError("is not a valid URL of a folder")
    if not _PLAIN_PATH.fullmatch(url.path) or ".." in url.path.split("/"):
        raise BadValueError("needs a path below / of letters, digits and . _ = @ + -")
    if url.scheme == "webhdfs" and not url.hostname:
        raise BadValueError("names no host")
    return str(value)


def host_and_port(value: object) -> tuple[str, int]:
    """Read `host:port`; an IPv6 address stands in brackets."""
    parts = split(f"//{plain_text(value)}")
    if not parts.hostname or not parts.port or parts.netloc != value or parts.username:
        raise BadValueError("is not a valid host and port")
    return parts.hostname, parts.port


def jump_host(value: object) -> tuple[str, str, int]:
    """Read `user@host` or `user@host:port` into user, host and port."""
    parts = split(f"//{plain_text(value)}")
    if not parts.hostname or not parts.username or parts.netloc != value:
        raise BadValueError("is not a valid user@host:port")
    return unquote(parts.username), parts.hostname, parts.port or _SSH_PORT


def split(value: object) -> SplitResult:
    """Take a URL apart. One with a password in it is refused."""
    try:
        parts = urlsplit(plain_text(value))
        _ = parts.port  # raises for one that is no number
    except BadValueError:
        raise
    except ValueError as error:
        raise BadValueError("is not a valid URL") from error
    if parts.password is not None:
        raise BadValueError("holds a password: put it into a file and name that in password_file")
    return parts


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
