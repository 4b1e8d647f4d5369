"""SFTP servers of other makers: names that are taken already, and taken in the very moment."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
from typing import TYPE_CHECKING

import pytest

from support.fault_site import PATIENCE, Site, records
from support.mina import running_mina
from support.sftp_servers import running_dropbear, running_proftpd, running_rclone

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from support.campaigns import Campaign
    from support.sftp_servers import SftpServer

    Start = Callable[[Path], AbstractContextManager[SftpServer]]

pytestmark = pytest.mark.faults

SERVERS: dict[str, Start] = {
    "rclone": running_rclone,
    "proftpd": running_proftpd,
    "dropbear": running_dropbear,
    "mina": running_mina,
}
# Its rename replaces, its hard links are none, it creates what exists: no name is safe there.
REFUSED = "rclone"


class Others:
    """Somebody else who uses the archive: puts files of its own there, never over what is there."""

    def __init__(self, campaign: Campaign, site: Site) -> None:
        self._rng = campaign.rng
        self._site = site
        self._threads: list[threading.Thread] = []

    def take(self, name: str, after: float) -> None:
        """Take the name that a file of ours would get, so many seconds from now."""
        content = gzip.compress(records(self._rng, 500))
        thread = threading.Timer(after, self._put, (f"eLUX/cdr/{name}", content))
        thread.start()
        self._threads.append(thread)

    def _put(self, name: str, content: bytes) -> None:
        path = self._site.places.archive / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), path.open("xb", buffering=0) as file:
            self._site.book.foreign[name] = content
            file.write(content)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()
        self._threads.clear()


def a_round(campaign: Campaign, site: Site, others: Others) -> None:
    """Two files that want one name, others that somebody else is about to take; then a kill."""
    rng = campaign.rng
    for _ in range(rng.randint(2, 5)):
        name = f"{rng.randrange(10_000):04}.csv"  # now and then one that was there before
        if rng.random() < 0.6:
            others.take(f"{name}.gz", rng.choice((0, rng.uniform(0.1, 0.6))))
        text = records(rng)
        site.deliver(name, records(rng))
        site.deliver(f"{name}.gz", gzip.compress(text), text)
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, 0.6))  # a moment like any other
        site.kill()
        site.start()
    others.wait()
    campaign.tried()


def begin_the_ledger_anew(site: Site) -> None:
    site.finish()
    for path in site.places.ledger.parent.iterdir():
        path.unlink()
    site.start()


@pytest.mark.parametrize("maker", SERVERS)
def test_other_servers(campaign: Campaign, maker: str) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(SERVERS[maker](campaign.root / "server"))
        site = Site(campaign.root, moved={"archive": server.root / "archive"})
        site.places.archive.mkdir()
        site.configure(server, remote=f"{server.remote_root.rstrip('/')}/archive")
        stack.callback(site.kill)
        others = Others(campaign, site)
        stack.callback(others.wait)
        site.start()
        for number in range(rounds := campaign.size(sample=5, whole=150)):
            a_round(campaign, site, others)
            if number == rounds // 2 and maker != REFUSED:
                begin_the_ledger_anew(site)
        site.finish(within=10 if maker == REFUSED else PATIENCE)
        verdict = site.reader.now() if maker == REFUSED else site.reader.in_the_end()
        campaign.ends(len(site.book.contents), verdict)
