"""A disk is full for a while: of the archive, the warehouse, the ledger, all at once."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import pytest

from support.blocks import disk
from support.deliveries import FEEDS, Deliveries
from support.fault_site import Site
from support.sshd import running_sshd

if TYPE_CHECKING:
    from pathlib import Path

    from support.campaigns import Campaign

pytestmark = pytest.mark.faults


def fill(place: Path, rng_share: float) -> None:
    """Leave only so many bytes of a disk free that some writes fit in, and some do not."""
    space = os.statvfs(place)
    free = space.f_bavail * space.f_frsize
    with (place / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, max(free - int(rng_share * 200_000), 1))


def free(place: Path) -> None:
    (place / "ballast").unlink()


@pytest.mark.parametrize("where", ["archive", "archive-by-sftp", "warehouse", "ledger"])
def test_full_disks(campaign: Campaign, where: str) -> None:
    name = where.partition("-")[0]
    with contextlib.ExitStack() as stack:
        small = stack.enter_context(
            disk(campaign.root / "small.image", campaign.root / "small", mib=24)
        )
        site = Site(campaign.root, feeds=FEEDS, moved={name: small.place / name})
        stack.callback(site.kill)
        site.places.archive.mkdir(exist_ok=True)
        if "sftp" in where:
            site.configure(stack.enter_context(running_sshd(campaign.root / "sshd")))
        deliveries = Deliveries(site.places.feeds, site.places.archive, campaign.rng)
        for _ in range(campaign.size(sample=4, whole=60)):
            if not site.is_running():
                site.start()
            fill(small.place, campaign.rng.random())
            for _ in range(campaign.rng.randint(4, 10)):
                deliveries.small()
                time.sleep(campaign.rng.uniform(0, 0.3))  # files come one by one
            free(small.place)
            campaign.tried()
        site.finish()
        site.book.add(deliveries)
        # Where some writes fit in, the archive is not refused as a whole.
        told = rf"dependency {name}|^{name} (archive:|room)"
        campaign.ends(len(deliveries.contents), site.reader.in_the_end(told))
