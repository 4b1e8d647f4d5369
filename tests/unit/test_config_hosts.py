"""The hosts that the sections of Hive and Impala name, and what goes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.config import hive_files
from backupd.config.readers import BadValueError
from backupd.config.urls import host_name
from support.configs import Changes, loaded, mistakes
from support.keytabs import keytab

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.config.sections import HiveSection

ME = "backupd/host.example@EXAMPLE"
HIVE: Changes = {
    "warehouse.kind": '"hive"',
    "warehouse.hive.host": '"hive.example"',
    "warehouse.hive.staging_url": '"webhdfs://nn1,nn2/user/backupd/staging"',
}
LONG = "l" * 64
BAD_NAMES = ["a..b", f"{LONG}.example"]


def told(tmp_path: Path, changes: Changes) -> tuple[str, str]:
    """Return the key and the problem of the only mistake."""
    (only,) = mistakes(tmp_path, HIVE | changes)
    return only.key, only.problem


def hive_of(tmp_path: Path, changes: Changes) -> HiveSection:
    hive = loaded(tmp_path, HIVE | changes).warehouse.hive
    assert hive
    return hive


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["hive", "hive.example", "hive.example.", "10.0.0.7", "::1", "fe80::2", "hüve.example"]
)
def test_a_host_is_a_name_or_an_address(name: str) -> None:
    assert host_name(name) == name


@pytest.mark.parametrize(
    "name", [*BAD_NAMES, "hive:10001", "[::1]", "[::1]:10000", "::1::", "a b", "a/b", "u@h", "h?x"]
)
def test_anything_else_is_no_host(name: str) -> None:
    with pytest.raises(BadValueError, match="which is not a valid host name"):
        host_name(name)


@pytest.mark.parametrize("name", [*BAD_NAMES, "hive:10001", "[::1]"])
@pytest.mark.parametrize("key", ["warehouse.hive.host", "warehouse.impala.host"])
def test_a_bad_host_is_told(tmp_path: Path, key: str, name: str) -> None:
    problem = f"is {name!r}, which is not a valid host name"
    assert told(tmp_path, {key: f'"{name}"'}) == (key, problem)


@pytest.mark.parametrize("key", ["warehouse.hive.host", "warehouse.impala.host"])
def test_an_empty_host_is_told(tmp_path: Path, key: str) -> None:
    assert told(tmp_path, {key: '""'}) == (key, "is empty")


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("key", ["hosts", "zookeeper"])
def test_a_bad_host_in_a_list_is_told(tmp_path: Path, key: str, name: str) -> None:
    changes: Changes = {
        "warehouse.hive.host": None,
        f"warehouse.hive.{key}": f'["good:1", "{name}:2"]',
    }
    found_key, problem = told(tmp_path, changes)
    assert found_key == f"warehouse.hive.{key}"
    assert "which is not a valid host name" in problem


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("place", ["{}/x", "nn1,{}:1/x", "hdfs@{}:1/x"])
def test_a_bad_host_in_the_staging_url_is_told(tmp_path: Path, place: str, name: str) -> None:
    url = f'"webhdfs://{place.format(name)}"'
    key, problem = told(tmp_path, {"warehouse.hive.staging_url": url})
    assert key == "warehouse.hive.staging_url"
    assert "which is not a valid host name" in problem


@pytest.mark.parametrize("name", ["::1", "hüve.example"])
def test_good_hosts_are_read_everywhere(tmp_path: Path, name: str) -> None:
    in_url = f"[{name}]" if ":" in name else name
    changes: Changes = {
        "warehouse.hive.host": f'"{name}"',
        "warehouse.hive.staging_url": f'"webhdfs://{in_url}:1/x"',
        "warehouse.impala.host": f'"{name}"',
    }
    config = loaded(tmp_path, HIVE | changes)
    assert config.warehouse.hive
    assert config.warehouse.hive.hosts == ((name, 10000),)
    assert config.warehouse.hive.staging.url.servers == ((name, 1),)
    assert config.warehouse.impala


@pytest.mark.parametrize("key", ["hosts", "zookeeper"])
def test_a_server_that_is_named_twice_is_told(tmp_path: Path, key: str) -> None:
    changes: Changes = {
        "warehouse.hive.host": None,
        f"warehouse.hive.{key}": '["a:1", "b:1", "a:1"]',
    }
    assert told(tmp_path, changes) == (f"warehouse.hive.{key}", "names a server twice")
    changes[f"warehouse.hive.{key}"] = '["a:1", "a:2"]'
    assert hive_of(tmp_path, changes)


# -- what stands before the servers --------------------------------------------------------------


def test_a_load_balancer_is_there_only_if_it_is_said(tmp_path: Path) -> None:
    assert hive_of(tmp_path, {}).load_balanced is False
    assert hive_of(tmp_path, {"warehouse.hive.load_balanced": "true"}).load_balanced is True


def test_a_load_balancer_is_said_by_a_switch(tmp_path: Path) -> None:
    assert told(tmp_path, {"warehouse.hive.load_balanced": '"yes"'})[0].endswith("load_balanced")


@pytest.mark.parametrize("prefix", ["", "?path_prefix=/gateway/default"])
@pytest.mark.parametrize("auth", ["LDAP", "NONE"])
def test_a_gateway_gets_the_password_or_else_the_ticket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth: str, prefix: str
) -> None:
    monkeypatch.setattr(hive_files, "find_spec", lambda _: object())
    for name, content in (("keytab", keytab(ME)), ("password", b"sesame\n")):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    changes: Changes = {
        "kerberos.principal": f'"{ME}"',
        "kerberos.keytab": '"TMP/keytab"',
        "warehouse.hive.auth": f'"{auth}"',
        "warehouse.hive.password_file": '"TMP/password"' if auth == "LDAP" else None,
        "warehouse.hive.staging_url": f'"swebhdfs://knox:8443/user/x{prefix}"',
    }
    staging = hive_of(tmp_path, changes).staging
    by_password = bool(prefix) and auth == "LDAP"
    assert staging.password == ("sesame" if by_password else None)
    assert (staging.kerberos is None) == by_password
