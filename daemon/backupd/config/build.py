"""Builds the frozen sections from values that were read without a mistake."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from backupd.config.archive import archive_section
from backupd.config.expect import expectations_of
from backupd.config.feeds import expand
from backupd.config.sections import (
    AlertsSection,
    BatchSection,
    CleanupSection,
    ConcurrencySection,
    Config,
    ControlSection,
    HiveSection,
    ImpalaSection,
    IntakeSection,
    LedgerSection,
    LoginSection,
    MetricsSection,
    ReportSection,
    RetrySection,
    SmtpServer,
    StagingSection,
    WarehouseSection,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backupd.completeness.expectations import Expectations
    from backupd.config.alerts import SmtpUrl
    from backupd.core.records import Feed


def build(
    values: Mapping[str, Any],
    secrets: Mapping[str, Any],
    inactive: tuple[str, ...],
    silent: tuple[str, ...],
) -> Config:
    """Return the config. The sections' fields are named like the schema's keys.

    `secrets` are by who needs them, `silent` the directories that did not answer.
    """
    feeds = _feeds(values["feeds"])
    return Config(
        environment=values["environment"],
        ledger=ledger_section(values["ledger"]),
        intake=IntakeSection(**values["intake"]),
        batch=BatchSection(**values["batch"]),
        retry=RetrySection(**values["retry"]),
        concurrency=ConcurrencySection(**values["concurrency"]),
        warehouse=_warehouse(values["warehouse"], secrets["hive"]),
        archive=archive_section(values["archive"], secrets["archive"]),
        cleanup=CleanupSection(**values["cleanup"]),
        control=ControlSection(**values["control"]),
        feeds=feeds,
        expectations=_expectations(feeds, values["feeds"]),
        status_file=(values["status_file"] or {}).get("path"),
        metrics=_metrics(values["metrics"]),
        alerts=_alerts(values["alerts"], secrets["smtp_password"]),
        report=_report(values["report"]),
        inactive=inactive,
        silent=silent,
    )


def ledger_section(values: Mapping[str, Any]) -> LedgerSection:
    """Return `[ledger]`."""
    kept = {name: values[name] for name in ("keep", "remember", "backup_every", "backups_kept")}
    return LedgerSection(path=values["url"], **kept)


def _warehouse(values: Mapping[str, Any], secrets: Mapping[str, Any]) -> WarehouseSection:
    hive = _hive(values["hive"], secrets) if values["kind"] == "hive" else None
    return WarehouseSection(
        kind=values["kind"],
        columns=values["columns"],
        embedded_root=values["embedded"]["root"],
        hive=hive,
        impala=_impala(values["impala"], hive, secrets),
    )


_HIVE_KEYS = (
    "load_balanced",
    "zookeeper_namespace",
    "database",
    "merge",
    "staging_table",
    "production_table",
    "history_table",
    "statement_timeout",
    "compact_after",
    "compact_files",
    "settings",
)


def _hive(values: Mapping[str, Any], secrets: Mapping[str, Any]) -> HiveSection:
    username = values["username"]
    one = ((values["host"], values["port"]),) if values["host"] else ()
    return HiveSection(
        hosts=values["hosts"] or one,
        zookeeper=values["zookeeper"] or (),
        login=_login(values, username, secrets, "hive"),
        staging=_staging(values, secrets),
        **{name: values[name] for name in _HIVE_KEYS},
    )


def _login(
    values: Mapping[str, Any], username: str, secrets: Mapping[str, Any], server: str
) -> LoginSection:
    auth, transport = values["auth"], values["transport"]
    return LoginSection(
        auth=auth,
        username=username,
        password=secrets["password"] if auth == "LDAP" else None,
        kerberos=secrets["kerberos"] if auth == "KERBEROS" else None,
        kerberos_service_name=values["kerberos_service_name"]
        or ("HTTP" if transport == "http" else server),
        kerberos_host=values["kerberos_host"] or "",
        transport=transport,
        http_path=values["http_path"],
        tls=secrets[f"{server}_tls"] if values["tls"] else None,
    )


def _staging(hive: Mapping[str, Any], secrets: Mapping[str, Any]) -> StagingSection:
    url = hive["staging_url"]
    by_password = bool(url.path_prefix) and hive["auth"] == "LDAP"  # a gateway checks it
    return StagingSection(
        url=url,
        username=url.username or hive["username"],
        password=secrets["password"] if by_password else None,
        kerberos=None if by_password else secrets["kerberos"],
        tls=secrets["hive_tls"],
    )


def _impala(
    values: Mapping[str, Any] | None, hive: HiveSection | None, secrets: Mapping[str, Any]
) -> ImpalaSection | None:
    if values is None or hive is None:
        return None
    login = _login(values, hive.login.username, secrets, "impala")
    return ImpalaSection(address=(values["host"], values["port"]), login=login)


def _metrics(values: Mapping[str, Any] | None) -> MetricsSection | None:
    if values is None:
        return None
    host, port = values["listen"]
    return MetricsSection(host=host, port=port)


def _alerts(values: Mapping[str, Any] | None, password: str | None) -> AlertsSection | None:
    if values is None:
        return None
    url: SmtpUrl | None = values["smtp_url"]
    return AlertsSection(
        after=values["after"],
        remind_every=values["remind_every"],
        smtp=SmtpServer(**asdict(url), password=password) if url else None,
        sender=values["from"] or "",
        to=tuple(values["to"] or ()),
        ticket_to=tuple(values["ticket_to"] or ()),
        hook=values["hook"],
    )


def _report(values: Mapping[str, Any] | None) -> ReportSection | None:
    if values is None:
        return None
    return ReportSection(at=values["at"], time_zone=values["time_zone"], to=tuple(values["to"]))


def _feeds(values: Mapping[str, Mapping[str, Any]]) -> tuple[Feed, ...]:
    return tuple(feed for file_type, each in values.items() for feed in expand(file_type, each))


def _expectations(
    feeds: Iterable[Feed], values: Mapping[str, Mapping[str, Any]]
) -> dict[str, Expectations]:
    found = {feed.name: expectations_of(feed.customer, values[feed.file_type]) for feed in feeds}
    return {name: expected for name, expected in found.items() if expected is not None}
