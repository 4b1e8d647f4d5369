"""Tries every configured way to notify people, and reports what each answered."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from email.utils import make_msgid
from typing import TYPE_CHECKING

from backupd.alerts import smtp
from backupd.alerts.hook import run_hook
from backupd.alerts.messages import plain_message
from backupd.core.errors import TransientError
from backupd.core.incidents import Way
from backupd.core.moves import explained
from backupd.core.times import iso

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from backupd.config.sections import AlertsSection

_TEXT = """\
This is a test, asked for by `backupd-admin test-alert` on {host}.

Nothing is wrong. If this opened a ticket, it can be closed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How a way answered. `to` names addresses or the program."""

    way: Way
    to: str
    ok: bool
    answer: str


async def try_ways(section: AlertsSection, *, dev: bool) -> list[Tried]:
    """Send a test to everyone: operators, the ticket mailbox, the hook. In dev nothing is sent."""
    tried = []
    for way, addresses in ((Way.MAIL, section.to), (Way.TICKET, section.ticket_to)):
        if addresses:
            tried.append(await _try_mail(section, way, addresses, dev=dev))
    if section.hook:
        tried.append(await _try_hook(section.hook, dev=dev))
    return tried


async def _try_mail(
    section: AlertsSection, way: Way, addresses: Sequence[str], *, dev: bool
) -> Tried:
    to = ", ".join(addresses)
    if dev or section.smtp is None:
        return Tried(way=way, to=to, ok=True, answer="skipped (dev)")
    host = socket.gethostname()
    message = plain_message(
        f"[backupd {host}] test", _TEXT.format(host=host), section.sender, addresses, time.time()
    )
    message["Message-ID"] = make_msgid("test", section.sender.rpartition("@")[2])
    try:
        refused = await smtp.send(section.smtp, section.sender, addresses, message)
    except TransientError as error:
        return Tried(way=way, to=to, ok=False, answer=explained(error))
    if refused:
        answer = f"taken, but refused: {'; '.join(refused.values())}"
        return Tried(way=way, to=to, ok=False, answer=answer)
    return Tried(way=way, to=to, ok=True, answer=f"taken by {section.smtp.host}")


async def _try_hook(program: Path, *, dev: bool) -> Tried:
    if dev:
        return Tried(way=Way.HOOK, to=str(program), ok=True, answer="skipped (dev)")
    payload = {"occasion": "test", "host": socket.gethostname(), "since": iso(time.time())}
    try:
        answer = await run_hook(program, payload)
    except TransientError as error:
        return Tried(way=Way.HOOK, to=str(program), ok=False, answer=explained(error))
    return Tried(way=Way.HOOK, to=str(program), ok=True, answer=answer)
