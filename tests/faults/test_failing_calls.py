"""System calls of a running daemon and its carrier fail, now this one, now that."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from support.deliveries import FEEDS, Deliveries
from support.fault_site import Site
from support.injection import Fault, failing

if TYPE_CHECKING:
    from support.campaigns import Campaign

pytestmark = pytest.mark.faults

FOR_SO_LONG = 3.0  # seconds that calls of one kind fail


def a_fault(campaign: Campaign, site: Site, deliveries: Deliveries) -> None:
    if not site.is_running():  # as systemd starts it again
        site.start()
    pids = [pid for pid in (site.pid, site.carrier()) if pid]
    fault = Fault.chosen(campaign.rng)
    with (campaign.root / "faults").open("a") as told:
        told.write(f"{campaign.row.tries}: {fault}\n")
    with failing(fault, pids, campaign.root / f"strace-{campaign.row.tries:04}"):
        deliveries.some(campaign.rng.randint(3, 8))
        until = time.monotonic() + FOR_SO_LONG
        while time.monotonic() < until and site.is_running():
            time.sleep(0.05)  # calls fail meanwhile
    campaign.tried()


def test_failing_calls(campaign: Campaign) -> None:
    site = Site(campaign.root, feeds=FEEDS)
    deliveries = Deliveries(site.places.feeds, site.places.archive, campaign.rng)
    deliveries.one_of_each()
    with contextlib.ExitStack() as stack:
        stack.callback(site.kill)
        for _ in range(campaign.size(sample=16, whole=400)):
            a_fault(campaign, site, deliveries)
        deliveries.owed_companions()
        site.finish()
    site.book.add(deliveries)
    campaign.ends(
        len(deliveries.contents), site.reader.in_the_end("dependency|feed|untaken|archive")
    )
