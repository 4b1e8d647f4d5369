"""The daemon as a whole tells of what goes wrong: mail, tickets, status file, figures."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from backupd.core.incidents import Outcome, Way
from backupd.ledger import LedgerReader, incidents
from support.mailbox import OPERATOR, TICKETS, Mailbox, mailbox, settings
from support.stories import write_config

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from backupd.core.incidents import Notice
    from support.configs import Changes

PROGRAM = (sys.executable, "-c", "from backupd.cli.daemon import main; main()")


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Mailbox]:
    async with mailbox(tmp_path) as made:
        yield made


def a_config(tmp_path: Path, box: Mailbox, changes: Changes | None = None) -> Path:
    """Fast, with all that tells; files without a time in their name are parked."""
    own: Changes = settings(tmp_path, box) | {
        "intake.settle_for": '"50ms"',
        "batch.max_wait": '"100ms"',
        "feeds.traffic.timestamp_regex": r"'_(\d{14})'",
        "feeds.traffic.timestamp_format": '"%Y%m%d%H%M%S"',
        "status_file.path": '"TMP/process_status"',
        "alerts.after": '"0s"',
        "alerts.to": f'["{OPERATOR}"]',
        "alerts.ticket_to": f'["{TICKETS}"]',
    }
    return write_config(tmp_path, own | (changes or {}))


async def started(config: Path, *arguments: str) -> Process:
    command = (*PROGRAM, "run", *arguments, "--config", str(config))
    return await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)


async def ended(daemon: Process) -> int:
    async with asyncio.timeout(30):
        return await daemon.wait()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 -- what is waited for is in another process
            await asyncio.sleep(0.05)


def deliver(tmp_path: Path, name: str) -> None:
    (tmp_path / "in" / "a" / name).write_text("h\n1;2\n")


def status(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "process_status"
    text = path.read_text() if path.exists() else ""
    return dict(line.split("=", 1) for line in text.splitlines())


def notices(tmp_path: Path) -> dict[Way, Notice]:
    reader = LedgerReader(tmp_path / "ledger.db")
    try:
        (case,) = (
            case for case in reader.ask(incidents.all_cases) if case.incident.cause != Way.MAIL
        )
    finally:
        reader.close()
    return {notice.way: notice for notice in case.notices}


async def test_a_run_for_cron_tells_before_it_ends(tmp_path: Path, box: Mailbox) -> None:
    deliver(_made(tmp_path), "a_1.csv")
    config = a_config(tmp_path, box)
    assert await ended(await started(config, "--once")) == 1
    (mail,) = box.mails
    assert sorted(mail.to) == [TICKETS, OPERATOR]
    assert status(tmp_path)["MNAAS_job_status"] == "Failure"
    assert status(tmp_path)["MNAAS_email_sdp_created"] == "Yes"
    assert await ended(await started(config, "--once")) == 1
    assert len(box.mails) == 1


async def test_without_trouble_nobody_is_told(tmp_path: Path, box: Mailbox) -> None:
    deliver(_made(tmp_path), "a_20261123081500.csv")
    assert await ended(await started(a_config(tmp_path, box), "--once")) == 0
    assert box.mails == []
    assert status(tmp_path)["MNAAS_job_status"] == "Success"
    assert status(tmp_path)["MNAAS_CDR_Backup_ProcessStatusFlag"] == "0"


async def test_a_daemon_killed_while_a_ticket_goes_out_sends_no_second_one(
    tmp_path: Path, box: Mailbox
) -> None:
    deliver(_made(tmp_path), "a_1.csv")
    config = a_config(tmp_path, box)
    box.fault = "hangs"
    daemon = await started(config)
    await until(lambda: box.offered > 0)
    daemon.kill()
    await ended(daemon)
    assert notices(tmp_path)[Way.TICKET].outcome is Outcome.TRYING

    box.fault = ""
    assert await ended(await started(config, "--once")) == 1
    assert notices(tmp_path)[Way.TICKET].outcome is Outcome.UNKNOWN
    assert box.to(TICKETS) == []


async def test_a_mail_server_that_hangs_holds_up_no_file(tmp_path: Path, box: Mailbox) -> None:
    box.fault = "hangs"
    deliver(_made(tmp_path), "a_1.csv")
    daemon = await started(a_config(tmp_path, box))
    await until(lambda: box.offered > 0)
    deliver(tmp_path, "a_20261123081500.csv")
    await until(lambda: any((tmp_path / "archive").rglob("a_20261123081500.csv.gz")))
    began = time.monotonic()
    daemon.send_signal(signal.SIGTERM)
    assert await ended(daemon) == 0
    assert time.monotonic() - began < 12  # and no stop for long


async def test_figures_are_served_while_it_runs(tmp_path: Path, box: Mailbox) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    deliver(_made(tmp_path), "a_20261123081500.csv")
    config = a_config(tmp_path, box, {"metrics.listen": f'"127.0.0.1:{port}"'})
    daemon = await started(config)
    await until(lambda: status(tmp_path).get("MNAAS_job_status") == "Success")
    await until(lambda: 'files_done_total{feed="traffic/a"} 1.0' in _get(port))
    text = _get(port)
    assert 'backupd_files{feed="traffic/a",stage="cleanup",status="done"} 1.0' in text
    assert 'backupd_stage_duration_seconds_count{stage="merge"} 1.0' in text
    daemon.send_signal(signal.SIGTERM)
    assert await ended(daemon) == 0


def _made(tmp_path: Path) -> Path:
    (tmp_path / "in" / "a").mkdir(parents=True)
    return tmp_path


def _get(port: int) -> str:
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body.decode()
