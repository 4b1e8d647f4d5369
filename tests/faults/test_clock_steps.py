"""The clock is set while the daemon runs, back and forth, by seconds and by years."""

from __future__ import annotations

import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.deliveries import FEEDS, Deliveries
from support.fault_site import Site

if TYPE_CHECKING:
    from support.campaigns import Campaign

pytestmark = pytest.mark.faults

YEAR = 365 * 86_400
STEPS = (0, 3, -3, 3_600, -3_600, 86_400, -86_400, YEAR, -YEAR)  # seconds off the real time
SOURCE = Path(__file__).parent.parent / "support" / "clock.c"


class Clock:
    """What the daemon takes for the time; the times of files stay the kernel's."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self._file.write_bytes(bytes(8))
        library = directory / "clock.so"
        compiling = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(SOURCE)]
        subprocess.run(compiling, check=True)
        self.environ = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._file)}

    def set(self, offset: int) -> None:
        """Set it so many seconds before or after the real time."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("q", offset))


def a_step(campaign: Campaign, deliveries: Deliveries, clock: Clock) -> None:
    """Set it while files are on their way, and set it back while others are."""
    for offset in (campaign.rng.choice(STEPS), 0):
        deliveries.some(campaign.rng.randint(1, 5))
        time.sleep(campaign.rng.uniform(0, 0.3))  # a moment like any other
        clock.set(offset)
    campaign.tried()


def test_clock_steps(campaign: Campaign) -> None:
    site = Site(campaign.root, feeds=FEEDS)
    clock = Clock(campaign.root)
    site.environ = clock.environ
    deliveries = Deliveries(site.places.feeds, site.places.archive, campaign.rng)
    deliveries.one_of_each()
    try:
        for number in range(campaign.size(sample=20, whole=500)):
            if number % 5 == 0:
                site.stop()
                site.start()
            a_step(campaign, deliveries, clock)
        deliveries.owed_companions()
        site.book.add(deliveries)
        site.does_all(within=20)  # by the daemon that saw the clock step
        site.finish(within=20)
    finally:
        site.kill()
    campaign.ends(len(deliveries.contents), site.reader.in_the_end())
