"""Which incidents open and close, and which parked files are one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backupd.alerts.tracker import changes
from backupd.core.incidents import Incident, Kind, ParkedGroup, Troubles, likeness

NOW = 1_795_435_200.0
QUIET = Troubles(open=[], parked=[], lasting=frozenset())
GROUP = ParkedGroup(feed="traffic/a", trouble="its name is odd", reason="its name is odd: x")


def incident(kind: Kind, cause: str, *, feed: str = "", trouble: str = "") -> Incident:
    return Incident(
        id="1",
        kind=kind,
        cause=cause,
        feed=feed,
        trouble=trouble,
        reason="",
        opened_at=NOW,
    )


PARKED = incident(
    Kind.PARKED, "parked:traffic/a:its name is odd", feed="traffic/a", trouble="its name is odd"
)
AWAY = incident(Kind.FEED, "feed:traffic/a", feed="traffic/a")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("it says 12, 34 bytes, the file has 56", "it says 7, 8 bytes, the file has 9"),
        ("it holds 'abc def'; expected: the line", "it holds ''; expected: the line"),
        ("cannot read /in/a/x.csv: Input/output error", "cannot read /in/b/y: Input/output error"),
        ("gave up after 8 attempts: it is odd", "gave up after 3 attempts: it is odd"),
        ("a duplicate of 19f0a1b2c3d4e5f60718", "a duplicate of 19f0a1b2c3d4e5f60719"),
    ],
)
def test_reasons_that_differ_in_what_is_one_files_own_are_alike(one: str, other: str) -> None:
    assert likeness(one, []) == likeness(other, [])


def test_names_are_taken_out_as_they_are_and_as_they_are_shown() -> None:
    assert likeness("its name is odd: a\\nb.csv", ["a\nb.csv"]) == "its name is odd: …"
    assert likeness("x.csv vanished", ["/in/x.csv", "x.csv"]) == "… vanished"


def test_other_reasons_are_not_alike() -> None:
    assert likeness("it vanished", []) != likeness("it is a directory", [])


def test_parked_files_open_an_incident_once() -> None:
    troubles = replace(QUIET, parked=[GROUP], lasting=frozenset({(GROUP.feed, GROUP.trouble)}))
    (opened,) = changes(troubles, {}, NOW).opened
    assert (opened.kind, opened.feed, opened.reason) == (Kind.PARKED, "traffic/a", GROUP.reason)
    again = changes(replace(troubles, open=[opened]), {}, NOW)
    assert not again.opened
    assert not again.closed


def test_it_lasts_while_its_files_are_tried_again_and_ends_when_they_went_on() -> None:
    trying = Troubles(open=[PARKED], parked=[], lasting=frozenset({(GROUP.feed, GROUP.trouble)}))
    assert not changes(trying, {}, NOW).closed
    gone_on = replace(trying, lasting=frozenset())
    assert changes(gone_on, {}, NOW).closed == [PARKED]


def test_a_directory_that_is_away_is_an_incident_until_it_is_back() -> None:
    (opened,) = changes(QUIET, {"traffic/a": "not mounted"}, NOW).opened
    assert (opened.cause, opened.reason) == ("feed:traffic/a", "not mounted")
    lasting = replace(QUIET, open=[AWAY])
    assert not changes(lasting, {"traffic/a": "not mounted"}, NOW).closed
    assert changes(lasting, {}, NOW).closed == [AWAY]


def test_before_anyone_looked_at_the_directories_their_incidents_stay() -> None:
    assert not changes(replace(QUIET, open=[AWAY]), None, NOW).closed


def test_what_is_down_is_closed_by_who_tries_it_and_not_by_the_book() -> None:
    down = incident(Kind.DEPENDENCY, "archive")
    assert not changes(replace(QUIET, open=[down]), {}, NOW).closed
