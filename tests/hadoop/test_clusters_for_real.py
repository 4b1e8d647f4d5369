"""Clusters as they are: several servers that die, freeze and fail over, and logins that end."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import BackupdError, DependencyDownError
from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive import connection as hive_connection
from backupd.warehouse.hive import kerberos as kerberos_room
from support import merging, samples
from support.hadoop_tables import new_table
from support.kdc import SHORT_LIFE
from support.rows import new_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from backupd.config.sections import WarehouseSection
    from backupd.core.ports import Warehouse
    from backupd.core.rows import ProductionRow
    from support.hadoop import Hadoop, Server, Transport
    from support.kdc import Kdc
    from support.secure_hadoop import SecureHadoop

pytestmark = pytest.mark.hadoop

until_merged = partial(merging.until_merged, tries=60, pause=0.3)

ROUNDS = 20 if samples.HADOOP else 100
FREEZES, KILLS = (2, 1) if samples.HADOOP else (8, 3)  # of a server, in some of the rounds
MERGES = ["files", "insert"]


@asynccontextmanager
async def opened(section: WarehouseSection) -> AsyncIterator[Warehouse]:
    warehouse = open_warehouse(section)
    try:
        yield warehouse
    finally:
        await warehouse.aclose()


def by(section: WarehouseSection, **changes: object) -> WarehouseSection:
    """Change the hive section."""
    assert section.hive
    hive = replace(section.hive, **changes)  # type: ignore[arg-type]  # any field
    return replace(section, hive=hive)


async def merge_once(warehouse: Warehouse) -> None:
    """Merge a batch without a failure, and see each row once."""
    batch, rows = new_batch(4, days=2)
    await warehouse.load(batch, rows)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)
    await assert_once(warehouse, rows)


async def assert_once(warehouse: Warehouse, rows: Sequence[ProductionRow]) -> None:
    found = Counter([key async for key in warehouse.rows({row.file_date for row in rows})])
    ours = Counter(RowKey(row.file_id, row.file_date) for row in rows)
    assert {key: found[key] for key in ours} == ours


# ------------------------------------------------------------------ two HiveServer2s


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen server is given up soon."""
    monkeypatch.setattr(hive_connection, "_ANSWER_WITHIN", 5.0)
    monkeypatch.setattr(hive_connection, "_COMPILE_WITHIN", 5.0)


@pytest.mark.usefixtures("impatient")
async def test_rivals_at_two_servers_make_each_row_once(two_hives: Hadoop) -> None:
    """The same batch at both, some of the time with one frozen or killed in the middle."""
    section = new_table(two_hives)
    assert section.hive
    rivals = [by(section, hosts=(host,)) for host in section.hive.hosts]
    chance = random.Random(1)
    troubles = [*["freeze"] * FREEZES, *["kill"] * KILLS]
    at = dict(zip(chance.sample(range(ROUNDS), len(troubles)), troubles, strict=True))
    async with opened(rivals[0]) as first, opened(rivals[1]) as second:
        for number in range(ROUNDS):
            batch, rows = new_batch(2, days=2, first_day=2 * number)  # partitions that nobody knows
            working = [
                asyncio.create_task(until_merged(each, batch, rows)) for each in (first, second)
            ]
            await asyncio.sleep(chance.uniform(0, 0.6))
            await asyncio.to_thread(disturb, two_hives, at.get(number), chance)
            await asyncio.gather(*working)
            await assert_once(first, rows)


def disturb(hadoop: Hadoop, trouble: str | None, chance: random.Random) -> None:
    """Freeze or kill one of the servers for a while."""
    server: Server = chance.choice(hadoop.hives)
    if trouble == "freeze":
        hadoop.signal(server, signal.SIGSTOP)
        time.sleep(chance.uniform(1, 7))
        hadoop.signal(server, signal.SIGCONT)
    if trouble == "kill":
        hadoop.kill(server)
        hadoop.start(server)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("merge", MERGES)
async def test_the_other_server_goes_on_when_one_is_killed_in_a_statement(
    two_hives: Hadoop, merge: str
) -> None:
    """As ZooKeeper lists them: the dead one for a while yet."""
    section = new_table(two_hives, by_zookeeper=True, merge=merge)
    async with opened(section) as warehouse:
        await merge_once(warehouse)
        batch, rows = new_batch(4, days=2, first_day=10)
        await warehouse.load(batch, rows)
        merging = asyncio.create_task(warehouse.merge(batch, rows))
        await asyncio.wait([merging], timeout=0.2)
        victim = in_use(warehouse, two_hives)
        await asyncio.to_thread(two_hives.kill, victim)
        try:
            assert await merging == Counter(row.file_id for row in rows)
            await merge_once(warehouse)
            assert in_use(warehouse, two_hives) != victim
        finally:
            await asyncio.to_thread(two_hives.start, victim)
        await assert_once(warehouse, rows)


def in_use(warehouse: Warehouse, hadoop: Hadoop) -> Server:
    """Return the HiveServer2 that the warehouse is connected to."""
    address = warehouse._hive.connection.servers.in_use  # type: ignore[attr-defined]
    (found,) = [name for name in hadoop.hives if hadoop.ports[name] == address[1]]
    return found


@pytest.mark.usefixtures("impatient")
async def test_an_insert_at_a_frozen_server_is_not_repeated_at_the_other(
    two_hives: Hadoop,
) -> None:
    section = new_table(two_hives, merge="insert", statement_timeout=10.0)
    async with opened(section) as warehouse:
        batch, rows = new_batch(4, days=2)
        await warehouse.load(batch, rows)
        merging = asyncio.create_task(warehouse.merge(batch, rows))
        await asyncio.wait([merging], timeout=0.5)
        two_hives.signal("hive", signal.SIGSTOP)
        try:
            with suppress(BackupdError):
                await merging
            for _ in range(2):  # unless it had ended before the server froze
                with suppress(DependencyDownError):
                    await warehouse.merge(batch, rows)
        finally:
            two_hives.signal("hive", signal.SIGCONT)
        await until_merged(warehouse, batch, rows)
        await asyncio.sleep(2)
        await assert_once(warehouse, rows)


# ------------------------------------------------------------------ Kerberos


@pytest.mark.parametrize("qop", ["auth-int", "auth-conf"])
async def test_what_is_sent_may_be_protected(secure_hadoop: SecureHadoop, qop: str) -> None:
    section = new_table(secure_hadoop)
    with secure_hadoop.other_hive({"hive.server2.thrift.sasl.qop": qop}):
        async with opened(section) as warehouse:
            batch, rows = new_batch(500)
            await warehouse.load(batch, rows)
            await warehouse.merge(batch, rows)
            await assert_once(warehouse, rows)  # also what is larger than a frame


async def test_files_may_belong_to_us(secure_hadoop: SecureHadoop) -> None:
    """With doAs the server acts as who logged in, who needs to write the table's folders."""
    section = new_table(secure_hadoop)
    assert section.hive
    table = f"/user/hive/external/mnaas.db/{section.hive.production_table}"
    secure_hadoop.hdfs("SETPERMISSION", table, permission="777")
    with secure_hadoop.other_hive({"hive.server2.enable.doAs": "true"}):
        async with opened(section) as warehouse:
            await merge_once(warehouse)
            assert all(each.ok for each in await warehouse.probe())


@pytest.mark.parametrize("transport", ["binary", "http"])
async def test_tickets_that_run_out_are_renewed(
    secure_hadoop: SecureHadoop, transport: Transport
) -> None:
    section = new_table(secure_hadoop, transport=transport)
    section = as_principal(section, secure_hadoop, "short")
    async with opened(section) as warehouse:
        await warehouse.find([RowKey("0" * 20, "2026-11-23")])
        warehouse._hive.connection.close()  # type: ignore[attr-defined]
        await asyncio.sleep(SHORT_LIFE + 1)
        await warehouse.find([RowKey("0" * 20, "2026-11-23")])


@pytest.fixture
def frozen_kdc(kdc: Kdc, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kdc]:
    monkeypatch.setattr(kerberos_room, "_ANSWER_WITHIN", 2.0)
    yield kdc
    kdc.thaw()


async def test_a_frozen_kdc_holds_nobody_up_for_long(
    secure_hadoop: SecureHadoop, frozen_kdc: Kdc
) -> None:
    section = new_table(secure_hadoop)
    section = as_principal(section, secure_hadoop, "other")  # no ticket of it is there yet
    frozen_kdc.freeze()
    async with opened(section) as warehouse:
        began = time.monotonic()
        with pytest.raises(DependencyDownError, match="KDC") as caught:
            await warehouse.find([RowKey("0" * 20, "2026-11-23")])
        assert "the KDC does not answer" in caught.value.hint
        assert time.monotonic() - began < 20
        frozen_kdc.thaw()
        await asyncio.sleep(1)
        await until_found(warehouse)


async def until_found(warehouse: Warehouse) -> None:
    for _ in range(40):
        with suppress(DependencyDownError):
            await warehouse.find([RowKey("0" * 20, "2026-11-23")])
            return
        await asyncio.sleep(0.5)
    raise AssertionError("it never logged in again")


def as_principal(section: WarehouseSection, hadoop: SecureHadoop, name: str) -> WarehouseSection:
    """Have Hive logged in to as another principal."""
    assert section.hive
    assert section.hive.login.kerberos
    kdc, login = hadoop.kdc, section.hive.login.kerberos
    kerberos = replace(login, principal=kdc.principal(name), keytab=kdc.keytab(name))
    return by(section, login=replace(section.hive.login, kerberos=kerberos))


async def test_what_is_wrong_with_a_login_is_said(secure_hadoop: SecureHadoop, kdc: Kdc) -> None:
    """The library's and the server's own words, each with its meaning."""
    section = new_table(secure_hadoop)
    assert section.hive
    login = section.hive.login
    assert login.kerberos
    kdc.add_principal("outdated")
    kdc.change_key("outdated")
    kdc.add_principal("expired")
    kdc.expire("expired")
    nobody = replace(login.kerberos, principal=kdc.principal("nobody"))
    cases = {
        "the keytab's key is older": as_principal(section, secure_hadoop, "outdated"),
        "the principal has expired": as_principal(section, secure_hadoop, "expired"),
        "the KDC knows no such service": by(
            section, login=replace(login, kerberos_service_name="hbase")
        ),
        "gets no ticket": by(section, login=replace(login, kerberos=nobody)),
        "the server wants Kerberos": by(section, login=replace(login, auth="NONE", kerberos=None)),
        "closed the connection without a word": by(section, login=replace(login, tls=None)),
    }
    for meaning, wrong in cases.items():
        async with opened(wrong) as warehouse:
            with pytest.raises(DependencyDownError) as caught:
                await warehouse.find([RowKey("0" * 20, "2026-11-23")])
            assert meaning in caught.value.hint, (meaning, str(caught.value), caught.value.hint)


# ------------------------------------------------------------------ NameNodes and HttpFS


@pytest.mark.parametrize("merge", MERGES)
async def test_a_failover_in_the_middle_costs_no_failure(
    secure_hadoop: SecureHadoop, merge: str
) -> None:
    section = new_table(secure_hadoop, merge=merge)
    async with opened(section) as warehouse:
        await merge_once(warehouse)
        batch, rows = new_batch(6, days=3, first_day=10)
        loading = asyncio.create_task(warehouse.load(batch, rows))
        await asyncio.to_thread(secure_hadoop.failover)
        await loading
        merging = asyncio.create_task(until_merged(warehouse, batch, rows))
        await asyncio.to_thread(secure_hadoop.failover)
        await merging
        await assert_once(warehouse, rows)


async def test_a_namenode_that_is_killed_is_gone_on_without(secure_hadoop: SecureHadoop) -> None:
    section = new_table(secure_hadoop)
    async with opened(section) as warehouse:
        await merge_once(warehouse)
        victim = secure_hadoop.active()
        await asyncio.to_thread(secure_hadoop.kill, victim)
        try:
            await asyncio.to_thread(secure_hadoop.failover)
            batch, rows = new_batch(6, days=3, first_day=10)
            await until_merged(warehouse, batch, rows)
        finally:
            await asyncio.to_thread(secure_hadoop.start, victim)
        states = [each for each in await warehouse.probe() if each.subject.startswith("HDFS")]
        assert {each.detail for each in states} == {"active", "standby"}


async def test_httpfs_takes_what_is_staged(secure_hadoop: SecureHadoop) -> None:
    section = new_table(secure_hadoop, staging_url=f"{secure_hadoop.httpfs_url}/by-httpfs")
    async with opened(section) as warehouse:
        await merge_once(warehouse)
        assert all(each.ok for each in await warehouse.probe())
