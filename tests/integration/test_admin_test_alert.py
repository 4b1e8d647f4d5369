"""backupd-admin test-alert, against a real mail server."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from support.admin import admin, lines
from support.mailbox import OPERATOR, TICKETS, Mailbox, mailbox, settings
from support.stories import write_config

if TYPE_CHECKING:
    from pathlib import Path

    from support.configs import Changes


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    path = tmp_path / "on-incident"
    path.write_text(f"#!/bin/sh\ncat > {tmp_path}/told\n")
    path.chmod(0o700)
    return path


def changes(tmp_path: Path, box: Mailbox, hook: Path) -> Changes:
    return settings(tmp_path, box) | {
        "alerts.to": f'["{OPERATOR}"]',
        "alerts.ticket_to": f'["{TICKETS}"]',
        "alerts.hook": f'"{hook}"',
    }


async def test_every_way_gets_one_test_and_its_answer_is_told(tmp_path: Path, hook: Path) -> None:
    async with mailbox(tmp_path) as box:
        box.refused = {TICKETS}
        config = write_config(tmp_path, changes(tmp_path, box, hook))
        mail, ticket, program = await asyncio.to_thread(lines, config, "test-alert")
        answer = await asyncio.to_thread(admin, config, "test-alert")
    assert (mail["way"], mail["ok"], mail["answer"]) == ("mail", True, "taken by 127.0.0.1")
    assert (ticket["ok"], "550 no such mailbox" in ticket["answer"]) == (False, True)
    assert (program["way"], program["ok"]) == ("hook", True)
    assert json.loads((tmp_path / "told").read_text())["occasion"] == "test"
    assert answer.exit_code == 1
    assert [sent.to for sent in box.mails] == [[OPERATOR], [OPERATOR]]


async def test_in_dev_nothing_is_sent(tmp_path: Path, hook: Path) -> None:
    async with mailbox(tmp_path) as box:
        config = write_config(tmp_path, changes(tmp_path, box, hook) | {"environment": '"dev"'})
        answers = await asyncio.to_thread(lines, config, "test-alert")
    assert {answer["answer"] for answer in answers} == {"skipped (dev)"}
    assert box.mails == []


def test_with_nobody_to_tell_it_says_so(tmp_path: Path) -> None:
    answer = admin(write_config(tmp_path), "test-alert")
    assert answer.exit_code == 1
    assert "the config has no [alerts]" in answer.stderr
