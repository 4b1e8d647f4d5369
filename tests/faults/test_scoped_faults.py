"""A fault in one of ten feeds: the others go on as if nothing were wrong, and it is told once.

How fast the others go on is printed, beside what was usual just before: `-s` shows it. It is not
asserted, for a busy machine changes it as well, and from one moment to the next.
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import pytest

from support.campaigns import WHOLE
from support.scoped_faults import ALL, Fault
from support.sshd import running_sshd
from support.ten_feeds import NAMES, Pace, TenFeeds
from support.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.campaigns import Campaign

pytestmark = pytest.mark.faults

WINDOW = 30.0 if WHOLE else 10.0  # seconds; in a short one p99 is that of two or three files
BEGINS = 1.5  # seconds until files come through


def measured(site: TenFeeds, feeds: list[str]) -> Pace:
    """Return how files come through these feeds in a while, once they have begun to."""
    time.sleep(BEGINS)
    began = time.time()
    time.sleep(WINDOW)
    return site.pace(feeds, began, time.time())


@dataclass(frozen=True)
class Suffered:
    """What a fault in one feed did to the others, and what was told of it."""

    fault: Fault
    feed: str
    usual: Pace
    others: Pace
    parked: set[str]
    told: list[str]

    def __str__(self) -> str:
        return (
            f"{self.fault.name:42} in {self.feed}: the others' throughput"
            f" {self.others.throughput:.3f} ({self.usual.throughput:.3f} before), p99"
            f" {self.others.p99:.2f} s ({self.usual.p99:.2f} before), told {self.told}"
        )

    def amiss(self) -> Iterator[str]:
        """Yield what should not be so."""
        if self.parked != ({f"cdr/{self.feed}"} if self.fault.refuses else set()):
            yield f"files were parked, of {self.parked or 'no feed'}"
        told = [each for each in self.told if not each.startswith("parked ")]
        expected = [] if self.fault.told is None else [self.fault.told]
        if not same_beginnings(told, expected):
            yield f"it is to be told as {expected}"


def same_beginnings(texts: list[str], beginnings: list[str]) -> bool:
    pairs = zip_longest(texts, beginnings, fillvalue="")
    return all(beginning and text.startswith(beginning) for text, beginning in pairs)


def suffers(campaign: Campaign, site: TenFeeds, fault: Fault) -> Suffered:
    """Put the fault into a feed, take it away, wait until all is well again."""
    feed = campaign.rng.choice(NAMES)
    with site.senders():
        usual = measured(site, NAMES)
    site.settles()
    before, began = len(site.incidents()), time.time()
    with site.senders(), fault.put(site, feed, campaign.rng):
        if fault.told:
            site.until(lambda: len(site.incidents()) > before, f"{fault.name} is told")
        others = measured(site, [name for name in NAMES if name != feed])
    site.settles()
    told = [each for each, _ in site.incidents()[before:]]
    campaign.tried()
    return Suffered(fault, feed, usual, others, site.parked(began), told)


@pytest.mark.parametrize("archive", ["directory", "sftp"])
def test_scoped_faults(campaign: Campaign, archive: str) -> None:
    verdict = Verdict()
    with contextlib.ExitStack() as stack:
        site = TenFeeds(campaign.root)
        stack.callback(site.kill)
        stack.enter_context(site.disks())
        if archive == "sftp":
            site.configure(stack.enter_context(running_sshd(campaign.root / "sshd")))
        site.start()
        for fault in campaign.rng.sample(ALL, campaign.size(sample=3, whole=len(ALL))):
            suffered = suffers(campaign, site, fault)
            sys.stdout.write(f"{suffered}\n")
            sys.stdout.flush()
            verdict.wrong += [f"{each}: {suffered}" for each in suffered.amiss()]
        site.finish()
        in_the_end = site.reader.in_the_end()
        in_the_end.false_alarms.clear()  # what was told was looked at, fault by fault
        verdict.add(in_the_end)
        campaign.ends(len(site.book.contents), verdict)
