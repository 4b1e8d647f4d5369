"""The scriptable WebHDFS answers as a cluster does, and makes the faults that it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

from backupd.warehouse import open_warehouse
from support.hives import hive_section, running_hive
from support.http_login import basic, negotiate
from support.merging import assert_once, until_merged
from support.rows import new_batch
from support.tls import tls_files
from support.webhdfs_files import RemoteError
from support.webhdfs_server import running_webhdfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.webhdfs_server import State, WebHdfsServer

OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebHdfsServer]:
    with running_webhdfs(tmp_path / "hdfs") as (started,):
        yield started


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        yield made


class Client:
    """Asks, follows redirects by hand, and keeps the cookie of its session."""

    def __init__(self, server: WebHdfsServer, session: requests.Session) -> None:
        scheme = "https" if server.name_node.tls else "http"
        self._url = f"{scheme}://127.0.0.1:{server.port}"
        self._server = server
        self._session = session

    def ask(
        self, method: str, operation: str, path: str, login: str | None = None, **options: str
    ) -> requests.Response:
        url = f"{self._url}{self._server.prefix}{path}"
        return self._session.request(
            method,
            url,
            params={"op": operation, **options},
            headers={"Authorization": login} if login else {},
            allow_redirects=False,
            timeout=30,
        )

    def done(self, method: str, operation: str, path: str, **options: str) -> bool:
        answer = self.ask(method, operation, path, **options)
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["boolean"])

    def place(self, method: str, operation: str, path: str, login: str | None = None) -> str:
        answer = self.ask(method, operation, path, login)
        assert answer.status_code == 307, answer.text
        return answer.headers["Location"]

    def put(self, place: str, **headers: str) -> requests.Response:
        return self._session.put(place, data=b"rows", headers={**OCTETS, **headers}, timeout=30)

    def get(self, place: str, **headers: str) -> requests.Response:
        return self._session.get(place, headers=headers, timeout=30)


@pytest.fixture
def client(server: WebHdfsServer, session: requests.Session) -> Client:
    return Client(server, session)


def refusal(answer: requests.Response) -> tuple[int, str]:
    words: Any = answer.json()["RemoteException"]
    assert words["javaClassName"].endswith(f".{words['exception']}")
    assert words["message"]
    return answer.status_code, words["exception"]


# -- operations ----------------------------------------------------------------------------------


def test_a_file_is_written_and_read_in_two_steps(server: WebHdfsServer, client: Client) -> None:
    place = client.place("PUT", "CREATE", "/a b/file=1")
    assert f":{server.data_node.port}/" in place
    assert client.put(place).status_code == 201
    assert refusal(client.put(place)) == (403, "FileAlreadyExistsException")
    assert client.get(client.place("GET", "OPEN", "/a b/file=1")).content == b"rows"
    assert server.asked == {"CREATE": 1, "CREATE data": 2, "OPEN": 1, "OPEN data": 1}


def test_directories_are_made_permitted_listed_and_removed(client: Client) -> None:
    assert client.done("PUT", "MKDIRS", "/a/b")
    client.put(client.place("PUT", "CREATE", "/a/file"))
    assert client.ask("PUT", "SETPERMISSION", "/a/b", permission="777").status_code == 200
    listed = client.ask("GET", "LISTSTATUS", "/a").json()["FileStatuses"]["FileStatus"]
    facts = [(each["pathSuffix"], each["type"], each["length"]) for each in listed]
    assert facts == [("b", "DIRECTORY", 0), ("file", "FILE", 4)]
    told = client.ask("GET", "GETFILESTATUS", "/a/b").json()["FileStatus"]
    assert told["permission"] == "777"
    assert client.done("DELETE", "DELETE", "/a", recursive="true")
    assert not client.done("DELETE", "DELETE", "/a", recursive="true")
    home = client.ask("GET", "GETHOMEDIRECTORY", "/", **{"user.name": "backupd"})
    assert home.json() == {"Path": "/user/backupd"}


def test_a_rename_goes_into_a_directory_and_never_over_anything(client: Client) -> None:
    for path in ("/a/x", "/b", "/c"):
        client.done("PUT", "MKDIRS", path)
    assert client.done("PUT", "RENAME", "/a", destination="/b")
    assert client.ask("GET", "GETFILESTATUS", "/b/a/x").status_code == 200
    assert not client.done("PUT", "RENAME", "/a", destination="/c")
    assert not client.done("PUT", "RENAME", "/c", destination="/none/c")
    assert not client.done("PUT", "RENAME", "/b", destination="/b/a")
    client.done("PUT", "MKDIRS", "/a")
    assert not client.done("PUT", "RENAME", "/a", destination="/b")


@pytest.mark.parametrize(
    ("method", "operation", "path", "expected"),
    [
        ("GET", "OPEN", "/none", (404, "FileNotFoundException")),
        ("GET", "OPEN", "/a", (404, "FileNotFoundException")),
        ("GET", "GETFILESTATUS", "/none", (404, "FileNotFoundException")),
        ("GET", "LISTSTATUS", "/none", (404, "FileNotFoundException")),
        ("PUT", "SETPERMISSION", "/none", (404, "FileNotFoundException")),
        ("PUT", "MKDIRS", "/a/file", (403, "FileAlreadyExistsException")),
        ("PUT", "MKDIRS", "/a/file/b", (403, "ParentNotDirectoryException")),
        ("DELETE", "DELETE", "/a", (403, "PathIsNotEmptyDirectoryException")),
        ("GET", "NONSENSE", "/a", (400, "IllegalArgumentException")),
    ],
)
def test_what_cannot_be_done_is_told_as_a_remote_exception(
    client: Client, method: str, operation: str, path: str, expected: tuple[int, str]
) -> None:
    client.put(client.place("PUT", "CREATE", "/a/file"))
    assert refusal(client.ask(method, operation, path)) == expected


@pytest.mark.parametrize(
    ("state", "reading", "writing"),
    [
        ("standby", "StandbyException", "StandbyException"),
        ("safe mode", None, "SafeModeException"),
        ("starting", "RetriableException", "RetriableException"),
    ],
)
def test_a_name_node_that_is_not_active_refuses(
    server: WebHdfsServer, client: Client, state: State, reading: str | None, writing: str
) -> None:
    server.state = state
    answer = client.ask("GET", "GETFILESTATUS", "/")
    if reading is None:
        assert answer.status_code == 200
    else:
        assert refusal(answer) == (403, reading)
    assert refusal(client.ask("PUT", "CREATE", "/a")) == (403, writing)
    server.state = "active"
    assert client.done("PUT", "MKDIRS", "/a")


def test_two_name_nodes_share_their_files(tmp_path: Path, session: requests.Session) -> None:
    with running_webhdfs(tmp_path / "hdfs", count=2) as (first, second):
        first.state = "standby"
        assert Client(second, session).done("PUT", "MKDIRS", "/a")
        first.state, second.state = "active", "standby"
        assert Client(first, session).ask("GET", "GETFILESTATUS", "/a").status_code == 200


async def test_backupd_stages_and_merges_over_it(tmp_path: Path) -> None:
    with (
        running_hive(tmp_path / "hdfs") as hive,
        running_webhdfs(tmp_path / "hdfs") as (hdfs,),
    ):
        hive.tables.hdfs = tmp_path / "hdfs"
        url = f"webhdfs://127.0.0.1:{hdfs.port}/user/backupd/staging"
        warehouse = open_warehouse(hive_section(hive, staging_url=url))
        batch, rows = new_batch(4, days=2)
        assert await until_merged(warehouse, batch, rows) == []
        await assert_once(warehouse, rows)
        await warehouse.aclose()
    assert hdfs.asked["CREATE data"] > 0


# -- logins --------------------------------------------------------------------------------------


def test_a_token_of_negotiation_is_wanted_until_there_is_a_cookie(
    server: WebHdfsServer, client: Client
) -> None:
    server.login.negotiate = {b"good": True, b"late": "Clock skew too great (37)"}
    answer = client.ask("GET", "GETFILESTATUS", "/")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Negotiate")
    answer = client.ask("GET", "GETFILESTATUS", "/", negotiate(b"late"))
    assert (answer.status_code, answer.text) == (403, "Clock skew too great (37)")
    assert client.ask("GET", "GETFILESTATUS", "/", negotiate(b"good")).status_code == 200
    assert client.ask("GET", "GETFILESTATUS", "/none").status_code == 404
    assert server.login.logins == 1
    server.login.expire_cookies()
    assert client.ask("GET", "GETFILESTATUS", "/").status_code == 401


def test_a_redirect_with_a_token_takes_no_login(server: WebHdfsServer, client: Client) -> None:
    server.login.negotiate = lambda token: token == b"good"
    server.delegation = True
    place = client.place("PUT", "CREATE", "/file", negotiate(b"good"))
    assert "delegation=" in place
    answer = client.put(place, Authorization=negotiate(b"good"))
    assert refusal(answer) == (403, "SecurityException")
    assert refusal(client.put(place.partition("&delegation")[0])) == (403, "SecurityException")
    assert client.put(place).status_code == 201


def test_httpfs_redirects_to_itself_and_wants_a_type(
    server: WebHdfsServer, client: Client, session: requests.Session
) -> None:
    server.httpfs, server.login.negotiate = True, {b"good": True}
    place = client.place("PUT", "CREATE", "/file", negotiate(b"good"))
    assert f":{server.port}/" in place
    assert "data=true" in place
    assert client.put(place, **{"Content-Type": "text/plain"}).status_code == 400
    assert client.put(place).status_code == 201
    assert refusal(client.put(place)) == (500, "FileAlreadyExistsException")
    assert client.ask("GET", "OPEN", "/file").content == b"rows"
    session.cookies.clear()
    assert client.put(place).status_code == 401


def test_a_gateway_wants_a_password_under_its_own_path(
    server: WebHdfsServer, client: Client, session: requests.Session
) -> None:
    login = basic("backupd", "sesame")
    server.prefix, server.login.passwords = "/gateway/default/webhdfs/v1", {"backupd": "sesame"}
    place = client.place("PUT", "CREATE", "/file", login)
    assert f":{server.port}/gateway/default/" in place
    session.cookies.clear()
    assert client.put(place).status_code == 401
    assert client.put(place, Authorization=basic("backupd", "open")).status_code == 401
    assert client.put(place, Authorization=login).status_code == 201
    assert client.get(client.place("GET", "OPEN", "/file")).content == b"rows"
    server.prefix = "/elsewhere"
    assert client.get(place).status_code == 404


def test_both_nodes_speak_tls(tmp_path: Path, session: requests.Session) -> None:
    files = tls_files(tmp_path / "tls")
    session.verify = str(files.ca)
    with running_webhdfs(tmp_path / "hdfs", tls=(files.cert, files.key, None)) as (server,):
        client = Client(server, session)
        assert client.put(client.place("PUT", "CREATE", "/file")).status_code == 201
        session.verify = True
        session.close()  # a connection that is kept was verified once
        with pytest.raises(requests.exceptions.SSLError, match="unable to get local issuer"):
            client.ask("GET", "GETFILESTATUS", "/")


# -- faults --------------------------------------------------------------------------------------


def test_connections_break_before_or_after_it_was_done(
    server: WebHdfsServer, client: Client, tmp_path: Path
) -> None:
    server.cut_at("MKDIRS", "before")
    with pytest.raises(requests.ConnectionError):
        client.done("PUT", "MKDIRS", "/a")
    assert not (tmp_path / "hdfs/a").exists()
    place = client.place("PUT", "CREATE", "/b/file")
    server.cut_at("CREATE data", "after")
    with pytest.raises(requests.ConnectionError):
        client.put(place)
    assert (tmp_path / "hdfs/b/file").read_bytes() == b"rows"


def test_an_operation_is_refused_as_long_as_it_is_set(
    server: WebHdfsServer, client: Client
) -> None:
    denied = RemoteError("AccessControlException", "Permission denied: user=backupd")
    server.refusals["MKDIRS"] = denied
    assert refusal(client.ask("PUT", "MKDIRS", "/a")) == (403, "AccessControlException")
    del server.refusals["MKDIRS"]
    assert client.done("PUT", "MKDIRS", "/a")


def test_a_data_node_is_silent_or_dead_alone(
    server: WebHdfsServer, client: Client, session: requests.Session
) -> None:
    place = client.place("PUT", "CREATE", "/file")
    server.data_node.silent = True
    with pytest.raises(requests.ReadTimeout):
        session.put(place, data=b"rows", timeout=0.1)
    server.data_node.silent = False
    server.data_node.stop()
    with pytest.raises(requests.ConnectionError):
        client.put(place)
    server.data_node.start()
    assert client.put(place).status_code == 201
