"""The power goes: of the host with feeds, ledger and warehouse, of the archive's, or of both."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from support.blocks import disk
from support.deliveries import FEEDS, Deliveries
from support.fault_site import Site
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.blocks import Disk
    from support.campaigns import Campaign
    from support.sshd import SshServer

pytestmark = pytest.mark.faults


@contextlib.contextmanager
def two_disks(root: Path, kind: str) -> Iterator[tuple[Disk, Disk]]:
    """One for feeds, ledger and warehouse, one for the archive."""
    with (
        disk(root / "host.image", root / "host", kind) as host,
        disk(root / "archive.image", root / "far", kind) as archive,
    ):
        yield host, archive


def site_on(campaign: Campaign, host: Disk, archive: Disk) -> tuple[Site, Deliveries]:
    moved = {name: host.place / name for name in ("feeds", "ledger", "warehouse")}
    moved["archive"] = archive.place / "archive"
    site = Site(campaign.root, feeds=FEEDS, moved=moved)
    moved["archive"].mkdir()
    return site, Deliveries(moved["feeds"], moved["archive"], campaign.rng)


def deliver(campaign: Campaign, deliveries: Deliveries, *disks: Disk) -> None:
    """What the senders have not flushed is theirs to lose, so they flush."""
    deliveries.some(campaign.rng.randint(2, 6))
    for each in disks:
        each.flush()


def power_comes_back(each: Disk) -> None:
    each.unmount()
    each.mount()


def ends(campaign: Campaign, site: Site, deliveries: Deliveries, alarms: str = "") -> None:
    deliveries.owed_companions()
    site.finish()
    site.book.add(deliveries)
    campaign.ends(len(deliveries.contents), site.reader.in_the_end(alarms))


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_power_cuts_of_the_host(campaign: Campaign, kind: str) -> None:
    with two_disks(campaign.root, kind) as (host, archive):
        site, deliveries = site_on(campaign, host, archive)
        with contextlib.ExitStack() as stack:
            stack.callback(site.kill)
            for _ in range(campaign.size(sample=5, whole=150)):
                both = campaign.rng.random() < 0.5  # the archive is a directory of this host too
                deliver(campaign, deliveries, host, archive)
                site.start()
                deliver(campaign, deliveries, host, archive)
                time.sleep(campaign.rng.uniform(0, 0.8))  # a moment like any other
                for each in (host, archive)[: both + 1]:
                    each.cut_power()
                site.kill()
                for each in (host, archive)[: both + 1]:
                    power_comes_back(each)
                campaign.tried()
            ends(campaign, site, deliveries)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_power_cuts_of_the_archive(campaign: Campaign, kind: str) -> None:
    with (
        two_disks(campaign.root, kind) as (host, archive),
        running_sshd(campaign.root / "sshd") as server,
        contextlib.ExitStack() as stack,
    ):
        site, deliveries = site_on(campaign, host, archive)
        site.configure(server)
        stack.callback(site.kill)
        site.start()
        for _ in range(campaign.size(sample=5, whole=150)):
            deliver(campaign, deliveries, host, archive)
            time.sleep(campaign.rng.uniform(0, 1.2))  # a moment like any other
            its_host_dies(server, archive)
            campaign.tried()
        ends(campaign, site, deliveries, alarms="dependency archive")


def its_host_dies(server: SshServer, archive: Disk) -> None:
    """The archive's host: its server and its disk, for as long as a start takes."""
    archive.cut_power()
    server.stop()
    power_comes_back(archive)
    server.start()
