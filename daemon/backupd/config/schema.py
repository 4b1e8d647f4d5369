"""Every section and key of config.toml: how it is read, what is allowed, its default, its words.

The sample (config.toml), the manual page and the mistakes are made from it. Sections that have
readers of their own stand in modules of their own: alerts, archive, feeds, hive, report, warehouse.
"""

from __future__ import annotations

from typing import Literal

from backupd.config.alerts import ALERTS
from backupd.config.archive import ARCHIVE
from backupd.config.feeds import FEEDS
from backupd.config.hive import KERBEROS
from backupd.config.readers import (
    PATH,
    SOCKET_PATH,
    DefaultBy,
    Key,
    Reader,
    choice,
    duration,
    integer,
)
from backupd.config.report import REPORT
from backupd.config.tables import Table
from backupd.config.urls import host_and_port, ledger_path
from backupd.config.warehouse import WAREHOUSE

Environment = Literal["prod", "dev"]
IntakeMode = Literal["auto", "events", "poll"]
OpenFiles = Literal["auto", "off"]
CleanupAction = Literal["delete", "keep"]

_HEAD = """
    The config of backupd: every key with what it does, what is allowed and its default.

    `backupd check` reports all mistakes in this file at once. `systemctl reload backupd` applies
    changes without losing work; a file with mistakes is refused and the old one stays in force.

    Durations are numbers with w, d, h, m, s or ms, the largest first: "500ms", "1.5s", "1h30m",
    "1d". Paths are absolute. Secrets are never in this file: keys ending in `_file` name the file
    that holds one (mode 600), or a systemd credential of the service (LoadCredential=) by its bare
    name. Only [archive] url and one [feeds.<file type>] are required; all other keys show their
    defaults.
"""

ENVIRONMENT = Key(
    choice(Environment),
    """
    {allowed}. In dev nothing is shipped, deleted or ticketed: those stages say "skipped
    (dev)". The environment variable $ENV_MODE overrides this key.
    """,
    default="prod",
)

_LEDGER = Table(
    "Where the daemon keeps the state of every file. One daemon per ledger.",
    {
        "url": Key(
            Reader(ledger_path, "sqlite:////absolute/path"),
            """
            sqlite:////absolute/path, on a local disk: on NFS and similar file systems SQLite can
            lose data.
            """,
            default="sqlite:////var/lib/backupd/ledger.db",
        ),
        "keep": Key(
            duration(at_least="1s"),
            """
            So long a done file stays in the ledger, {allowed}. Then it moves to the history in the
            warehouse, whole days (UTC) at a time.
            """,
            default="30d",
        ),
        "remember": Key(
            duration(at_least="1s"),
            """
            So long after it was done a file that comes again is recognised without asking the
            warehouse; not less than `keep`.
            """,
            default="400d",
        ),
        "backup_every": Key(
            duration(),
            """
            How often a snapshot of the ledger goes into the archive, below .backupd/<host name>/;
            "0s": never by itself. It is made in the ledger's directory, which needs twice the
            ledger's size free. In dev there is none.
            """,
            default="24h",
        ),
        "backups_kept": Key(
            integer(1, 10_000),
            "So many snapshots of this host are kept, {allowed}; older ones are removed.",
            default=7,
        ),
    },
)

_INTAKE = Table(
    "How new files are found.",
    {
        "mode": Key(
            choice(IntakeMode),
            """
            "auto": the kernel's events, and polling where events cannot be trusted (network file
            systems); "events" or "poll": only that.
            """,
            default="auto",
        ),
        "rescan_every": Key(
            duration(at_least="1s"),
            "How often the directories are scanned, even if there were no events: {allowed}.",
            default="60s",
        ),
        "settle_for": Key(
            duration(),
            """
            A file is complete when it has not changed for this long, or earlier if its companion
            shows it.
            """,
            default="5s",
        ),
        "open_files": Key(
            choice(OpenFiles),
            """
            "auto": a file that some process still has open for writing is not complete, where the
            kernel can show that; `backupd check` says where it cannot. "off": this is not checked.
            """,
            default="auto",
        ),
    },
)

_BATCH = Table(
    "How files are batched for loading into the warehouse.",
    {
        "max_files": Key(integer(1, 100_000), "Files in one load at most: {allowed}.", default=500),
        "max_wait": Key(
            duration(),
            """
            A smaller batch is loaded after this time. Each batch makes a file in the partition of
            each date, and HDFS suffers from many small files.
            """,
            default=DefaultBy("warehouse.kind", {"embedded": "30s", "hive": "10m"}),
        ),
    },
)

_RETRY = Table(
    "How failures that may pass by themselves are retried.",
    {
        "first": Key(
            duration(at_least="1ms"),
            "The first pause, {allowed}; it grows with each attempt, up to `cap`.",
            default="5s",
        ),
        "cap": Key(duration(at_least="1ms"), default="10m"),
        "attempts": Key(
            integer(1, 1000),
            "Attempts in one stage before the file is parked for a person: {allowed}.",
            default=8,
        ),
    },
)

_CONCURRENCY = Table(
    "How many files are processed at once.",
    {
        "manifest": Key(
            integer(1, 256), "In the manifest stage, counted and hashed: {allowed}.", default=4
        ),
        "ship": Key(
            integer(1, 1024), "In the ship stage, sent to the archive: {allowed}.", default=32
        ),
    },
)

_CLEANUP = Table(
    "What happens to a local file whose copy and row are proven.",
    {
        "action": Key(choice(CleanupAction), "{allowed}.", default="delete"),
        "keep_for": Key(duration(), "How long after shipping.", default="0s"),
    },
)

_CONTROL = Table(
    "How backupd-admin reaches the daemon.",
    {"socket": Key(SOCKET_PATH, default="/run/backupd/control.sock")},
)

_STATUS_FILE = Table(
    """
    The process status file that health checks of the old job read: KEY=value lines, written right
    after every change. Left out: there is none.
    """,
    {
        "path": Key(
            PATH,
            "Its directory is created if it is missing.",
            example="/var/lib/backupd/process_status",
        ),
    },
    optional=True,
)

_METRICS = Table(
    """
    Metrics for Prometheus, at http://<listen>/metrics. Left out: none. There is no password, so it
    is best to listen on loopback or behind a firewall.
    """,
    {
        "listen": Key(
            Reader(host_and_port, "host:port, such as 127.0.0.1:9464 or [::1]:9464"),
            "host:port.",
            example="127.0.0.1:9464",
        ),
    },
    optional=True,
)

CONFIG = Table(
    _HEAD,
    {
        "environment": ENVIRONMENT,
        "ledger": _LEDGER,
        "intake": _INTAKE,
        "batch": _BATCH,
        "retry": _RETRY,
        "concurrency": _CONCURRENCY,
        "warehouse": WAREHOUSE,
        "kerberos": KERBEROS,
        "archive": ARCHIVE,
        "cleanup": _CLEANUP,
        "control": _CONTROL,
        "status_file": _STATUS_FILE,
        "alerts": ALERTS,
        "report": REPORT,
        "metrics": _METRICS,
        "feeds": FEEDS,
    },
)
