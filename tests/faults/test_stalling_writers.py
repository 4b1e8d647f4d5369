"""Writers of every kind that pause for longer than `settle_for` while they have their file open."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from support.fault_site import Site, records
from support.sshd import running_sshd
from support.stallers import STALLERS

if TYPE_CHECKING:
    from pathlib import Path

    from support.campaigns import Campaign
    from support.sshd import SshServer
    from support.stallers import Staller

pytestmark = pytest.mark.faults

AT_ONCE = 24
SETTLE_FOR = "300ms"
PAUSES = (0.4, 1.3)  # seconds: longer than that


def through(server: SshServer, *options: str) -> Staller:
    """Return a sender that uses the real scp, at a pace with pauses between its blocks."""

    def send(path: Path, data: bytes, pause: float) -> None:
        source = server.directory / path.name
        source.write_bytes(data)
        rate = int(len(data) / 1024 * 8 / (3 * pause))  # kbit/s
        command = [
            "scp", "-q", "-l", str(rate), *options, "-P", str(server.port), "-i",
            str(server.identity), "-o", f"UserKnownHostsFile={server.known_hosts}", str(source),
            f"{server.username}@{server.host}:{path}",
        ]  # fmt: skip
        subprocess.run(command, check=False)

    return send


def test_stalling_writers(campaign: Campaign) -> None:
    site = Site(campaign.root)
    site.configure(settle_for=SETTLE_FOR)
    try:
        with running_sshd(campaign.root / "sshd") as server, ThreadPoolExecutor(AT_ONCE) as pool:
            senders = [*STALLERS, through(server), through(server, "-O")]
            site.start()
            for number in range(campaign.size(sample=10, whole=300) * len(senders)):
                data = records(campaign.rng, 160_000)
                name = f"{number:05}.csv"
                site.book.put(f"eLUX/cdr/{name}", data)
                pause = campaign.rng.uniform(*PAUSES)
                pool.submit(senders[number % len(senders)], site.feed / name, data, pause)
                campaign.tried()
        site.does_all()
        site.finish()
    finally:
        site.kill()
    campaign.ends(len(site.book.contents), site.reader.in_the_end())
