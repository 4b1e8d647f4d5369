"""Builds the frozen sections from values that were read without a mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupd.config.feeds import expand
from backupd.config.sections import (
    ArchiveSection,
    BatchSection,
    CleanupSection,
    ConcurrencySection,
    Config,
    ControlSection,
    IntakeSection,
    LedgerSection,
    RetrySection,
    WarehouseSection,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupd.config.urls import ArchiveUrl
    from backupd.core.records import Feed


def build(
    values: Mapping[str, Any], secrets: Mapping[str, Any], inactive: tuple[str, ...]
) -> Config:
    """Return the config. The sections' fields are named like the schema's keys."""
    return Config(
        environment=values["environment"],
        ledger=LedgerSection(path=values["ledger"]["url"]),
        intake=IntakeSection(**values["intake"]),
        batch=BatchSection(**values["batch"]),
        retry=RetrySection(**values["retry"]),
        concurrency=ConcurrencySection(**values["concurrency"]),
        warehouse=_warehouse(values["warehouse"]),
        archive=_archive(values["archive"], secrets),
        cleanup=CleanupSection(**values["cleanup"]),
        control=ControlSection(**values["control"]),
        feeds=_feeds(values["feeds"]),
        inactive=inactive,
    )


def _warehouse(values: Mapping[str, Any]) -> WarehouseSection:
    return WarehouseSection(
        kind=values["kind"],
        columns=values["columns"],
        embedded_root=values["embedded"]["root"],
    )


def _archive(values: Mapping[str, Any], secrets: Mapping[str, Any]) -> ArchiveSection:
    url: ArchiveUrl = values["url"]
    return ArchiveSection(
        scheme=url.scheme,
        root=url.root,
        host=url.host,
        port=url.port,
        username=url.username,
        compression=values["compression"],
        compression_level=values["compression_level"],
        verify=values["verify"],
        **secrets,
    )


def _feeds(values: Mapping[str, Mapping[str, Any]]) -> tuple[Feed, ...]:
    return tuple(feed for file_type, each in values.items() for feed in expand(file_type, each))
