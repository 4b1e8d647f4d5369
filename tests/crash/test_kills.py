"""SIGKILL at any moment, any number of times: nothing lost, nothing doubled, nothing left behind.

A test's id holds the seed of its deliveries and of the moments at which it kills.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.crash_site import PATIENCE, CrashSite
from support.sshd import running_sshd
from support.victim import after, after_claim, after_events, after_telling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sshd import SshServer

STAGES = ("manifest", "load", "merge", "ship", "cleanup")
EVENTS_OF_A_FILE = 12  # that it leaves in the ledger on its way from first seen to done
AT_WORK = 0.02  # seconds after its beginning in which most stages are still at work


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SshServer | None]:
    if request.param == "directory":
        yield None
        return
    with running_sshd(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, seed: int, server: SshServer | None) -> Iterator[CrashSite]:
    site = CrashSite(tmp_path / "site", seed, server)
    site.deliveries.one_of_each()
    with contextlib.closing(site):
        yield site
    print(site.report())  # noqa: T201 - pytest shows it where a test fails, or with -s


def new_files(site: CrashSite) -> None:
    """Found by their events, while it is at work on those that its first scan found."""
    site.victim.reaches(after_telling("ready"), PATIENCE)
    site.deliveries.some(2)


def connections_cut(site: CrashSite) -> None:
    assert site.server
    site.victim.reaches(after_claim("ship"), PATIENCE)
    site.server.drop_connections()


def server_frozen(site: CrashSite) -> None:
    assert site.server
    site.victim.reaches(after_claim("ship"), PATIENCE)
    site.server.freeze()


def server_frozen_for_a_while(site: CrashSite) -> None:
    assert site.server
    server_frozen(site)
    site.victim.reaches(after(site.victim.age + 2), PATIENCE)
    site.server.thaw()


def server_thawed(site: CrashSite) -> None:
    assert site.server
    site.victim.reaches(after_claim("ship"), PATIENCE)
    site.server.thaw()


def server_restarted(site: CrashSite) -> None:
    assert site.server
    site.victim.reaches(after_claim("ship"), PATIENCE)
    site.server.stop()
    site.deliveries.small()  # should all the others be shipped by now
    site.victim.reaches(after_telling("dependency down"), PATIENCE)
    site.server.start()


def kill_at_every_kind_of_moment(site: CrashSite) -> None:
    rng, kill = site.rng, site.kill_once
    finished = [after_telling(f"{stage} finished") for stage in STAGES]
    claimed = [after_claim(stage, rng.uniform(0, AT_WORK)) for stage in (*STAGES, "ship", "ship")]
    kills = [partial(kill, after_telling(event)) for event in ("started", "ready")]
    kills += [partial(kill, moment, new_files) for moment in finished]
    kills += [partial(kill, moment, once=rng.random() < 0.5) for moment in claimed]
    kills += [partial(kill, after_events(rng.randint(1, EVENTS_OF_A_FILE))) for _ in range(2)]
    kills += [partial(kill, after(rng.uniform(0.1, 1.5))) for _ in range(3)]
    rng.shuffle(kills)
    for each in kills:
        each()


def kill_during_faults_of_the_server(site: CrashSite) -> None:
    assert site.server
    shipped, shipping = after_telling("ship finished"), after_claim("ship")
    site.kill_once(shipped, connections_cut)
    site.kill_once(shipping, server_frozen)
    site.server.thaw()
    site.kill_once(shipped, server_frozen_for_a_while)
    site.kill_once(after(site.rng.uniform(1, 2)), server_frozen)
    site.kill_once(shipped, server_thawed)  # with what the daemon before had sent it last
    site.kill_once(shipped, server_restarted)


@pytest.mark.slow
@pytest.mark.parametrize(("server", "seed"), [("directory", 11), ("sftp", 12)], indirect=["server"])
def test_killed_hundreds_of_times(site: CrashSite) -> None:
    for _ in range(3):
        kill_at_every_kind_of_moment(site)
        if site.server:
            kill_during_faults_of_the_server(site)
    site.run_to_the_end()
    assert {*STAGES, "half shipped"} <= set(site.hits), "some stage was never hit"


@pytest.mark.slow
def test_that_a_file_was_at_work_at_every_kill_is_not_held_against_it(tmp_path: Path) -> None:
    site = CrashSite(tmp_path / "site", seed=3, pauses=("10ms", "20ms"))
    site.deliveries.several_mib()
    with contextlib.closing(site):
        for _ in range(17):
            site.victim.start()
            site.victim.reaches(after_claim("ship"), PATIENCE)
            site.victim.kill()
        site.run_to_the_end()
