"""Builds the frozen sections from values that were read without a mistake."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from backupd.config.archive import archive_section
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
    MetricsSection,
    RetrySection,
    SmtpServer,
    WarehouseSection,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupd.config.alerts import SmtpUrl
    from backupd.core.records import Feed


def build(
    values: Mapping[str, Any],
    secrets: Mapping[str, Any],
    hive_password: str | None,
    inactive: tuple[str, ...],
    silent: tuple[str, ...],
) -> Config:
    """Return the config. The sections' fields are named like the schema's keys.

    `secrets` are the archive's, `silent` the directories that did not answer.
    """
    return Config(
        environment=values["environment"],
        ledger=LedgerSection(path=values["ledger"]["url"]),
        intake=IntakeSection(**values["intake"]),
        batch=BatchSection(**values["batch"]),
        retry=RetrySection(**values["retry"]),
        concurrency=ConcurrencySection(**values["concurrency"]),
        warehouse=_warehouse(values["warehouse"], hive_password),
        archive=archive_section(values["archive"], secrets["archive"]),
        cleanup=CleanupSection(**values["cleanup"]),
        control=ControlSection(**values["control"]),
        feeds=_feeds(values["feeds"]),
        status_file=(values["status_file"] or {}).get("path"),
        metrics=_metrics(values["metrics"]),
        alerts=_alerts(values["alerts"], secrets["smtp_password"]),
        inactive=inactive,
        silent=silent,
    )


def _warehouse(values: Mapping[str, Any], hive_password: str | None) -> WarehouseSection:
    hive = _hive(values["hive"], hive_password) if values["kind"] == "hive" else None
    return WarehouseSection(
        kind=values["kind"],
        columns=values["columns"],
        embedded_root=values["embedded"]["root"],
        hive=hive,
        impala=_impala(values, hive, hive_password),
    )


def _hive(values: Mapping[str, Any], password: str | None) -> HiveSection:
    names = (field.name for field in fields(HiveSection) if field.name != "password")
    password = password if values["auth"] == "LDAP" else None
    return HiveSection(**{name: values[name] for name in names}, password=password)


def _impala(
    values: Mapping[str, Any], hive: HiveSection | None, password: str | None
) -> ImpalaSection | None:
    if values["impala"] is None or hive is None:
        return None
    password = password if values["impala"]["auth"] == "LDAP" else None
    return ImpalaSection(**values["impala"], username=hive.username, password=password)


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


def _feeds(values: Mapping[str, Mapping[str, Any]]) -> tuple[Feed, ...]:
    return tuple(feed for file_type, each in values.items() for feed in expand(file_type, each))
