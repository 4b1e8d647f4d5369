"""Reads the URLs of the config. None of them may hold a password, and none is ever repeated."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from backupd.config.readers import BadValueError, plain_text

_LEDGER_PREFIX = "sqlite:///"
_PLAIN_PATH = re.compile(r"(/[\w.=@+-]+)+/?", re.ASCII)  # it stands in statements as it is


def ledger_path(value: object) -> Path:
    """Read `sqlite:////absolute/path`."""
    url = plain_text(value)
    path = url.removeprefix(_LEDGER_PREFIX)
    if path == url or not path.startswith("/") or path.endswith("/") or set(path) & {"?", "#"}:
        raise BadValueError(
            "is not a valid SQLite URL with an absolute path (mind the four slashes)"
        )
    return Path(path)


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
