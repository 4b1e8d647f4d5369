"""A racer against the daemon: files and directories change at the moment when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.fault_site import Site, records
from support.racer import Racer

if TYPE_CHECKING:
    from support.campaigns import Campaign

pytestmark = pytest.mark.faults


def test_races(campaign: Campaign) -> None:
    site = Site(campaign.root)
    outside = campaign.root / "outside"
    outside.mkdir()
    for number in range(20):
        (outside / f"precious-{number}.csv").write_bytes(records(campaign.rng))
    site.book.guard(outside)
    racer = Racer(site, campaign.rng, outside)
    try:
        site.start()
        acts = campaign.size(sample=2_500, whole=20_000)
        while racer.acts < acts:
            racer.act()
        campaign.tried(racer.acts)
        racer.close()
        site.finish()
    finally:
        site.kill()
    campaign.ends(len(site.book.contents), site.reader.in_the_end("feed|untaken"))
