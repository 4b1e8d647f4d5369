"""Every section and key of config.toml: how it is read, what is allowed, its default.

Sections with readers of their own stand in modules of their own: alerts, feeds, warehouse.
"""

from __future__ import annotations

from typing import Literal

from backupd.config.alerts import ALERTS
from backupd.config.feeds import FEEDS
from backupd.config.readers import (
    PATH,
    SECRET_FILE,
    SOCKET_PATH,
    Key,
    Reader,
    choice,
    duration,
    integer,
)
from backupd.config.tables import Table
from backupd.config.urls import archive_url, host_and_port, jump_host, ledger_path
from backupd.config.warehouse import WAREHOUSE

Environment = Literal["prod", "dev"]
IntakeMode = Literal["auto", "events", "poll"]
OpenFiles = Literal["auto", "off"]
Compression = Literal["gzip", "none"]
Verification = Literal["auto", "remote-sha256", "readback"]
CleanupAction = Literal["delete", "keep"]

ENVIRONMENT = Key(choice(Environment), default="prod")

_LEDGER_URL = Reader(ledger_path, "sqlite:////absolute/path")
_ARCHIVE_URL = Reader(archive_url, "sftp://user@host:port/path or file:///path, without a password")
_JUMP_HOST = Reader(jump_host, "user@host:port, without a password")
_LISTEN = Reader(host_and_port, "host:port, such as 127.0.0.1:9464 or [::1]:9464")

CONFIG = Table({
    "environment": ENVIRONMENT,
    "ledger": Table({
        "url": Key(_LEDGER_URL, default="sqlite:////var/lib/backupd/ledger.db"),
    }),
    "intake": Table({
        "mode": Key(choice(IntakeMode), default="auto"),
        "rescan_every": Key(duration(at_least="1s"), default="60s"),
        "settle_for": Key(duration(), default="5s"),
        "open_files": Key(choice(OpenFiles), default="auto"),
    }),
    "batch": Table({
        "max_files": Key(integer(1, 100_000), default=500),
        "max_wait": Key(duration(), default="30s"),
    }),
    "retry": Table({
        "first": Key(duration(at_least="1ms"), default="5s"),
        "cap": Key(duration(at_least="1ms"), default="10m"),
        "attempts": Key(integer(1, 1000), default=8),
    }),
    "concurrency": Table({
        "manifest": Key(integer(1, 256), default=4),
        "ship": Key(integer(1, 1024), default=32),
    }),
    "warehouse": WAREHOUSE,
    "archive": Table({
        "url": Key(_ARCHIVE_URL),
        "identity_file": Key(SECRET_FILE, default=None),
        "password_file": Key(SECRET_FILE, default=None),
        "known_hosts_file": Key(SECRET_FILE, default=None),
        "compression": Key(choice(Compression), default="gzip"),
        "compression_level": Key(integer(1, 9), default=1),
        "connections": Key(integer(1, 32), default=2),
        "proxy_jump": Key(_JUMP_HOST, default=None),
        "verify": Key(choice(Verification), default="auto"),
    }),
    "cleanup": Table({
        "action": Key(choice(CleanupAction), default="delete"),
        "keep_for": Key(duration(), default="0s"),
    }),
    "control": Table({"socket": Key(SOCKET_PATH, default="/run/backupd/control.sock")}),
    "status_file": Table({"path": Key(PATH)}, optional=True),
    "alerts": ALERTS,
    "metrics": Table({"listen": Key(_LISTEN)}, optional=True),
    "feeds": FEEDS,
})  # fmt: skip
