"""Mail, tickets and the hook: what is told, to a real mail server and a real program."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from backupd.alerts import IncidentTracker, smtp
from backupd.alerts.messages import plain_message
from backupd.alerts.notifier import Notifier
from backupd.alerts.schedule import MAIL_EVERY
from backupd.config import load
from backupd.control.actions import requeue
from backupd.core.errors import TransientError, UnknownOutcomeError
from backupd.core.incidents import Case, Notice, Occasion, Outcome, Way
from backupd.core.stages import Stage
from backupd.ledger import Ledger, files, incidents
from support.mailbox import OPERATOR, TICKETS, Mailbox, mailbox, section, server_of
from support.stories import Maker, write_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.config.sections import AlertsSection, Config, SmtpServer


@dataclass
class Desk:
    """A ledger, its tracker and a notifier whose clock the test moves."""

    config: Config
    ledger: Ledger
    section: AlertsSection
    box: Mailbox
    monkeypatch: pytest.MonkeyPatch
    dev: bool = False

    def __post_init__(self) -> None:
        self.maker = Maker(self.ledger, self.config)
        self.tracker = IncidentTracker(self.ledger, dict)
        self.notifier = Notifier(self.section, self.ledger, dev=self.dev)
        self.monkeypatch.setattr("time.time", lambda: self.maker.now)

    async def parked(self, name: str, reason: str, feed: str = "traffic/a") -> str:
        file = await self.maker.parked(await self.maker.seen(name, feed=feed), reason)
        return file.id

    def hook(self, script: str) -> None:
        """Have this run as the hook from now on."""
        program = self.config.ledger.path.with_name("on-incident")
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        self.notifier = Notifier(section(self.box, hook=program), self.ledger, dev=False)

    async def goes_on(self, file_id: str) -> None:
        """Requeue a parked file, which then works."""
        await requeue(self.ledger, [file_id], None, self.maker.now, dry_run=False)
        (file,) = await self.ledger.ask(files.by_ids, [file_id])
        await self.maker.to(file, Stage.MANIFEST)

    async def passes(self, seconds: float = 0.0) -> None:
        """Let time go by, then do what the daemon does each second."""
        self.maker.now += seconds
        await self.tracker.keep()
        await self.notifier.mail_once()

    async def restarted(self) -> Desk:
        await self.ledger.close()
        self.ledger = Ledger(self.config.ledger.path)
        now = self.maker.now
        self.__post_init__()
        self.maker.now = now
        await self.notifier.open()
        return self

    async def notices(self) -> list[Notice]:
        cases = await self.ledger.ask(incidents.all_cases)
        return [notice for case in cases for notice in case.notices]

    async def open_causes(self) -> list[str]:
        cases: list[Case] = await self.ledger.ask(incidents.open_cases)
        return [case.incident.cause for case in cases]


async def send(server: SmtpServer) -> dict[str, str]:
    message = plain_message("subject", "text", "a@example.org", [OPERATOR], 0.0)
    return await smtp.send(server, "a@example.org", [OPERATOR], message)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Mailbox]:
    async with mailbox(tmp_path) as made:
        yield made


@pytest.fixture
async def desk(
    tmp_path: Path, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    config = load(write_config(tmp_path), environ={})
    made = Desk(config, Ledger(config.ledger.path), section(box), box, monkeypatch)
    await made.notifier.open()
    yield made
    await made.ledger.close()


async def test_operators_and_ticket_mailbox_get_one_mail_over_starttls_and_login(
    desk: Desk,
) -> None:
    await desk.parked("a_1.csv", "its name is odd")
    await desk.passes()
    (mail,) = desk.box.mails
    assert mail.encrypted
    assert mail.login
    assert sorted(mail.to) == [TICKETS, OPERATOR]
    assert "files of feed traffic/a are parked: its name is odd" in mail.message["Subject"]
    body = mail.message.get_content()
    assert "1 file; the oldest: a_1.csv" in body
    assert "backupd-admin list --status parked --feed traffic/a" in body
    await desk.passes(MAIL_EVERY)
    assert len(desk.box.mails) == 1


async def test_the_message_id_is_made_from_the_incident(desk: Desk) -> None:
    await desk.parked("a_1.csv", "odd")
    await desk.passes()
    (case,) = await desk.ledger.ask(incidents.open_cases)
    assert desk.box.mails[0].message["Message-ID"].startswith(f"<{case.incident.id}.")


async def test_at_most_one_mail_a_minute_the_rest_gathered(desk: Desk) -> None:
    await desk.parked("a_1.csv", "odd")
    await desk.passes()
    for letter, reason in zip("bcd", ("vanished", "cut off", "empty"), strict=True):
        await desk.parked(f"a_{letter}.csv", reason)
        await desk.passes(5)
    assert len(desk.box.mails) == 1
    for _ in range(4 * 60):
        await desk.passes(1)
    to_operators, to_tickets = desk.box.to(OPERATOR), desk.box.to(TICKETS)
    assert len(to_operators) == 2
    assert "3 incidents" in to_operators[1]["Subject"]
    assert len(to_tickets) == 4
    assert len({mail["Message-ID"] for mail in to_tickets}) == 4


async def test_an_outage_is_told_after_a_while_and_its_end_to_those_who_knew(desk: Desk) -> None:
    desk.section = section(desk.box, after=600.0)
    desk.notifier = Notifier(desk.section, desk.ledger, dev=False)
    await desk.maker.to(await desk.maker.seen("a_1.csv"), Stage.SHIP)
    await desk.maker.outage("archive", "connection refused")
    await desk.passes(599)
    assert desk.box.mails == []
    await desk.passes(2)
    assert "archive is down: connection refused" in desk.box.mails[0].message["Subject"]
    await desk.ledger.close_incidents(["archive"], desk.maker.now)
    await desk.passes(MAIL_EVERY)
    opened, closed = desk.box.to(OPERATOR)
    assert "resolved: archive is down" in closed["Subject"]
    assert closed["In-Reply-To"].partition(".")[0] == opened["Message-ID"].partition(".")[0]
    assert len(desk.box.to(TICKETS)) == 1


async def test_what_was_over_before_it_was_told_is_never_told(desk: Desk) -> None:
    desk.notifier = Notifier(section(desk.box, after=600.0), desk.ledger, dev=False)
    await desk.maker.outage("archive", "connection refused")
    await desk.passes(10)
    await desk.ledger.close_incidents(["archive"], desk.maker.now)
    await desk.passes(3600)
    assert desk.box.mails == []


async def test_reminders_come_to_operators_alone(desk: Desk) -> None:
    await desk.parked("a_1.csv", "odd")
    await desk.passes()
    await desk.passes(86_399)
    assert len(desk.box.mails) == 1
    await desk.passes(2)
    await desk.passes(86_401)
    assert ["still:" in mail["Subject"] for mail in desk.box.to(OPERATOR)] == [False, True, True]
    assert len(desk.box.to(TICKETS)) == 1


async def test_a_restart_neither_forgets_nor_repeats(desk: Desk) -> None:
    file_id = await desk.parked("a_1.csv", "odd")
    await desk.passes()
    desk = await desk.restarted()
    await desk.passes(MAIL_EVERY)
    assert len(desk.box.mails) == 1
    await desk.goes_on(file_id)
    await desk.passes(MAIL_EVERY)
    desk = await desk.restarted()
    await desk.passes(MAIL_EVERY)
    assert ["resolved:" in mail["Subject"] for mail in desk.box.to(OPERATOR)] == [False, True]


async def test_a_ticket_whose_outcome_is_unknown_is_never_sent_again(desk: Desk) -> None:
    desk.box.fault = "lost"
    await desk.parked("a_1.csv", "odd")
    await desk.passes()
    assert len(desk.box.to(TICKETS)) == 1
    desk.box.fault = ""
    for _ in range(5):
        await desk.passes(MAIL_EVERY * 2)
    assert len(desk.box.to(TICKETS)) == 1
    last = desk.box.to(OPERATOR)[-1].get_content()
    assert "ticket mailbox may or may not have been notified" in last
    assert "no second mail goes there" in last


async def test_a_crash_in_the_middle_of_a_ticket_sends_no_second_one(desk: Desk) -> None:
    await desk.parked("a_1.csv", "odd")
    await desk.tracker.keep()
    (case,) = await desk.ledger.ask(incidents.open_cases)
    begun = Notice(
        incident_id=case.incident.id,
        way=Way.TICKET,
        occasion=Occasion.OPENED,
        number=0,
        at=desk.maker.now,
        outcome=Outcome.TRYING,
        detail=TICKETS,
    )
    await desk.ledger.note_notices([begun])
    desk = await desk.restarted()
    for _ in range(3):
        await desk.passes(MAIL_EVERY)
    assert desk.box.to(TICKETS) == []
    (told,) = desk.box.to(OPERATOR)
    assert "may or may not have been notified" in told.get_content()


async def test_operators_hear_of_a_ticket_in_doubt_that_went_after_their_mail(desk: Desk) -> None:
    for name, reason in (("a_1.csv", "odd"), ("a_2.csv", "empty")):
        await desk.parked(name, reason)
    await desk.passes()
    assert len(desk.box.to(OPERATOR)) == 1
    desk.box.fault = "lost"
    await desk.passes(MAIL_EVERY)
    desk.box.fault = ""
    await desk.passes(MAIL_EVERY)
    await desk.passes(MAIL_EVERY)
    await desk.passes(MAIL_EVERY)
    assert "may or may not" in desk.box.to(OPERATOR)[-1].get_content()
    assert len(desk.box.to(TICKETS)) == 2


async def test_a_server_that_refuses_is_tried_again_and_shows(desk: Desk) -> None:
    desk.box.fault = "busy"
    await desk.parked("a_1.csv", "odd")
    await desk.passes()
    assert desk.box.mails == []
    assert "mail" in await desk.open_causes()
    desk = await desk.restarted()
    await desk.tracker.keep()
    assert (await desk.open_causes()).count("mail") == 1
    desk.box.fault = ""
    await desk.passes(MAIL_EVERY)
    await desk.passes(1)
    assert len(desk.box.mails) == 1
    assert "mail" not in await desk.open_causes()


async def test_a_missing_server_pauses_ever_longer_and_ends_with_what_it_was_for(
    desk: Desk,
) -> None:
    nobody = server_of(Mailbox(port=1))
    desk.notifier = Notifier(section(desk.box, smtp=nobody), desk.ledger, dev=False)
    file_id = await desk.parked("a_1.csv", "odd")
    for _ in range(200):
        await desk.passes(1)
    cases = await desk.ledger.ask(incidents.open_cases)
    (mail,) = (case.incident for case in cases if case.incident.cause == "mail")
    assert 2 <= mail.trials <= 3
    await desk.goes_on(file_id)
    await desk.passes(1)
    assert await desk.open_causes() == []


async def test_a_refused_ticket_mailbox_keeps_no_mail_from_the_operators(desk: Desk) -> None:
    desk.box.refused = {TICKETS}
    await desk.parked("a_1.csv", "odd")
    await desk.passes()
    assert len(desk.box.to(OPERATOR)) == 1
    outcomes = {notice.way: notice for notice in await desk.notices()}
    assert outcomes[Way.MAIL].outcome is Outcome.SENT
    assert outcomes[Way.TICKET].outcome is Outcome.FAILED
    assert "no such mailbox" in outcomes[Way.TICKET].detail
    desk.box.refused = set()
    await desk.passes(MAIL_EVERY)
    assert len(desk.box.to(TICKETS)) == 1
    assert len(desk.box.to(OPERATOR)) == 1


async def test_evil_names_and_reasons_make_no_headers(desk: Desk) -> None:
    await desk.parked("a_\nBcc: evil@example.org\n\udcff.csv", "odd:\r\nBcc: evil@example.org")
    await desk.passes()
    (mail,) = desk.box.mails
    assert mail.message["Bcc"] is None
    assert sorted(mail.to) == [TICKETS, OPERATOR]
    assert "\\nBcc" in mail.message.get_content()


async def test_in_dev_nothing_is_sent(desk: Desk) -> None:
    desk.notifier = Notifier(desk.section, desk.ledger, dev=True)
    await desk.parked("a_1.csv", "odd")
    await desk.passes()
    assert desk.box.mails == []
    assert {notice.outcome for notice in await desk.notices()} == {Outcome.SKIPPED}


async def test_a_wrong_password_is_told_and_not_shown(box: Mailbox) -> None:
    with pytest.raises(TransientError, match="refused: 535") as raised:
        await send(server_of(box, password="secret-word"))
    assert "secret-word" not in str(raised.value)


async def test_a_frozen_server_is_given_up(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "DEADLINE", 0.3)
    box.fault = "hangs"
    with pytest.raises(UnknownOutcomeError):
        await send(server_of(box))


async def test_a_server_without_starttls_is_used_as_it_is_without_a_login(tmp_path: Path) -> None:
    async with mailbox(tmp_path, login=False, starttls=False) as box:
        server = server_of(box, username="")
        assert await send(server) == {}
        assert not box.mails[0].encrypted


async def test_a_password_never_crosses_a_network_in_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "_is_loopback", lambda _: False)
    async with mailbox(tmp_path, login=False, starttls=False) as plain:
        with pytest.raises(TransientError, match="offers no STARTTLS"):
            await send(server_of(plain))


async def test_with_a_login_an_unknown_certificate_is_refused(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "_is_loopback", lambda _: False)
    with pytest.raises(TransientError, match="certificate"):
        await send(server_of(box))


async def test_a_hook_hears_of_opening_and_end_once_each(desk: Desk, tmp_path: Path) -> None:
    told = tmp_path / "told"
    desk.hook(f"cat >> {told}")
    file_id = await desk.parked("a_1.csv", "odd")
    for _ in range(2):
        await desk.passes(1)
        await desk.notifier.run_hooks_once()
    await desk.goes_on(file_id)
    for _ in range(2):
        await desk.passes(1)
        await desk.notifier.run_hooks_once()
    occasions = [json.loads(line)["occasion"] for line in told.read_text().splitlines()]
    assert occasions == ["opened", "closed"]


async def test_a_hook_that_fails_is_tried_again_later_and_told_by_mail(desk: Desk) -> None:
    desk.hook("echo no queue >&2; exit 1")
    await desk.parked("a_1.csv", "odd")
    await desk.passes()
    await desk.notifier.run_hooks_once()
    await desk.notifier.run_hooks_once()
    (case,) = (
        case
        for case in await desk.ledger.ask(incidents.open_cases)
        if case.incident.cause == "hook"
    )
    assert "no queue" in case.incident.reason
    assert case.incident.trials == 1
    await desk.passes(MAIL_EVERY)
    assert "the hook program fails" in desk.box.to(OPERATOR)[-1]["Subject"]
    desk.hook("exit 0")
    await desk.passes(MAIL_EVERY)
    await desk.notifier.run_hooks_once()
    await desk.notifier.run_hooks_once()
    assert "hook" not in await desk.open_causes()
