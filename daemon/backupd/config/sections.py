"""The config as frozen, typed sections. Durations are seconds, directories absolute.

An adapter is handed its own section and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backupd.completeness.expectations import Expectations
    from backupd.config.archive import Compression, Verification
    from backupd.config.hive import Auth, Merge, Transport
    from backupd.config.schema import (
        CleanupAction,
        Environment,
        IntakeMode,
        OpenFiles,
    )
    from backupd.config.urls import Address, StagingUrl
    from backupd.config.warehouse import Kind
    from backupd.core.records import Feed, Identity


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerSection:
    """`[ledger]`."""

    path: Path  # from `url = "sqlite:////..."`
    keep: float
    remember: float
    backup_every: float  # 0: never
    backups_kept: int


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeSection:
    """`[intake]`."""

    mode: IntakeMode
    rescan_every: float
    settle_for: float
    open_files: OpenFiles  # auto: what a process has open for writing is not complete


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSection:
    """`[batch]`."""

    max_files: int
    max_wait: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrySection:
    """`[retry]`."""

    first: float
    cap: float
    attempts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ConcurrencySection:
    """`[concurrency]`: how many files at once."""

    manifest: int
    ship: int


@dataclass(frozen=True, kw_only=True, slots=True)
class KerberosSection:
    """`[kerberos]`: whom backupd logs in as wherever Kerberos is asked for."""

    principal: str  # with its realm
    keytab: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsSection:
    """`tls_*`: how a server's certificate is verified, and which one is shown to it."""

    ca_file: Path | None  # None: the system's
    cert_file: Path | None  # together with the next, or none
    key_file: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoginSection:
    """How HiveServer2 or Impala is spoken to: the keys that both sections have."""

    auth: Auth
    username: str  # as `[warehouse.hive]` has it
    password: str | None = field(repr=False)  # the same; there for LDAP alone
    kerberos: KerberosSection | None  # there for KERBEROS alone
    kerberos_service_name: str
    kerberos_host: str  # "": the server's
    transport: Transport
    http_path: str
    tls: TlsSection | None  # None: without TLS


@dataclass(frozen=True, kw_only=True, slots=True)
class StagingSection:
    """The staging folder, and how WebHDFS is logged in to."""

    url: StagingUrl
    username: str  # the URL's, else as `[warehouse.hive]` has it
    password: str | None = field(repr=False)  # for a gateway that checks it, Knox
    kerberos: KerberosSection | None
    tls: TlsSection  # for swebhdfs


@dataclass(frozen=True, kw_only=True, slots=True)
class HiveSection:
    """`[warehouse.hive]`."""

    hosts: tuple[Address, ...]  # of the HiveServer2s; none where ZooKeeper is asked
    load_balanced: bool  # several servers behind one of them
    zookeeper: tuple[Address, ...]
    zookeeper_namespace: str
    login: LoginSection
    database: str
    merge: Merge
    staging_table: str  # for "insert" alone
    production_table: str
    history_table: str
    staging: StagingSection
    statement_timeout: float
    compact_after: float
    compact_files: int  # 0: never
    settings: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImpalaSection:
    """`[warehouse.impala]`."""

    address: Address
    login: LoginSection


@dataclass(frozen=True, kw_only=True, slots=True)
class WarehouseSection:
    """`[warehouse]` with the sections below it."""

    kind: Kind
    columns: dict[str, str]  # our column -> its name in the production table, in table order
    embedded_root: Path
    hive: HiveSection | None = None  # there exactly when that is the kind
    impala: ImpalaSection | None = None  # for the kind "hive" alone, and only if it is configured


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalArchiveSection:
    """`[archive]` in a directory of this host."""

    root: str  # absolute path
    compression: Compression
    compression_level: int

    @property
    def where(self) -> str:
        """The place, for people."""
        return self.root


@dataclass(frozen=True, kw_only=True, slots=True)
class SftpArchiveSection:
    """`[archive]` on another host."""

    root: str  # absolute path there
    host: str
    port: int
    username: str
    password: str | None = field(repr=False)  # read from password_file; never shown
    identity_file: Path | None
    known_hosts_file: Path | None  # always there, unless the secrets were not to be read
    compression: Compression
    compression_level: int
    connections: int  # to the server, as far as it bears them
    proxy_jump: tuple[str, str, int] | None  # user, host and port of a host on the way
    verify: Verification

    @property
    def where(self) -> str:
        """The place, for people."""
        return f"{self.root} on {self.host}"

    @property
    def address(self) -> str:
        """The place, and no other."""
        return f"{self.username}@{self.host}:{self.port}{self.root}"


ArchiveSection = LocalArchiveSection | SftpArchiveSection


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanupSection:
    """`[cleanup]`."""

    action: CleanupAction
    keep_for: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlSection:
    """`[control]`."""

    socket: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpServer:
    """Where mail is handed over."""

    host: str
    port: int
    tls: bool  # from the first byte on; else by STARTTLS, when it is offered
    username: str  # "": no login
    password: str | None = field(repr=False)  # read from smtp_password_file; never shown


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertsSection:
    """`[alerts]`."""

    after: float
    remind_every: float
    smtp: SmtpServer | None
    sender: str  # `from`; "" without smtp
    to: tuple[str, ...]
    ticket_to: tuple[str, ...]
    hook: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSection:
    """`[report]`. It is sent by the mail server of `[alerts]`, from its sender."""

    at: int  # minutes after midnight, in `time_zone`
    time_zone: str
    to: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsSection:
    """`[metrics]`."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CustomersFile:
    """`customers_file` of a section, and the customers that are in force by it.

    `mark` is what the file was like just before it was read: see `mark_of`.
    """

    file_type: str
    path: Path
    customers: tuple[str, ...]
    trouble: str  # why it cannot be used, and the last good list is in force; "": it can
    mark: Identity | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The whole config of one daemon. `document` is what the file held."""

    environment: Environment
    ledger: LedgerSection
    intake: IntakeSection
    batch: BatchSection
    retry: RetrySection
    concurrency: ConcurrencySection
    warehouse: WarehouseSection
    archive: ArchiveSection
    cleanup: CleanupSection
    control: ControlSection
    feeds: tuple[Feed, ...]
    expectations: Mapping[str, Expectations] = field(default_factory=dict)  # by feed
    alerts: AlertsSection | None = None
    report: ReportSection | None = None
    status_file: Path | None = None
    metrics: MetricsSection | None = None
    customers_files: tuple[CustomersFile, ...] = ()
    document: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    inactive: tuple[str, ...] = ()  # sections and keys that are there and not acted on
    silent: tuple[str, ...] = ()  # directories that did not answer, and were not looked at
