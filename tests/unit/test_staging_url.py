"""`staging_url`: WebHDFS of one or several servers, or a folder of another file system."""

from __future__ import annotations

import pytest

from backupd.config.readers import BadValueError
from backupd.config.urls import StagingUrl, host_and_port, staging_url


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ("nn", [("nn", 9870)]),
        ("nn:50070", [("nn", 50070)]),
        ("nn1,nn2", [("nn1", 9870), ("nn2", 9870)]),
        ("nn1:9870,nn2:9871,nn3", [("nn1", 9870), ("nn2", 9871), ("nn3", 9870)]),
        ("NN1.Example,10.0.0.1", [("nn1.example", 9870), ("10.0.0.1", 9870)]),
        ("[::1]", [("::1", 9870)]),
        ("[::1]:1,[fe80::2]:2,nn", [("::1", 1), ("fe80::2", 2), ("nn", 9870)]),
    ],
)
def test_webhdfs_names_one_or_several_servers(
    servers: str, expected: list[tuple[str, int]]
) -> None:
    url = staging_url(f"webhdfs://{servers}/user/backupd/staging")
    assert url.servers == tuple(expected)
    assert (url.path, url.username, url.path_prefix) == ("/user/backupd/staging", "", "")
    assert url.is_webhdfs


def test_swebhdfs_has_a_port_of_its_own() -> None:
    assert staging_url("swebhdfs://nn1,nn2:1/x").servers == (("nn1", 9871), ("nn2", 1))


def test_a_scheme_may_be_written_in_any_case() -> None:
    url = staging_url("WebHDFS://nn1,nn2/x")
    assert (url.scheme, url.servers) == ("webhdfs", (("nn1", 9870), ("nn2", 9870)))


def test_the_user_stands_before_all_servers() -> None:
    url = staging_url("webhdfs://hdfs%40EXAMPLE@nn1,nn2:1/x/")
    assert (url.username, url.path) == ("hdfs@EXAMPLE", "/x")
    assert url.servers == (("nn1", 9870), ("nn2", 1))


def test_a_gateway_has_a_prefix() -> None:
    url = staging_url("swebhdfs://knox:8443/user/x?path_prefix=/gateway/default/")
    assert url == StagingUrl(
        text="swebhdfs://knox:8443/user/x?path_prefix=/gateway/default/",
        scheme="swebhdfs",
        username="",
        servers=(("knox", 8443),),
        path="/user/x",
        path_prefix="/gateway/default",
    )


@pytest.mark.parametrize(
    ("text", "username", "path"),
    [
        ("file:///mnt/staging", "", "/mnt/staging"),
        ("file:///mnt/staging/", "", "/mnt/staging"),
        ("hdfs://hive@nn:8020/user/x", "hive", "/user/x"),
        ("s3://bucket/a/b=c", "", "/a/b=c"),
        ("abfs://container/x", "", "/x"),
    ],
)
def test_other_file_systems_name_no_server(text: str, username: str, path: str) -> None:
    url = staging_url(text)
    assert (url.text, url.username, url.path) == (text, username, path)
    assert (url.servers, url.path_prefix, url.is_webhdfs) == ((), "", False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("webhdfs:///x", "names no host"),
        ("webhdfs://nn1,,nn2/x", "names no host"),
        ("webhdfs://nn1,/x", "names no host"),
        ("webhdfs://,nn1/x", "names no host"),
        ("webhdfs://:9870/x", "not a host and port"),
        ("webhdfs://nn1,:9870/x", "not a host and port"),
        ("webhdfs://nn:0/x", "not a host and port"),
        ("webhdfs://nn1,nn2:0/x", "not a host and port"),
        ("webhdfs://nn1,nn2:99999/x", "is not a valid URL"),
        ("webhdfs://nn1,nn2:http/x", "is not a valid URL"),
        ("webhdfs://[::1,nn2/x", "is not a valid URL"),
        ("webhdfs://nn1,hdfs@nn2/x", "a user"),
        ("webhdfs://hdfs@nn1,hdfs@nn2/x", "a user"),
        ("webhdfs://u:p@nn1,nn2/x", "holds a password"),
        ("webhdfs://nn1,u:p@nn2/x", "a user"),
        ("webhdfs://nn", "needs a path below /"),
        ("webhdfs://nn1,nn2", "needs a path below /"),
        ("webhdfs://nn/", "needs a path below /"),
        ("webhdfs://nn/a//b", "needs a path below /"),
        ("webhdfs://nn/a/../b", "needs a path below /"),
        ("webhdfs://nn/a b", "needs a path below /"),
        ("webhdfs://nn/a%20b", "needs a path below /"),
        ("webhdfs://nn/x#y", "is not a valid URL of a folder"),
        ("webhdfs://nn/x?user.name=hive", "has a query that is not ?path_prefix"),
        ("webhdfs://nn/x?path_prefix=", "has a query that is not ?path_prefix"),
        ("webhdfs://nn/x?path_prefix=gateway", "has a query that is not ?path_prefix"),
        ("webhdfs://nn/x?path_prefix=/a&path_prefix=/b", "has a query that is not ?path_prefix"),
        ("webhdfs://nn/x?path_prefix=/a/../b", "has a query that is not ?path_prefix"),
        ("s3://bucket/x?path_prefix=/a", "is not a valid URL of a folder"),
        ("/x", "is not a valid URL of a folder"),
        ("", "is empty"),
    ],
)
def test_each_mistake_is_told(text: str, problem: str) -> None:
    with pytest.raises(BadValueError) as caught:
        staging_url(text)
    assert problem in str(caught.value)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("hs2.example:10000", ("hs2.example", 10000)), ("[::1]:2181", ("::1", 2181))],
)
def test_a_host_and_its_port_are_read(text: str, expected: tuple[str, int]) -> None:
    assert host_and_port(text) == expected


@pytest.mark.parametrize(
    "text", ["hs2", "hs2:", ":1", "hs2:0", "a@hs2:1", "hs2:1/x", "hs2:1,hs3:1", "::1:2", "hs2:x"]
)
def test_anything_else_is_no_host_and_port(text: str) -> None:
    with pytest.raises(BadValueError, match="is not a valid"):
        host_and_port(text)
