"""Mounts that come and go while the daemon runs, and mounts that are another place's twin."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from support.fault_site import Site, records
from support.sshd import running_sshd
from support.verdicts import Verdict, files_below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.campaigns import Campaign

pytestmark = pytest.mark.faults

ON_ITS_WAY = 1.5  # seconds


class Share:
    """A directory that is mounted at `place`; without it an empty one is there."""

    def __init__(self, behind: Path, place: Path) -> None:
        behind.mkdir(parents=True, exist_ok=True)
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self._behind = behind
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "--bind", str(self._behind), str(self.place)], check=True)
        self.is_mounted = True

    def clear(self) -> None:
        """Remove what was written there while it was not mounted."""
        for name in files_below(self.place):
            (self.place / name).unlink()

    def unmount(self) -> None:
        """As when a server or a disk goes, whatever is open there."""
        subprocess.run(["umount", "--lazy", str(self.place)], check=True)
        self.is_mounted = False


@contextlib.contextmanager
def share(behind: Path, place: Path) -> Iterator[Share]:
    made = Share(behind, place)
    try:
        yield made
    finally:
        if made.is_mounted:
            made.unmount()


def deliver(campaign: Campaign, site: Site, at_most: int = 8) -> None:
    for _ in range(campaign.rng.randint(2, at_most)):
        number = len(site.book.contents)
        site.deliver(f"{number:05}.csv", records(campaign.rng))
        time.sleep(campaign.rng.uniform(0, 0.1))  # files come one by one


def goes_and_comes(campaign: Campaign, site: Site, shared: Share, verdict: Verdict) -> None:
    """Take it away for a while; nothing may be written to what is there instead.

    But what was on its way to a server: it is asked for the mark once a second at most.
    """
    deliver(campaign, site)
    shared.unmount()
    on_its_way: set[str] = set()
    if "sftp" in site.config.read_text():
        time.sleep(ON_ITS_WAY)  # what the server had taken before arrives
        on_its_way = files_below(shared.place)
    if not site.is_running() or campaign.rng.random() < 0.3:
        site.stop()
        site.start()  # a start finds it away
    deliver(campaign, site)
    time.sleep(campaign.rng.uniform(0.2, 1.5))  # a moment like any other
    written = files_below(shared.place) - on_its_way
    verdict.wrong += [f"not mounted: {name}" for name in sorted(written)]
    shared.clear()
    shared.mount()
    campaign.tried()


@pytest.mark.parametrize("where", ["archive", "archive-by-sftp", "warehouse"])
def test_vanishing_places(campaign: Campaign, where: str) -> None:
    name, verdict = where.partition("-")[0], Verdict()
    with contextlib.ExitStack() as stack:
        place = campaign.root / "mount" / name
        shared = stack.enter_context(share(campaign.root / "behind" / name, place))
        site = Site(campaign.root, moved={name: place})
        stack.callback(site.kill)
        site.places.archive.mkdir(exist_ok=True)
        if "sftp" in where:
            site.configure(stack.enter_context(running_sshd(campaign.root / "sshd")))
        site.start()
        deliver(campaign, site)
        site.does_all()
        for _ in range(campaign.size(sample=4, whole=100)):
            goes_and_comes(campaign, site, shared, verdict)
        site.finish()
        verdict.add(site.reader.in_the_end(f"dependency {name}"))
        campaign.ends(len(site.book.contents), verdict)


@pytest.mark.parametrize("archive", ["directory", "sftp"])
def test_an_archive_that_is_the_feed(campaign: Campaign, archive: str) -> None:
    """Refused or not, at the start or later: what was delivered is there in the end."""
    with contextlib.ExitStack() as stack:
        site = Site(campaign.root)
        stack.callback(site.kill)
        stack.enter_context(share(site.feed, site.places.archive / "eLUX" / "cdr"))
        server = None
        if archive == "sftp":
            server = stack.enter_context(running_sshd(campaign.root / "sshd"))
        site.configure(server, compression="none")
        for _ in range(campaign.size(sample=2, whole=20)):
            deliver(campaign, site)
            site.start()
            deliver(campaign, site)
            site.finish(within=15)
            campaign.tried()
        campaign.ends(len(site.book.contents), site.reader.now())
