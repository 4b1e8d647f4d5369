"""Reads the URLs of the config. None of them may hold a password, and none is ever repeated."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from backupd.config.readers import BadValueError, plain_text

_LEDGER_PREFIX = "sqlite:///"
_WEBHDFS_PORTS = {"webhdfs": 9870, "swebhdfs": 9871}  # NameNodes' own, by scheme
_HOST = re.compile(r"[^\s/@?#]+")
_PLAIN_PATH = re.compile(r"(/[\w.=@+-]+)+/?", re.ASCII)  # it stands in statements as it is

Address = tuple[str, int]
"""Host and port of a server."""


def ledger_path(value: object) -> Path:
    """Read `sqlite:////absolute/path`."""
    url = plain_text(value)
    path = url.removeprefix(_LEDGER_PREFIX)
    if path == url or not path.startswith("/") or path.endswith("/") or set(path) & {"?", "#"}:
        raise BadValueError(
            "is not a valid SQLite URL with an absolute path (mind the four slashes)"
        )
    return Path(path)


@dataclass(frozen=True, slots=True)
class StagingUrl:
    """A folder that Hive can read too."""

    text: str
    scheme: str
    username: str  # "": none is named
    servers: tuple[Address, ...]  # of WebHDFS: NameNodes or gateways; else none
    path: str  # absolute
    path_prefix: str  # before /webhdfs/v1, "" for all but a gateway

    @property
    def is_webhdfs(self) -> bool:
        """Whether it is HDFS over HTTP or HTTPS."""
        return self.scheme in _WEBHDFS_PORTS


def staging_url(value: object) -> StagingUrl:
    """Read the URL of a folder that Hive can read too; WebHDFS may name several NameNodes."""
    text = plain_text(value)
    hosts, text_of_one = _name_nodes(text)
    url = split(text_of_one)
    if not url.scheme or url.fragment or (url.query and not hosts):
        raise BadValueError("is not a valid URL of a folder")
    if not _is_plain(url.path):
        raise BadValueError("needs a path below / of letters, digits and . _ = @ + -")
    return StagingUrl(
        text=text,
        scheme=url.scheme,
        username=unquote(url.username or ""),
        servers=tuple(_server(each, _WEBHDFS_PORTS[url.scheme]) for each in hosts),
        path=url.path.rstrip("/"),
        path_prefix=_path_prefix(url.query),
    )


def _name_nodes(url: str) -> tuple[list[str], str]:
    """Return the servers of a WebHDFS URL, and the URL with the first of them alone."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in _WEBHDFS_PORTS:
        return [], url
    authority, slash, path = rest.partition("/")
    login, at, servers = authority.rpartition("@")
    if "," in login:
        raise BadValueError("names a user behind a server: one user stands before all of them")
    hosts = servers.split(",")
    return hosts, f"{scheme}://{login}{at}{hosts[0]}{slash}{path}"


def _server(text: str, default_port: int) -> Address:
    parts = split(f"//{text}")
    if not parts.hostname or parts.username or parts.netloc != text or parts.port == 0:
        raise BadValueError("names no host" if not text else f"names {text!r}, not a host and port")
    return host_name(parts.hostname), parts.port or default_port


def _path_prefix(query: str) -> str:
    name, _, value = query.partition("=")
    if query and (name != "path_prefix" or not _is_plain(value)):
        raise BadValueError("has a query that is not ?path_prefix=/path/of/the/gateway")
    return value.rstrip("/")


def _is_plain(path: str) -> bool:
    return bool(_PLAIN_PATH.fullmatch(path)) and ".." not in path.split("/")


def host_name(value: object) -> str:
    """Read the name or the IP address of a host, without a port."""
    host = plain_text(value)
    try:
        if ":" in host:
            ipaddress.IPv6Address(host)
        host.encode("idna")
    except ValueError:
        raise BadValueError(f"is {host!r}, which is not a valid host name") from None
    if not _HOST.fullmatch(host):
        raise BadValueError(f"is {host!r}, which is not a valid host name")
    return host


def host_and_port(value: object) -> tuple[str, int]:
    """Read `host:port`; an IPv6 address stands in brackets."""
    parts = split(f"//{plain_text(value)}")
    if not parts.hostname or not parts.port or parts.netloc != value or parts.username:
        raise BadValueError("is not a valid host and port")
    return host_name(parts.hostname), parts.port


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
