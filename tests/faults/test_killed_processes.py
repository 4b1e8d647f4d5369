"""SIGKILL of either process, at any moment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from support.deliveries import FEEDS, Deliveries
from support.fault_site import Site
from support.sshd import running_sshd

if TYPE_CHECKING:
    from support.campaigns import Campaign

pytestmark = pytest.mark.faults


SOON = 3.0  # seconds: after a death, the next carrier comes with the next file


def kill_again_and_again(campaign: Campaign, site: Site, deliveries: Deliveries) -> None:
    """Kill the carrier some times in the life of each daemon, then the daemon."""
    kills = campaign.size(sample=24, whole=500)
    while campaign.row.tries < kills:
        deliveries.some(campaign.rng.randint(2, 6))
        site.start()
        for _ in range(campaign.rng.randrange(4)):
            kill_carrier(campaign, site)
            deliveries.some(campaign.rng.randint(1, 4))
        time.sleep(campaign.rng.uniform(0, 0.4))
        site.kill()
        campaign.tried()


def kill_carrier(campaign: Campaign, site: Site) -> None:
    time.sleep(campaign.rng.uniform(0.05, 0.6))  # the moment is chosen at random
    with contextlib.suppress(AssertionError):  # none is started while no file needs one
        site.until(lambda: site.carrier() or not site.is_running(), "there is one", SOON)
    pid = site.carrier()
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        campaign.tried()


@pytest.mark.parametrize("archive", ["directory", "sftp"])
def test_kills(campaign: Campaign, archive: str) -> None:
    with contextlib.ExitStack() as stack:
        site = Site(campaign.root, feeds=FEEDS)
        stack.callback(site.kill)
        deliveries = Deliveries(site.places.feeds, site.places.archive, campaign.rng)
        deliveries.one_of_each()
        if archive == "sftp":
            site.places.archive.mkdir(exist_ok=True)
            site.configure(stack.enter_context(running_sshd(campaign.root / "sshd")))
        kill_again_and_again(campaign, site, deliveries)
        deliveries.owed_companions()
        site.finish()
        site.book.add(deliveries)
        campaign.ends(len(deliveries.contents), site.reader.in_the_end())
