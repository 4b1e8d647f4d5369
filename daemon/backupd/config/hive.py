"""The keys of `[warehouse.hive]`, `[warehouse.impala]` and `[kerberos]`, and what fits together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from backupd.config.mistakes import Mistake
from backupd.config.readers import (
    SECRET_FILE,
    SWITCH,
    TEXT,
    BadValueError,
    Key,
    Reader,
    choice,
    duration,
    expect,
    integer,
    plain_text,
    texts,
)
from backupd.config.tables import Table
from backupd.config.urls import host_and_port, host_name, staging_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backupd.config.urls import Address

Auth = Literal["NONE", "NOSASL", "LDAP", "KERBEROS"]
Transport = Literal["binary", "http"]
Merge = Literal["files", "insert"]

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""The names of databases, tables and columns."""

_SETTING = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_PRINCIPAL = re.compile(r"[^@/\s]+(/[^@/\s]+)?@[^@/\s]+")
_HTTP_PATH = re.compile(r"[\w.=@+-]+(/[\w.=@+-]+)*", re.ASCII)


def _identifier(value: object) -> str:
    name = plain_text(value)
    if not IDENTIFIER.fullmatch(name):
        raise BadValueError(f"is {name!r}, which is not a name of letters, digits and _")
    return name


def _settings(value: object) -> dict[str, str]:
    settings = {name: plain_text(each) for name, each in expect(value, dict).items()}
    if bad := [name for name in settings if not _SETTING.fullmatch(name)]:
        raise BadValueError(f"has names that no setting can have: {', '.join(map(repr, bad))}")
    return settings


def _servers(value: object) -> tuple[Address, ...]:
    servers = tuple(host_and_port(each) for each in texts(value))
    if len(set(servers)) < len(servers):
        raise BadValueError("names a server twice")
    return servers


def _principal(value: object) -> str:
    principal = plain_text(value)
    if not _PRINCIPAL.fullmatch(principal):
        raise BadValueError(f"is {principal!r}, which is not a valid principal with its realm")
    return principal


def _http_path(value: object) -> str:
    path = plain_text(value).strip("/")
    if not _HTTP_PATH.fullmatch(path):
        raise BadValueError("is not a valid path")
    return path


_PORT = integer(1, 65535)
_NAME = Reader(_identifier, "letters, digits and _, no digit first")
_HOST = Reader(host_name, "a host name or an IP address, without a port")
_SERVERS = Reader(_servers, 'a list of "host:port"')


def _login_keys(auth: str, service: str, login: str) -> dict[str, Key]:
    """Return the keys by which a server is spoken to. `login` says more of `auth`."""
    return {
        "auth": Key(choice(Auth), f"{{allowed}}{login}", default=auth),
        "transport": Key(
            choice(Transport),
            "{allowed}; http for a server or gateway that is reached by HTTP, at http_path.",
            default="binary",
        ),
        "http_path": Key(Reader(_http_path, "a path"), default="cliservice"),
        "kerberos_service_name": Key(
            TEXT,
            f"""
            The first part of the server's principal: "{service}" if left out, "HTTP" over http.
            """,
            default=None,
            example=service,
        ),
        "kerberos_host": Key(
            TEXT,
            """
            The second part, where it is not the host that is connected to: behind a load balancer.
            """,
            default=None,
            example="hive-lb.example",
        ),
        "tls": Key(
            SWITCH,
            "TLS, always verified: by the CA certificates in tls_ca_file, else by the system's.",
            default=False,
        ),
        "tls_ca_file": Key(SECRET_FILE, default=None, example="/etc/backupd/ca.pem"),
        "tls_cert_file": Key(
            SECRET_FILE,
            "A client certificate and its key, for a server that asks for one.",
            default=None,
            example="/etc/backupd/client.pem",
        ),
        "tls_key_file": Key(SECRET_FILE, default=None, example="/etc/backupd/client.key"),
    }


HIVE = Table(
    'For kind = "hive": docs/hive.md says what the cluster must allow.',
    {
        "host": Key(
            _HOST,
            """
            HiveServer2: this host and port, or `hosts` for several, or `zookeeper` where they
            register.
            """,
            default=None,
            example="hive.example",
        ),
        "port": Key(_PORT, default=10000),
        "hosts": Key(_SERVERS, default=None, example=["hs2a.example:10000", "hs2b.example:10000"]),
        "load_balanced": Key(
            SWITCH,
            """
            Whether a load balancer chooses among several servers at this address: what one of them
            does not know proves nothing then (docs/hive.md).
            """,
            default=False,
        ),
        "zookeeper": Key(_SERVERS, default=None, example=["zk1.example:2181", "zk2.example:2181"]),
        "zookeeper_namespace": Key(
            Reader(_http_path, "a path"),
            "The server's hive.server2.zookeeper.namespace.",
            default="hiveserver2",
        ),
        **_login_keys(
            "NONE",
            "hive",
            """.
            Same as the server's hive.server2.authentication. KERBEROS needs [kerberos].
            """,
        ),
        "username": Key(TEXT, default="backupd"),
        "password_file": Key(
            SECRET_FILE, "For LDAP.", default=None, example="/etc/backupd/hive-password"
        ),
        "database": Key(
            _NAME,
            "Names of databases and tables hold letters, digits and _.",
            default="mnaas",
        ),
        "merge": Key(
            choice(Merge),
            """
            "files": Parquet is written here and moved into the partition by LOAD DATA; starts no
            job, repeats none. "insert": through the staging table and INSERT ... SELECT; any
            table format.
            """,
            default="files",
        ),
        "staging_table": Key(
            _NAME,
            'Only for "insert"; no other daemon may use it.',
            default="customers_files_inter_record_count",
        ),
        "production_table": Key(_NAME, default="customers_files_records_count"),
        "history_table": Key(
            _NAME,
            "Done files' stories go there from the ledger. Several daemons may share it.",
            default="customers_files_history",
        ),
        "staging_url": Key(
            Reader(
                staging_url,
                "webhdfs://host:port/path, swebhdfs:// or another URL of fsspec that Hive can read,"
                " without a password",
            ),
            """
            A folder that Hive can read and move files out of: WebHDFS or HttpFS, swebhdfs:// with
            TLS (webhdfs://nn1:9870,nn2:9870/path for two NameNodes, ?path_prefix=/gateway/default
            for Knox), or any other fsspec URL. Its user is the one in the URL, else `username`.
            """,
            example="webhdfs://namenode:9870/user/backupd/staging",
        ),
        "statement_timeout": Key(
            duration(at_least="1s"),
            "The time for one statement, {allowed}; one that takes longer is cancelled.",
            default="30m",
        ),
        "compact_after": Key(
            duration(at_least="1d"),
            """
            Partitions of dates that are longer ago than this, {allowed}, and have more than
            compact_files files of ours become one file (docs/hive.md).
            """,
            default="2d",
        ),
        "compact_files": Key(integer(0, 1_000_000), "0: never.", default=20),
        "settings": Key(
            Reader(_settings, "a table of texts"),
            "Hive settings for the daemon's session.",
            default={},
            example={"hive.exec.parallel": "true"},
        ),
    },
    optional=True,
)

IMPALA = Table(
    """
    With Hive: REFRESH in Impala after a merge. While Impala is down, the REFRESH is owed and files
    go on.
    """,
    {
        "host": Key(_HOST, example="impalad.example"),
        "port": Key(_PORT, default=21050),
        **_login_keys("NOSASL", "impala", ", with the username and password of [warehouse.hive]."),
    },
    optional=True,
)

KERBEROS = Table(
    """
    Whom backupd logs in as at Hive, Impala and WebHDFS, where they ask for Kerberos. Tickets are
    got by the keytab and renewed; neither kinit nor environment variables are needed.
    """,
    {
        "principal": Key(
            Reader(_principal, "name@REALM or name/host@REALM"),
            "With its realm.",
            example="backupd/host.example@EXAMPLE",
        ),
        "keytab": Key(
            SECRET_FILE,
            "Must be readable only by the daemon's user.",
            example="/etc/backupd/backupd.keytab",
        ),
    },
    optional=True,
)

_ONE_WAY = "one of `host`, `hosts` and `zookeeper`"


def check_hive(hive: Mapping[str, Any] | None) -> Iterator[Mistake]:
    """Yield what does not fit together in `[warehouse.hive]`."""
    if hive is None:
        yield Mistake("warehouse.hive", 'is missing, and kind = "hive" needs it', "a section")
        return
    yield from _same_tables(hive)
    given = [name for name in ("host", "hosts", "zookeeper") if hive.get(name, "") is not None]
    if not given:
        yield Mistake("warehouse.hive.host", "is missing", _ONE_WAY)
    if len(given) > 1:
        yield Mistake(f"warehouse.hive.{given[1]}", f"stands beside {given[0]}", _ONE_WAY)
    yield from check_way_in("warehouse.hive", hive)


def _same_tables(hive: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield the keys that name a table which is meant for something else."""
    named: dict[str, str] = {}
    for name in ("production_table", "staging_table", "history_table"):
        other = named.setdefault(hive.get(name, name).lower(), name)
        if other != name:
            problem = f"is the {other.replace('_', ' ')}"
            yield Mistake(f"warehouse.hive.{name}", problem, "another table")


def idle_keys(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of `[warehouse.hive]` that nobody reads, because of how servers are named."""
    if "port" in given and "host" not in given:
        yield "port"
    if "zookeeper_namespace" in given and "zookeeper" not in given:
        yield "zookeeper_namespace"
    if "load_balanced" in given and "zookeeper" in given:
        yield "load_balanced"


def check_way_in(key: str, section: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield how the keys that a server is spoken to by contradict each other."""
    if section.get("transport") == "http" and section.get("auth") == "NOSASL":
        allowed = "NONE, LDAP or KERBEROS over http"
        yield Mistake(f"{key}.auth", "is NOSASL, which there is only in binary", allowed)
    yield from _useless_kerberos(key, section)
    yield from _check_tls(key, section)


def _useless_kerberos(key: str, section: Mapping[str, Any]) -> Iterator[Mistake]:
    if section.get("auth") in ("KERBEROS", None):
        return
    for name in ("kerberos_service_name", "kerberos_host"):
        if section.get(name) is not None:
            problem = f"is given, and auth is {section['auth']}"
            yield Mistake(f"{key}.{name}", problem, 'auth = "KERBEROS", or no such key')


def _check_tls(key: str, section: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield files that TLS needs and that are missing, or are there without TLS."""
    staging = section.get("staging_url")
    if section.get("tls") is False and not (staging and staging.scheme == "swebhdfs"):
        for name in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
            if section.get(name) is not None:
                yield Mistake(f"{key}.{name}", "is given, and tls is false", "tls = true")
    for one, other in (("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")):
        if section.get(one) is not None and section.get(other, "") is None:
            yield Mistake(f"{key}.{other}", f"is missing beside {one}", "both, or neither")
