"""WebHDFS goes on at the next server, and sends nothing where it must not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.config.sections import KerberosSection, TlsSection
from backupd.core.errors import DependencyDownError
from backupd.warehouse.hive.kerberos import Kerberos, KerberosError
from backupd.warehouse.hive.webhdfs import WebHdfs
from support.hives import NO_TLS, staging_section
from support.http_login import negotiate
from support.http_serving import Answer
from support.rows import new_batch
from support.tls import tls_files
from support.webhdfs_files import RemoteError
from support.webhdfs_site import MERGES, Site, merged, notes, refused, running_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from backupd.core.ports import Warehouse
    from support.http_serving import Request
    from support.tls import TlsFiles
    from support.webhdfs_server import WebHdfsServer, When

    Pair = list[WebHdfsServer]
    Open = Callable[..., Warehouse]

ME = KerberosSection(principal="backupd@EXAMPLE", keytab=Path("/unused"))
GATEWAY = "?path_prefix=/gateway/default"
EACH_MERGE = pytest.mark.parametrize("merge", MERGES)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path / "hdfs") as running:
        yield running


@pytest.fixture
def pair(site: Site) -> Pair:
    """Both take requests, as two HttpFS do, or a NameNode that was left and its successor."""
    site.pair[1].state = "active"
    return site.pair


@pytest.fixture
def opened(site: Site) -> Open:
    return site.open


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls") / "files")


@pytest.fixture
def trusting(files: TlsFiles) -> TlsSection:
    return TlsSection(ca_file=files.ca, cert_file=None, key_file=None)


def hdfs_at(*servers: WebHdfsServer, tls: TlsSection | None = None) -> WebHdfs:
    scheme = "swebhdfs" if tls else "webhdfs"
    places = ",".join(f"127.0.0.1:{each.port}" for each in servers)
    return WebHdfs(staging_section(f"{scheme}://{places}/x", tls=tls or NO_TLS), None)


# -- who is passed over --------------------------------------------------------------------------


@EACH_MERGE
async def test_one_that_is_unavailable_is_passed_over(
    pair: Pair, opened: Open, monkeypatch: pytest.MonkeyPatch, merge: str
) -> None:
    """As a gateway says it whose NameNode is away, or a server that is overloaded."""
    monkeypatch.setattr(pair[0], "_answer", lambda *_: Answer(503, b"<html>away</html>"))
    await merged(opened(*pair, merge=merge))
    assert pair[0].asked.total() == 1


async def test_one_that_is_unavailable_is_told_where_there_is_no_other(
    pair: Pair, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair[0], "_answer", lambda *_: Answer(503, b"<html>away</html>"))
    await refused(opened(pair[0]), f"127.0.0.1:{pair[0].port}: HTTP 503")


async def test_one_that_there_is_no_ticket_for_is_passed_over(
    pair: Pair, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [KerberosError("Server not found in Kerberos database")]

    def token(*_: object) -> str:
        if failures:
            raise failures.pop()
        return negotiate(b"good")

    monkeypatch.setattr(Kerberos, "negotiate", token)
    for each in pair:
        each.login.negotiate, each.delegation = {b"good": True}, True
    await merged(opened(*pair, kerberos=ME))
    assert not failures
    assert pair[0].asked.total() == 0


async def test_no_ticket_for_any_is_told(
    pair: Pair, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise KerberosError("Server not found in Kerberos database")

    monkeypatch.setattr(Kerberos, "negotiate", fail)
    told = await refused(opened(*pair, kerberos=ME), "Server not found in Kerberos database")
    assert all(f"127.0.0.1:{each.port}: Server not found" in told for each in pair)


@pytest.mark.parametrize("what", ["wrong name", "expired"])
async def test_one_whose_certificate_does_not_count_is_passed_over(
    pair: Pair, opened: Open, files: TlsFiles, trusting: TlsSection, what: str
) -> None:
    for each in pair:
        each.name_node.tls = each.data_node.tls = (files.cert, files.key, None)
    pair[0].name_node.tls = (
        (files.wrong_cert, files.wrong_key, None)
        if what == "wrong name"
        else (files.expired_cert, files.expired_key, None)
    )
    await merged(opened(*pair, tls=trusting))
    assert pair[0].asked.total() == 0
    hdfs_at(*pair, tls=trusting).create("/x/file", b"rows")  # nothing was sent: nothing is doubtful


# -- second steps --------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["CREATE data", "OPEN data"])
async def test_a_data_node_that_breaks_off_costs_no_failure(
    pair: Pair, opened: Open, operation: str, when: When
) -> None:
    pair[0].cut_at(operation, when)
    await merged(opened(*pair))
    assert pair[0]._cuts == []
    assert pair[1].asked[operation] > 0


@EACH_MERGE
async def test_a_data_node_that_is_gone_leads_to_the_other_server(
    pair: Pair, opened: Open, merge: str
) -> None:
    pair[0].data_node.stop()
    await merged(opened(*pair, merge=merge))
    pair[0].data_node.start()


async def test_an_httpfs_that_dies_in_a_second_step_leaves_it_to_the_other(
    pair: Pair, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in pair:
        each.httpfs = True
    create = pair[0]._create

    def broken(path: str, request: Request) -> Answer:
        create(path, request)
        raise ConnectionAbortedError

    monkeypatch.setattr(pair[0], "_create", broken)
    await merged(opened(*pair))
    assert pair[1].asked["CREATE data"] > 0


def test_a_file_that_the_data_node_does_not_find_is_missing(pair: Pair) -> None:
    hdfs = hdfs_at(pair[0])
    hdfs.create("/x/file", b"rows")
    assert hdfs.contents("/x/file") == b"rows"
    words = "Path is not a file: /x/file"
    pair[0].refusals["OPEN data"] = RemoteError("FileNotFoundException", words)
    with pytest.raises(FileNotFoundError, match=words):
        hdfs.contents("/x/file")
    with pytest.raises(FileNotFoundError):
        hdfs.contents("/x/none")


# -- where nothing is sent -----------------------------------------------------------------------


@EACH_MERGE
async def test_a_redirect_away_from_tls_is_refused_and_not_followed(
    pair: Pair, opened: Open, files: TlsFiles, trusting: TlsSection, merge: str
) -> None:
    pair[0].name_node.tls = (files.cert, files.key, None)
    seen = notes(pair[0])
    with pytest.raises(DependencyDownError, match="leads away from TLS"):
        await opened(pair[0], tls=trusting, merge=merge).load(*new_batch())
    assert {node for node, _ in seen} == {"name"}


async def test_a_first_step_that_is_sent_elsewhere_is_not_followed(
    pair: Pair, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"http://127.0.0.1:{pair[1].port}/webhdfs/v1/x?op=LISTSTATUS"
    monkeypatch.setattr(pair[0], "_answer", lambda *_: Answer(307, headers={"Location": place}))
    await refused(opened(pair[0]), "the staging folder")
    with pytest.raises(OSError):  # noqa: PT011 -- there is no answer to tell
        hdfs_at(pair[0]).state_of(("127.0.0.1", pair[0].port))
    assert pair[1].asked.total() == 0


async def test_a_second_step_that_is_sent_on_is_not_followed(
    pair: Pair,
    opened: Open,
    files: TlsFiles,
    trusting: TlsSection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair[0].name_node.tls = pair[0].data_node.tls = (files.cert, files.key, None)
    place = f"http://127.0.0.1:{pair[1].data_node.port}/webhdfs/v1/x?op=CREATE"
    monkeypatch.setattr(pair[0], "_create", lambda *_: Answer(307, headers={"Location": place}))
    with pytest.raises(DependencyDownError, match="HTTP 307"):
        await opened(pair[0], tls=trusting).load(*new_batch())
    assert pair[1].asked.total() == 0


# -- passwords -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("user", "password"), [("backupd", "pässwörd€"), ("bäckupd€", "sesame")])
async def test_a_gateways_login_may_be_in_any_letters(
    pair: Pair, opened: Open, user: str, password: str
) -> None:
    pair[0].prefix = "/gateway/default/webhdfs/v1"
    pair[0].login.passwords = {user: password}
    await merged(opened(pair[0], query=GATEWAY, username=user, password=password))
    wrong = opened(pair[0], query=GATEWAY, username=user, password="pässwörd")
    assert "pässwörd" not in await refused(wrong, "401", "password_file")
