"""A fault of the archive pauses what shares it and nothing else, costs nothing, and heals."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.core.incidents import NO_ROOM, ROOM_CAUSE
from backupd.core.stages import Status
from support.daemon import until
from support.scope_site import (
    HOMES,
    LAUNCHER,
    Site,
    file_in_its_place,
    full,
    mode,
    not_made,
    read_only,
    small_disk,
)
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Fault = Callable[[Path], AbstractContextManager[None]]


@pytest.fixture(scope="module", params=["local", "sftp"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """One daemon for all of these tests; each leaves it as it found it."""
    root = tmp_path_factory.mktemp("site")
    with contextlib.ExitStack() as stack:
        server = None
        if request.param == "sftp":
            server = stack.enter_context(running_sshd(root / "sshd", launcher=LAUNCHER))
        site = Site(root, server)
        stack.enter_context(site.daemon(*LAUNCHER))
        site.bring()
        site.all_through()
        yield site


NO_RIGHTS = pytest.param(partial(mode, bits=0), id="no rights")
NOT_WRITABLE = pytest.param(partial(mode, bits=0o555), id="not writable")
A_FILE = pytest.param(file_in_its_place, id="a file")
READ_ONLY = pytest.param(read_only, id="read-only")
FULL = pytest.param(full, id="full")
SLOW_READ_ONLY = pytest.param(read_only, id="read-only", marks=pytest.mark.slow)
SLOW_FULL = pytest.param(full, id="full", marks=pytest.mark.slow)


def waits(site: Site, place: str, fault: Fault, *, cause: str, feeds: set[str]) -> None:
    """Have a fault in a place of the archive; see who waits, who does not, and what is told."""
    before = len(site.incidents())
    with fault(site.archive / place):
        site.bring(4)
        site.all_through(HOMES.keys() - feeds)
        site.held_up(feeds, 4)
        until(lambda: len(site.incidents()) > before, site.log)
        site.bring(2)
        site.all_through(HOMES.keys() - feeds)
        site.held_up(feeds, 6)
        (told,) = site.incidents()[before:]
        assert (told.cause, told.closed_at) == (cause, None)
        assert site.spent(feeds) == []
    site.all_through()
    until(lambda: all(each.closed_at for each in site.incidents()), site.log)
    assert len(site.incidents()) == before + 1, site.told_of(HOMES)
    assert site.spent(HOMES) == []


@pytest.mark.parametrize("fault", [NO_RIGHTS, A_FILE, READ_ONLY, FULL, NOT_WRITABLE])
def test_a_directory_that_takes_nothing_holds_up_its_feed_alone(site: Site, fault: Fault) -> None:
    waits(site, "three", fault, cause="archive:three", feeds={"three"})


@pytest.mark.parametrize("fault", [NO_RIGHTS, A_FILE, SLOW_READ_ONLY, SLOW_FULL])
def test_what_two_feeds_share_is_one_incident_and_holds_up_both(site: Site, fault: Fault) -> None:
    waits(site, "pair", fault, cause="archive:pair", feeds={"one", "two"})


@pytest.mark.parametrize("fault", [NO_RIGHTS, SLOW_READ_ONLY, FULL])
def test_where_nothing_is_taken_the_archive_is_down(site: Site, fault: Fault) -> None:
    waits(site, "", fault, cause="archive", feeds=set(HOMES))


def test_a_directory_that_cannot_be_made_holds_up_its_feed_alone(site: Site) -> None:
    waits(site, "deep/down", not_made, cause="archive:deep/down/four", feeds={"four"})


@pytest.mark.parametrize("fault", [NO_RIGHTS, NOT_WRITABLE, SLOW_READ_ONLY])
def test_files_on_their_way_when_it_begins_lose_nothing_either(site: Site, fault: Fault) -> None:
    before = len(site.incidents())
    site.bring(20)
    with fault(site.archive / "pair/two"):
        site.bring(10)
        site.all_through({"one", "three", "four"})
        until(lambda: len(site.incidents()) > before, site.log)
    site.all_through()
    until(lambda: all(each.closed_at for each in site.incidents()), site.log)
    assert [each.cause for each in site.incidents()[before:]] == ["archive:pair/two"]
    assert site.spent(HOMES) == []


def test_when_a_part_is_mended_the_rest_stays_one_incident(site: Site) -> None:
    before = len(site.incidents())
    with mode(site.archive / "pair/one", 0), mode(site.archive / "pair/two", 0o555):
        with mode(site.archive / "pair", 0):
            site.bring(2)
            site.held_up({"one", "two"}, 2)
            until(lambda: len(site.incidents()) > before, site.log)
        site.bring(2, feeds=("three",))
        site.all_through({"three", "four"})
    site.all_through()
    until(lambda: all(each.closed_at for each in site.incidents()), site.log)
    assert {each.cause for each in site.incidents()[before:]} == {"archive:pair"}
    assert site.spent(HOMES) == []


def test_a_file_too_large_for_what_is_free_waits_alone(site: Site) -> None:
    before = len(site.incidents())
    with small_disk(site.archive / "three"):
        site.bring(2, size=4_000_000, feeds=["three"])
        site.bring(5)
        site.all_through(HOMES.keys() - {"three"})
        until(
            lambda: (
                [f.trouble for f in site.files() if f.status is not Status.DONE] == [NO_ROOM] * 2
            ),
            lambda: site.told_of(HOMES),
        )
        until(lambda: len(site.incidents()) > before, site.log)
        assert [each.cause for each in site.incidents()[before:]] == [ROOM_CAUSE]
        assert site.spent(["three"]) == []
    site.all_through()
    until(lambda: all(each.closed_at for each in site.incidents()), site.log)
    assert len(site.incidents()) == before + 1
    assert site.spent(HOMES) == []


def test_a_single_run_ends_when_all_is_through_that_can_be(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.bring()
    assert site.once().returncode == 0
    with file_in_its_place(site.archive / "three"):
        site.bring(2)
        assert site.once().returncode == 1
        assert {f.file_type for f in site.files() if f.status is not Status.DONE} == {"three"}
        assert site.spent(["three"]) == []
        said = site.ask("show", next(f.id for f in site.files() if f.status is Status.WAITING))
        assert "archive:three is down" in said.stdout
    assert site.once().returncode == 0
    assert all(each.closed_at for each in site.incidents())
