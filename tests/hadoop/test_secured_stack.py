"""The secured servers that the tests bring along, asked by clients of theirs."""

from __future__ import annotations

import contextlib
import signal
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from support.hadoop_tables import new_table, run
from support.hives import DATABASE

if TYPE_CHECKING:
    from support.hadoop import Server, Transport
    from support.secure_hadoop import SecureHadoop

pytestmark = pytest.mark.hadoop

WHO = "SELECT logged_in_user()"
STAGING = "/user/backupd/staging"


def ask(
    hadoop: SecureHadoop, statement: str, user: str = "other", transport: Transport = "binary"
) -> list[tuple[Any, ...]]:
    """Run a statement as somebody, over one transport."""
    with (
        contextlib.closing(hadoop.connection("hive", user, transport)) as connection,
        contextlib.closing(connection.cursor()) as cursor,
    ):
        cursor.execute(statement)
        return list(cursor.fetchall())


def web(hadoop: SecureHadoop, port: str = "") -> str:
    """Return the URL of WebHDFS: the active NameNode's, or HttpFS's."""
    port = port or hadoop.active().replace("namenode", "webhdfs")
    return f"https://localhost:{hadoop.ports[port]}/webhdfs/v1"


def upload(hadoop: SecureHadoop, name: str, content: bytes) -> None:
    """Create a file as the protocol wants it: the NameNode says where, the DataNode takes it."""
    url = f"{web(hadoop)}{STAGING}/{name}"
    with hadoop.session("backupd") as session:
        told = session.put(url, params={"op": "CREATE"}, allow_redirects=False, timeout=30)
        assert told.status_code == 307, told.text
        place = told.headers["Location"]
        assert urlsplit(place).port == hadoop.ports["data_http"]
        assert "delegation=" in place
        session.auth = None  # the token in the URL is what the DataNode wants
        session.put(place, data=content, timeout=30).raise_for_status()


def read(hadoop: SecureHadoop, name: str) -> bytes:
    with hadoop.session("backupd") as session:
        answer = session.get(f"{web(hadoop)}{STAGING}/{name}", params={"op": "OPEN"}, timeout=30)
        answer.raise_for_status()
        return answer.content


@pytest.mark.parametrize("transport", ["binary", "http"])
@pytest.mark.parametrize("user", ["backupd", "other", "short"])
def test_who_has_a_principal_logs_in(
    secure_hadoop: SecureHadoop, user: str, transport: Transport
) -> None:
    assert ask(secure_hadoop, WHO, user=user, transport=transport) == [(user,)]


def test_who_has_no_ticket_is_sent_away(secure_hadoop: SecureHadoop) -> None:
    ca_file = str(secure_hadoop.tls.ca)
    answer = requests.get(f"{web(secure_hadoop)}/?op=LISTSTATUS", verify=ca_file, timeout=30)
    assert answer.status_code == 401
    url = f"https://localhost:{secure_hadoop.ports['hive_http']}/cliservice"
    assert requests.post(url, verify=ca_file, timeout=30).status_code == 401


@pytest.mark.parametrize("port", ["webhdfs", "webhdfs2", "data_http", "hive_http", "httpfs"])
def test_every_web_address_speaks_tls_alone(secure_hadoop: SecureHadoop, port: str) -> None:
    at = f"localhost:{secure_hadoop.ports[port]}"
    with pytest.raises(requests.exceptions.SSLError, match="self-signed certificate"):
        requests.get(f"https://{at}/", timeout=30)
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"http://{at}/", timeout=30).raise_for_status()


def test_a_file_goes_to_the_datanode_and_comes_back(secure_hadoop: SecureHadoop) -> None:
    upload(secure_hadoop, "through-namenode", b"rows" * 100_000)
    assert read(secure_hadoop, "through-namenode") == b"rows" * 100_000
    assert "through-namenode" in secure_hadoop.names(STAGING)


def test_a_file_goes_through_httpfs(secure_hadoop: SecureHadoop) -> None:
    url = f"{web(secure_hadoop, 'httpfs')}{STAGING}/through-httpfs"
    assert str(urlsplit(url).port) in secure_hadoop.httpfs_url
    with secure_hadoop.session("backupd") as session:
        told = session.put(url, params={"op": "CREATE"}, allow_redirects=False, timeout=30)
        place, kind = told.headers["Location"], {"Content-Type": "application/octet-stream"}
        assert "data=true" in place
        session.put(place, data=b"rows", headers=kind, timeout=30).raise_for_status()
    assert read(secure_hadoop, "through-httpfs") == b"rows"


def test_permissions_count(secure_hadoop: SecureHadoop) -> None:
    secure_hadoop.hdfs("MKDIRS", f"{STAGING}/closed", user="backupd", permission="700")
    with pytest.raises(requests.HTTPError, match="403"):
        secure_hadoop.hdfs("MKDIRS", f"{STAGING}/closed/inside", user="other")


def test_tables_are_made_and_filled(secure_hadoop: SecureHadoop) -> None:
    section = new_table(secure_hadoop)
    assert section.hive
    table = f"{DATABASE}.{section.hive.production_table}"
    assert run(secure_hadoop, f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_certificate_of_another_host_shows(secure_hadoop: SecureHadoop) -> None:
    wrong = secure_hadoop.stores.wrong_key
    with (
        secure_hadoop.other_hive({"hive.server2.keystore.path": str(wrong)}),
        pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'localhost'"),
    ):
        ask(secure_hadoop, WHO)


def test_the_config_leads_to_it(secure_hadoop: SecureHadoop) -> None:
    keys = secure_hadoop.config_keys()
    assert (keys["auth"], keys["tls"], keys["username"]) == ("KERBEROS", True, "backupd")
    assert keys["hosts"] == [f"localhost:{secure_hadoop.ports['hive']}"]
    over_http = secure_hadoop.config_keys("http")
    assert over_http["hosts"] == [f"localhost:{secure_hadoop.ports['hive_http']}"]
    assert secure_hadoop.kerberos_keys()["principal"] == "backupd@BACKUPD.TEST"
    assert urlsplit(secure_hadoop.staging_url).netloc.count(",") == 1


# -- servers come and go ---------------------------------------------------------------------------


def test_the_other_namenode_takes_over_from_a_living_one(secure_hadoop: SecureHadoop) -> None:
    upload(secure_hadoop, "before", b"rows")
    first = secure_hadoop.active()
    secure_hadoop.failover()
    assert secure_hadoop.active() != first
    assert read(secure_hadoop, "before") == b"rows"
    upload(secure_hadoop, "after", b"rows")
    assert {"before", "after"} <= set(secure_hadoop.names(STAGING))


def test_the_other_namenode_takes_over_from_a_dead_one(secure_hadoop: SecureHadoop) -> None:
    upload(secure_hadoop, "of the dead", b"rows")
    first = secure_hadoop.active()
    secure_hadoop.kill(first)
    secure_hadoop.failover()
    assert read(secure_hadoop, "of the dead") == b"rows"
    assert ask(secure_hadoop, "SHOW DATABASES")
    secure_hadoop.start(first)
    assert secure_hadoop.active() != first
    secure_hadoop.failover()
    assert secure_hadoop.active() == first


@pytest.mark.parametrize("server", ["kdc", "datanode", "httpfs"])
def test_a_killed_server_comes_back(secure_hadoop: SecureHadoop, server: Server) -> None:
    secure_hadoop.kill(server)
    secure_hadoop.start(server)
    upload(secure_hadoop, f"after {server}", b"rows")
    assert read(secure_hadoop, f"after {server}") == b"rows"
    assert ask(secure_hadoop, "SELECT count(*) FROM (SELECT 1) one") == [(1,)]


@pytest.mark.parametrize("server", ["kdc", "namenode", "namenode2", "datanode", "hive", "httpfs"])
def test_a_frozen_server_goes_on(secure_hadoop: SecureHadoop, server: Server) -> None:
    secure_hadoop.signal(server, signal.SIGSTOP)
    secure_hadoop.signal(server, signal.SIGCONT)
    upload(secure_hadoop, f"after frozen {server}", b"rows")
    assert ask(secure_hadoop, WHO) == [("other",)]
