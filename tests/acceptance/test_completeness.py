"""The daemon says what should have come and did not, and takes it back when it comes."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from support.daemon import Daemon, Host, until
from support.mailbox import OPERATOR, mailbox

if TYPE_CHECKING:
    from pathlib import Path

    from support.mailbox import Mailbox

EXPECTED = {
    "feeds.traffic.expect.customer.a.every": '"5s"',
    "feeds.traffic.expect.customer.a.sequence_regex": r"'_(\d{3})\.csv$'",
    "feeds.traffic.expect.customer.a.sequence_wait": '"500ms"',
}


async def test_a_gap_and_a_late_file_are_told_and_end_by_themselves(tmp_path: Path) -> None:
    async with mailbox(tmp_path, login=False, starttls=False) as box:
        host = Host(
            tmp_path,
            {
                **EXPECTED,
                "alerts.after": '"0s"',
                "alerts.smtp_url": f'"smtp://127.0.0.1:{box.port}"',
                "alerts.from": '"backupd@example.org"',
                "alerts.to": f'["{OPERATOR}"]',
            },
        )
        await asyncio.to_thread(_story, host, box)


def _story(host: Host, box: Mailbox) -> None:
    with host.daemon() as daemon:
        host.deliver("a_001.csv")
        host.deliver("a_003.csv")
        gap = daemon.tells("incident opened", kind="gap", feed="traffic/a")
        assert "missing numbers: 2 (1): a_002.csv" in gap["reason"]
        until(lambda: "a_002.csv" in _text(box), lambda: _text(box))
        late = daemon.tells("incident opened", kind="late", feed="traffic/a")
        assert "where one is expected every 5.0 s" in late["reason"]
        _behind(host)

        host.deliver("a_002.csv")

        daemon.tells("incident closed", incident=gap["incident"])
        daemon.tells("incident closed", incident=late["incident"])
        assert daemon.stop() == 0


def _text(box: Mailbox) -> str:
    return "\n".join(mail.get_content() for mail in box.to(OPERATOR))


def _behind(host: Host) -> None:
    """What the commands say of a feed with a gap."""
    shown = host.ask("completeness", "--feed", "traffic/a", "--json")
    assert shown.returncode == 1
    found = json.loads(shown.stdout.splitlines()[-1])
    assert found["gaps"] == [{"source": None, "from": 2, "to": 2}]
    assert found["arrived_files"] == 2
    status = json.loads(host.ask("status", "--json").stdout)
    behind = {each["feed"]: each["behind"] for each in status["feeds"]}
    assert behind == {"traffic/a": ["gap", "late"], "traffic/b": []}
    assert "traffic/a (gap, late)" in host.ask("status").stdout


def test_what_is_excused_is_over(tmp_path: Path) -> None:
    host = Host(tmp_path, EXPECTED | {"feeds.traffic.expect.customer.a.every": '"1h"'})
    with host.daemon() as daemon:
        gap = _with_a_gap(host, daemon)
        date = gap["cause"].rpartition(":")[2]

        asked = ("excuse", "traffic/a", "--date", date, "--sequence", "2", "--why", "lost")
        assert host.admin(*asked).returncode == 0

        daemon.tells("incident closed", incident=gap["incident"])
    assert host.admin("completeness", "--feed", "traffic/a").returncode == 0


def _with_a_gap(host: Host, daemon: Daemon) -> dict[str, str]:
    host.deliver("a_001.csv")
    host.deliver("a_003.csv")
    return daemon.tells("incident opened", kind="gap")


def test_what_came_while_the_daemon_was_down_is_no_gap(tmp_path: Path) -> None:
    host = Host(tmp_path, EXPECTED | {"feeds.traffic.expect.customer.a.every": '"1h"'})
    with host.daemon() as daemon:
        gap = _with_a_gap(host, daemon)
        assert daemon.stop() == 0
    host.deliver("a_002.csv")
    host.deliver("a_004.csv")

    with host.daemon() as daemon:
        daemon.tells("incident closed", incident=gap["incident"])
        opened = [each for each in daemon.told() if each["event"] == "incident opened"]
        assert opened == []


def test_a_run_that_ends_says_it_too(tmp_path: Path) -> None:
    host = Host(tmp_path, EXPECTED | {"feeds.traffic.expect.customer.a.sequence_wait": '"0s"'})
    host.deliver("a_001.csv")
    host.deliver("a_003.csv")

    assert host.once().returncode == 0

    (gap,) = host.shown_incidents()
    assert gap["kind"] == "gap"


def test_check_says_what_is_expected(tmp_path: Path) -> None:
    host = Host(tmp_path, {"feeds.traffic.expect.customer.a.files": "96"})

    said = host.backupd("check").stdout.splitlines()

    assert said[0] == "the config is valid: 2 feeds, environment prod"
    (line,) = said[1:]
    assert line.startswith(
        "traffic/a expects 96 files a date; a date is due at 06:00 of the next day, UTC; "
    )
    assert " is due 20" in line
