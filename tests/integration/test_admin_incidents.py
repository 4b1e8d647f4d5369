"""backupd-admin incidents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.alerts import IncidentTracker
from backupd.core.incidents import Notice, Occasion, Outcome, Way
from backupd.core.stages import Stage
from support.admin import admin, lines, screen
from support.stories import Maker, prepare, write_config

if TYPE_CHECKING:
    from pathlib import Path


async def _troubles(maker: Maker) -> None:
    await maker.to(await maker.seen("b_2.csv", feed="traffic/b"), Stage.SHIP)
    await maker.parked(await maker.seen("a_1.csv"), "its name is odd: a_1.csv")
    await maker.outage("archive", "connection refused")
    await maker.outage("warehouse", "its disk is full")
    await maker.ledger.close_incidents(["warehouse"], maker.now + 60)
    await IncidentTracker(maker.ledger, dict).keep()
    troubles = await maker.ledger.troubles()
    told = Notice(
        incident_id=next(each.id for each in troubles.open if each.cause == "archive"),
        way=Way.TICKET,
        occasion=Occasion.OPENED,
        number=0,
        at=maker.now,
        outcome=Outcome.UNKNOWN,
        detail="sdp@example: the connection broke",
    )
    await maker.ledger.note_notices([told])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_config(tmp_path)
    prepare(path, _troubles)
    return path


def test_open_incidents_are_told_with_their_files_and_who_was_told(config: Path) -> None:
    archive, parked = lines(config, "incidents")
    assert (archive["cause"], archive["kind"], archive["files"]) == ("archive", "dependency", 1)
    assert archive["oldest"] == "b_2.csv"
    assert archive["told"][0]["outcome"] == "unknown"
    assert (parked["kind"], parked["feed"], parked["files"]) == ("parked", "traffic/a", 1)
    assert parked["reason"] == "its name is odd: a_1.csv"
    assert parked["until"] is None


def test_with_all_those_that_are_over_come_too(config: Path) -> None:
    over = [each for each in lines(config, "incidents", "--all") if each["until"]]
    assert [each["cause"] for each in over] == ["warehouse"]


def test_people_are_told_what_it_means_and_what_to_type(config: Path) -> None:
    shown = screen(config, "incidents", "--all")
    assert "archive is down, since 2026-11-23T12:" in shown
    assert "backupd check --probe" in shown
    assert "backupd-admin list --status parked --feed traffic/a" in shown
    assert "may or may not have been notified" in shown
    assert "warehouse is down: over" in shown


def test_status_shows_them_before_all_else(config: Path) -> None:
    shown = screen(config, "status")
    assert shown.index("2 open incidents") < shown.index("Feeds")


def test_without_any_that_is_said(tmp_path: Path) -> None:
    config = write_config(tmp_path)

    async def nothing(_: Maker) -> None:
        """Only the ledger is made."""

    prepare(config, nothing)
    assert admin(config, "incidents").stdout == "no open incident\n"
    assert lines(config, "incidents") == []


def test_watching_needs_a_terminal(config: Path) -> None:
    answer = admin(config, "status", "--watch")
    assert answer.exit_code == 2
    assert "needs a terminal" in answer.stderr
