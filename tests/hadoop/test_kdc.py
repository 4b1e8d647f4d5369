"""The Kerberos that the tests bring along, asked by a client of theirs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from support.gss import Identity
from support.kdc import SHORT_LIFE, running_kdc
from support.processes import accepts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.kdc import Kdc

pytestmark = pytest.mark.hadoop


@pytest.fixture
def own_kdc(tmp_path: Path) -> Iterator[Kdc]:
    with running_kdc(tmp_path / "own kdc") as started:
        yield started


def log_in(kdc: Kdc, name: str) -> int:
    """Return how many seconds the tickets are good for that a principal gets by its keytab."""
    life: int = Identity(kdc.principal(name), kdc.keytab(name)).credentials().lifetime
    return life


@pytest.mark.parametrize("name", ["hdfs", "hive", "HTTP", "httpfs", "backupd", "other"])
def test_each_principal_logs_in_by_its_keytab(own_kdc: Kdc, name: str) -> None:
    assert own_kdc.keytab(name).stat().st_mode & 0o777 == 0o600
    assert log_in(own_kdc, name) > 3600


def test_a_ticket_leads_to_a_service_and_not_to_one_that_nobody_made(own_kdc: Kdc) -> None:
    me = Identity(own_kdc.principal("backupd"), own_kdc.keytab("backupd"))
    assert me.context("hive", "localhost").step()
    with pytest.raises(Exception, match=r"Server impala/localhost@.* not found"):
        me.context("impala", "localhost").step()


def test_short_tickets_grow_old_and_are_got_anew(own_kdc: Kdc) -> None:
    short = Identity(own_kdc.principal("short"), own_kdc.keytab("short"))
    kept = short.credentials()
    assert 0 < kept.lifetime <= SHORT_LIFE
    while kept.lifetime > SHORT_LIFE - 3:
        time.sleep(0.1)
    assert short.credentials().lifetime > kept.lifetime


def test_a_limit_of_life_holds_for_who_is_given_it(own_kdc: Kdc) -> None:
    own_kdc.set_max_life("other", 60)
    assert log_in(own_kdc, "other") <= 60


def test_an_outdated_keytab_is_refused_until_it_is_written_anew(own_kdc: Kdc) -> None:
    own_kdc.add_principal("forgetful")
    own_kdc.change_key("forgetful")
    with pytest.raises(Exception, match=r"Preauthentication failed|Decrypt integrity check failed"):
        log_in(own_kdc, "forgetful")
    own_kdc.write_keytab("forgetful")
    assert log_in(own_kdc, "forgetful") > 0


def test_an_expired_principal_is_refused(own_kdc: Kdc) -> None:
    own_kdc.expire("backupd")
    with pytest.raises(Exception, match="expired"):
        log_in(own_kdc, "backupd")


def test_a_killed_kdc_is_missed_and_comes_back_with_what_it_knew(own_kdc: Kdc) -> None:
    own_kdc.kill()
    with pytest.raises(Exception, match="Cannot contact any KDC"):
        log_in(own_kdc, "backupd")
    own_kdc.start()
    assert log_in(own_kdc, "backupd") > 0


def test_a_frozen_kdc_answers_once_it_thaws(own_kdc: Kdc) -> None:
    with ThreadPoolExecutor() as pool:
        own_kdc.freeze()
        try:
            asking = pool.submit(log_in, own_kdc, "backupd")
            assert accepts(own_kdc.port)
            assert not asking.done()
        finally:
            own_kdc.thaw()
        assert asking.result() > 0
