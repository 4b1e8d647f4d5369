"""Every section and key of config.toml: how it is read, what is allowed, its default."""

from __future__ import annotations

import re
from dataclasses import fields

from backupd.config.alerts import address, addresses, smtp_url
from backupd.config.feeds import FEED
from backupd.config.readers import (
    BadValueError,
    Key,
    choice,
    duration,
    expect,
    integer,
    path,
    plain_text,
    socket_path,
    text,
    texts,
)
from backupd.config.tables import NamedTables, Table
from backupd.config.urls import archive_url, host_and_port, jump_host, ledger_path, staging_url
from backupd.core.rows import ProductionRow

COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(ProductionRow))
"""Our names of the production table's columns in their default order, the partition last."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SETTING = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_AUTHS = ("NONE", "NOSASL", "LDAP")
_AUTH = " or ".join(f'"{each}"' for each in _AUTHS)
_PORT = (1, 65535)
_STAGING = "webhdfs://host:port/path or another URL of fsspec that Hive can read"
_FILE = "an absolute path, or the name of a systemd credential"


def _columns(value: object) -> dict[str, str]:
    """Read the columns: a list of our names, or a table from our names to the table's own."""
    names = value if isinstance(value, dict) else {name: name for name in texts(value)}
    if isinstance(value, list) and len(names) < len(value):
        raise BadValueError("names a column twice")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise BadValueError(f"has unknown columns: {', '.join(unknown)}")
    if missing := [name for name in COLUMNS if name not in names]:
        raise BadValueError(f"lacks columns: {', '.join(missing)}")
    if next(reversed(names)) != COLUMNS[-1]:
        raise BadValueError(f"must end with {COLUMNS[-1]}, the partition")
    return _identifiers(names)


def _identifiers(names: dict[str, object]) -> dict[str, str]:
    theirs = {ours: plain_text(name) for ours, name in names.items()}
    if bad := [name for name in theirs.values() if not _IDENTIFIER.fullmatch(name)]:
        raise BadValueError(f"has names that no table can have: {', '.join(map(repr, bad))}")
    if len({name.lower() for name in theirs.values()}) < len(theirs):
        raise BadValueError("gives two columns the same name")
    return theirs


def _identifier(value: object) -> str:
    name = plain_text(value)
    if not _IDENTIFIER.fullmatch(name):
        raise BadValueError(f"is {name!r}, which is not a name of letters, digits and _")
    return name


def _settings(value: object) -> dict[str, str]:
    settings = {name: plain_text(each) for name, each in expect(value, dict).items()}
    if bad := [name for name in settings if not _SETTING.fullmatch(name)]:
        raise BadValueError(f"has names that no setting can have: {', '.join(map(repr, bad))}")
    return settings


def _auth(value: object) -> str:
    if value == "KERBEROS":
        raise BadValueError('is "KERBEROS", which this version does not support yet')
    if expect(value, str) not in _AUTHS:
        raise BadValueError(f"is {value!r}")
    return str(value)


def _name(default: str) -> Key:
    return Key(_identifier, "letters, digits and _, no digit first", default)


WAREHOUSE = Table({
    "kind": choice("embedded", "hive", default="embedded"),
    "columns": Key(
        _columns,
        f"a list of {', '.join(COLUMNS)} in any order that ends with {COLUMNS[-1]}, "
        "or a table from these names to letters, digits and _",
        list(COLUMNS),
    ),
    "embedded": Table({"root": path(default="/var/lib/backupd/warehouse")}),
    "hive": Table(
        {
            "host": text(),
            "port": integer(*_PORT, default=10000),
            "auth": Key(_auth, _AUTH, "NONE"),
            "username": text(default="backupd"),
            "password_file": text(default=None, allowed=_FILE),
            "database": _name("mnaas"),
            "merge": choice("files", "insert", default="files"),
            "staging_table": _name("customers_files_inter_record_count"),
            "production_table": _name("customers_files_records_count"),
            "staging_url": Key(staging_url, f"{_STAGING}, without a password"),
            "statement_timeout": duration(at_least="1s", default="30m"),
            "settings": Key(_settings, "a table of texts", {}),
        },
        optional=True,
    ),
    "impala": Table(
        {
            "host": text(),
            "port": integer(*_PORT, default=21050),
            "auth": Key(_auth, _AUTH, "NOSASL"),
        },
        optional=True,
    ),
})  # fmt: skip

ARCHIVE = Table({
    "url": Key(archive_url, "sftp://user@host:port/path or file:///path, without a password"),
    "identity_file": text(default=None, allowed=_FILE),
    "password_file": text(default=None, allowed=_FILE),
    "known_hosts_file": text(default=None, allowed=_FILE),
    "compression": choice("gzip", "none", default="gzip"),
    "compression_level": integer(1, 9, default=1),
    "connections": integer(1, 32, default=2),
    "proxy_jump": Key(jump_host, "user@host:port, without a password", None),
    "verify": choice("auto", "remote-sha256", "readback", default="auto"),
})  # fmt: skip

_ADDRESSES = "a list of mail addresses such as support@example"
ALERTS = Table(
    {
        "after": duration(default="10m"),
        "remind_every": duration(at_least="1m", default="24h"),
        "smtp_url": Key(
            smtp_url, "smtp://user@host:port or smtps://user@host:port, without a password", None
        ),
        "smtp_password_file": text(default=None, allowed=_FILE),
        "from": Key(address, "a mail address such as mnaas@example", None),
        "to": Key(addresses, _ADDRESSES, None),
        "ticket_to": Key(addresses, _ADDRESSES, None),
        "hook": path(default=None),
    },
    optional=True,
)

LEDGER = Table({
    "url": Key(ledger_path, "sqlite:////absolute/path", "sqlite:////var/lib/backupd/ledger.db"),
})  # fmt: skip
CONTROL = Table({"socket": socket_path(default="/run/backupd/control.sock")})

ENVIRONMENT = choice("prod", "dev", default="prod")

CONFIG = Table({
    "environment": ENVIRONMENT,
    "ledger": LEDGER,
    "intake": Table({
        "mode": choice("auto", "events", "poll", default="auto"),
        "rescan_every": duration(at_least="1s", default="60s"),
        "settle_for": duration(default="5s"),
        "open_files": choice("auto", "off", default="auto"),
    }),
    "batch": Table({
        "max_files": integer(1, 100_000, default=500),
        "max_wait": duration(default="30s"),
    }),
    "retry": Table({
        "first": duration(at_least="1ms", default="5s"),
        "cap": duration(at_least="1ms", default="10m"),
        "attempts": integer(1, 1000, default=8),
    }),
    "concurrency": Table({
        "manifest": integer(1, 256, default=4),
        "ship": integer(1, 1024, default=32),
    }),
    "warehouse": WAREHOUSE,
    "archive": ARCHIVE,
    "cleanup": Table({
        "action": choice("delete", "keep", default="delete"),
        "keep_for": duration(default="0s"),
    }),
    "control": CONTROL,
    "status_file": Table({"path": path()}, optional=True),
    "alerts": ALERTS,
    "metrics": Table({
        "listen": Key(host_and_port, "host:port, such as 127.0.0.1:9464 or [::1]:9464"),
    }, optional=True),
    "feeds": NamedTables(FEED, "sections [feeds.<file type>], each named like a file"),
})  # fmt: skip
