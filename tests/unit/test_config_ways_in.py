"""The ways to Hive, Impala and HDFS: what `backupd check` can say of them without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.config import hive_files
from backupd.config.sections import KerberosSection
from support.configs import Changes, loaded, mistakes
from support.keytabs import keytab

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.config.sections import Config, HiveSection

ME = "backupd/host.example@EXAMPLE"
SECRET = "hunter2"
HIVE: Changes = {
    "warehouse.kind": '"hive"',
    "warehouse.hive.host": '"hive.example"',
    "warehouse.hive.staging_url": '"webhdfs://nn1,nn2/user/backupd/staging"',
}
KERBEROS: Changes = {"kerberos.principal": f'"{ME}"', "kerberos.keytab": '"TMP/keytab"'}
AUTH: Changes = {"warehouse.hive.auth": '"KERBEROS"'}
LDAP: Changes = {
    "warehouse.hive.auth": '"LDAP"',
    "warehouse.hive.password_file": '"TMP/password"',
}
IMPALA: Changes = {"warehouse.impala.host": '"impala.example"'}
TLS: Changes = {"warehouse.hive.tls": "true"}
CLIENT: Changes = {
    "warehouse.hive.tls_cert_file": '"TMP/tls/client.pem"',
    "warehouse.hive.tls_key_file": '"TMP/tls/client.key"',
}


@pytest.fixture(autouse=True)
def gssapi(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Have gssapi installed, as far as the config can see."""
    monkeypatch.setattr(hive_files, "find_spec", lambda _: object())
    return monkeypatch


@pytest.fixture(autouse=True)
def secrets(tmp_path: Path) -> None:
    keep(tmp_path / "keytab", keytab("backupd@OTHER", ME))
    keep(tmp_path / "password", f"{SECRET}\n".encode())


def keep(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def told(tmp_path: Path, changes: Changes) -> tuple[str, str]:
    """Return the key and the problem of the only mistake."""
    (only,) = mistakes(tmp_path, changes)
    assert SECRET not in str(only)
    assert only.allowed
    return only.key, only.problem


def hive_of(config: Config) -> HiveSection:
    assert config.warehouse.hive
    return config.warehouse.hive


# -- where the servers are -----------------------------------------------------------------------

HOSTS = '["a:1", "[::1]:2"]'


@pytest.mark.parametrize(
    ("given", "key", "problem"),
    [
        ({"host": None}, "host", "is missing"),
        ({"hosts": HOSTS}, "hosts", "stands beside host"),
        ({"zookeeper": HOSTS}, "zookeeper", "stands beside host"),
        ({"host": None, "hosts": HOSTS, "zookeeper": HOSTS}, "zookeeper", "stands beside hosts"),
        ({"hosts": HOSTS, "zookeeper": HOSTS}, "hosts", "stands beside host"),
        ({"host": None, "hosts": "[]"}, "hosts", "is an empty list"),
        ({"host": None, "hosts": '["hs2"]'}, "hosts", "is not a valid host and port"),
        ({"host": None, "hosts": '["a:1", "b:99999"]'}, "hosts", "is not a valid"),
        ({"host": None, "hosts": '["hive@a:1"]'}, "hosts", "is not a valid host and port"),
        ({"host": None, "zookeeper": '"zk1:2181"'}, "zookeeper", "is text, not a list"),
        ({"host": None, "zookeeper": '["zk1:2181/x"]'}, "zookeeper", "is not a valid host"),
        ({"zookeeper_namespace": '"/"'}, "zookeeper_namespace", "is not a valid path"),
        ({"http_path": '"a?b"'}, "http_path", "is not a valid path"),
        ({"transport": '"https"'}, "transport", "is 'https'"),
    ],
)
def test_servers_are_named_in_one_way(
    tmp_path: Path, given: dict[str, str | None], key: str, problem: str
) -> None:
    changes = {f"warehouse.hive.{name}": value for name, value in given.items()}
    found_key, found = told(tmp_path, HIVE | changes)
    assert found_key == f"warehouse.hive.{key}"
    assert problem in found


@pytest.mark.parametrize(
    ("given", "idle"),
    [
        ({"port": "10000"}, ()),
        ({"host": None, "hosts": HOSTS, "port": "10000"}, ("port",)),
        ({"host": None, "zookeeper": HOSTS, "port": "1"}, ("port",)),
        ({"zookeeper_namespace": '"hs2"'}, ("zookeeper_namespace",)),
        ({"host": None, "zookeeper": HOSTS, "zookeeper_namespace": '"hs2"'}, ()),
        ({"host": None, "zookeeper": HOSTS, "load_balanced": "true"}, ("load_balanced",)),
        ({"load_balanced": "true"}, ()),
    ],
)
def test_keys_that_nobody_reads_are_told(
    tmp_path: Path, given: dict[str, str | None], idle: tuple[str, ...]
) -> None:
    changes = {f"warehouse.hive.{name}": value for name, value in given.items()}
    config = loaded(tmp_path, HIVE | changes)
    assert config.inactive == tuple(f"warehouse.hive.{name}" for name in idle)


def test_several_servers_are_read_in_their_order(tmp_path: Path) -> None:
    changes: Changes = {"warehouse.hive.host": None, "warehouse.hive.hosts": HOSTS}
    hive = hive_of(loaded(tmp_path, HIVE | changes))
    assert (hive.hosts, hive.zookeeper) == ((("a", 1), ("::1", 2)), ())


def test_zookeeper_names_no_hiveserver2(tmp_path: Path) -> None:
    changes: Changes = {"warehouse.hive.host": None, "warehouse.hive.zookeeper": '["zk:2181"]'}
    hive = hive_of(loaded(tmp_path, HIVE | changes))
    assert (hive.hosts, hive.zookeeper) == ((), (("zk", 2181),))
    assert hive.zookeeper_namespace == "hiveserver2"


# -- Kerberos ------------------------------------------------------------------------------------


def test_kerberos_is_read(tmp_path: Path) -> None:
    impala = IMPALA | {"warehouse.impala.auth": '"KERBEROS"'}
    config = loaded(tmp_path, HIVE | AUTH | KERBEROS | impala)
    kerberos = KerberosSection(principal=ME, keytab=tmp_path / "keytab")
    hive = hive_of(config)
    assert hive.login.kerberos == hive.staging.kerberos == kerberos
    assert (hive.login.kerberos_service_name, hive.login.kerberos_host) == ("hive", "")
    assert config.warehouse.impala
    assert config.warehouse.impala.login.kerberos == kerberos
    assert config.warehouse.impala.login.kerberos_service_name == "impala"


def test_webhdfs_alone_may_want_kerberos(tmp_path: Path) -> None:
    hive = hive_of(loaded(tmp_path, HIVE | KERBEROS))
    assert hive.login.kerberos is None
    assert hive.staging.kerberos


def test_the_service_is_named_http_over_http_and_may_be_named(tmp_path: Path) -> None:
    http: Changes = {"warehouse.hive.transport": '"http"'}
    login = hive_of(loaded(tmp_path, HIVE | AUTH | KERBEROS | http)).login
    assert (login.kerberos_service_name, login.transport) == ("HTTP", "http")
    assert login.http_path == "cliservice"
    named: Changes = {
        "warehouse.hive.kerberos_service_name": '"hs2"',
        "warehouse.hive.kerberos_host": '"lb.example"',
    }
    login = hive_of(loaded(tmp_path, HIVE | AUTH | KERBEROS | http | named)).login
    assert (login.kerberos_service_name, login.kerberos_host) == ("hs2", "lb.example")


def test_kerberos_without_its_section_is_a_mistake(tmp_path: Path) -> None:
    key, problem = told(tmp_path, HIVE | AUTH)
    assert (key, problem) == ("kerberos", 'is missing, and auth = "KERBEROS" needs it')
    impala = IMPALA | {"warehouse.impala.auth": '"KERBEROS"'}
    assert told(tmp_path, HIVE | impala)[0] == "kerberos"


@pytest.mark.parametrize("name", ["principal", "keytab"])
def test_both_keys_of_kerberos_are_needed(tmp_path: Path, name: str) -> None:
    changes = HIVE | AUTH | KERBEROS | {f"kerberos.{name}": None}
    assert told(tmp_path, changes) == (f"kerberos.{name}", "is missing")


@pytest.mark.parametrize(
    "principal", ["backupd", "backupd/host.example", "@EXAMPLE", "a/b/c@EXAMPLE", "a b@EXAMPLE"]
)
def test_a_principal_needs_its_realm(tmp_path: Path, principal: str) -> None:
    key, problem = told(tmp_path, HIVE | KERBEROS | {"kerberos.principal": f'"{principal}"'})
    assert key == "kerberos.principal"
    assert problem == f"is {principal!r}, which is not a valid principal with its realm"


def test_a_keytab_that_is_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "keytab").unlink()
    key, problem = told(tmp_path, HIVE | KERBEROS)
    assert key == "kerberos.keytab"
    assert "cannot be read: No such file or directory" in problem


def test_a_keytab_that_others_can_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "keytab").chmod(0o640)
    key, problem = told(tmp_path, HIVE | KERBEROS)
    assert key == "kerberos.keytab"
    assert "which others can read (-rw-r-----): run chmod 600" in problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"-----BEGIN PRIVATE KEY-----", "is no keytab of version 0x0502"),
        (keytab(ME)[:-30], "is a keytab that is cut off or damaged"),
        (b"", "names an empty file"),
    ],
)
def test_what_is_no_keytab_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    keep(tmp_path / "keytab", content)
    key, found = told(tmp_path, HIVE | KERBEROS)
    assert key == "kerberos.keytab"
    assert problem in found


def test_a_keytab_of_others_names_them(tmp_path: Path) -> None:
    keep(tmp_path / "keytab", keytab("backupd@OTHER", "hive/a@EXAMPLE", "backupd@OTHER"))
    key, problem = told(tmp_path, HIVE | KERBEROS)
    assert key == "kerberos.keytab"
    assert f"has no key of {ME}, but of: backupd@OTHER, hive/a@EXAMPLE" in problem
    keep(tmp_path / "keytab", keytab())
    assert told(tmp_path, HIVE | KERBEROS)[1].endswith("but of: none")


def test_a_keytab_may_be_a_credential_of_systemd(tmp_path: Path) -> None:
    changes = HIVE | AUTH | KERBEROS | {"kerberos.keytab": '"keytab"'}
    config = loaded(tmp_path, changes, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    kerberos = hive_of(config).login.kerberos
    assert kerberos
    assert kerberos.keytab == tmp_path / "keytab"


def test_gssapi_must_be_installed(tmp_path: Path, gssapi: pytest.MonkeyPatch) -> None:
    gssapi.setattr(hive_files, "find_spec", lambda _: None)
    (only,) = mistakes(tmp_path, HIVE | AUTH | KERBEROS)
    assert only.key == "kerberos"
    assert "pip install" in only.allowed


# -- what contradicts ----------------------------------------------------------------------------


@pytest.mark.parametrize("section", ["hive", "impala"])
def test_nosasl_is_binary(tmp_path: Path, section: str) -> None:
    changes: Changes = {
        f"warehouse.{section}.auth": '"NOSASL"',
        f"warehouse.{section}.transport": '"http"',
    }
    key, problem = told(tmp_path, HIVE | IMPALA | changes)
    assert (key, problem) == (
        f"warehouse.{section}.auth",
        "is NOSASL, which there is only in binary",
    )


@pytest.mark.parametrize("auth", ["NONE", "NOSASL", "LDAP"])
@pytest.mark.parametrize("section", ["hive", "impala"])
@pytest.mark.parametrize("name", ["kerberos_service_name", "kerberos_host"])
def test_keys_of_kerberos_are_for_kerberos(
    tmp_path: Path, section: str, name: str, auth: str
) -> None:
    changes: Changes = {
        f"warehouse.{section}.auth": f'"{auth}"',
        f"warehouse.{section}.{name}": '"hive"',
    }
    password: Changes = {"warehouse.hive.password_file": '"TMP/password"'}
    found = told(tmp_path, HIVE | IMPALA | password | changes)
    assert found == (f"warehouse.{section}.{name}", f"is given, and auth is {auth}")


# -- passwords -----------------------------------------------------------------------------------


def test_a_gateway_gets_the_password_and_no_name_node_does(tmp_path: Path) -> None:
    config = loaded(tmp_path, HIVE | LDAP)
    assert hive_of(config).login.password == SECRET
    assert hive_of(config).staging.password is None
    url = '"swebhdfs://knox:8443/user/x?path_prefix=/gateway/default"'
    gateway: Changes = {"warehouse.hive.staging_url": url}
    staging = hive_of(loaded(tmp_path, HIVE | LDAP | gateway)).staging
    assert staging.password == SECRET
    assert staging.username == "backupd"
    assert hive_of(loaded(tmp_path, HIVE | gateway)).staging.password is None


def test_a_password_goes_to_who_asks_for_one(tmp_path: Path) -> None:
    http: Changes = {"warehouse.hive.transport": '"http"'}
    config = loaded(tmp_path, HIVE | LDAP | IMPALA | http)
    assert hive_of(config).login.password == SECRET
    assert config.warehouse.impala
    assert config.warehouse.impala.login.password is None


def test_the_user_of_the_staging_folder_is_the_urls(tmp_path: Path) -> None:
    url: Changes = {"warehouse.hive.staging_url": '"webhdfs://hdfs@nn1,nn2/x"'}
    hive = hive_of(loaded(tmp_path, HIVE | url | {"warehouse.hive.username": '"etl"'}))
    assert (hive.staging.username, hive.login.username) == ("hdfs", "etl")
    hive = hive_of(loaded(tmp_path, HIVE | {"warehouse.hive.username": '"etl"'}))
    assert hive.staging.username == "etl"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    url = '"webhdfs://knox:8443/x?path_prefix=/gateway/default"'
    gateway: Changes = {"warehouse.hive.staging_url": url}
    config = loaded(tmp_path, HIVE | LDAP | gateway | KERBEROS | IMPALA)
    assert hive_of(config).staging.password == SECRET
    assert SECRET not in repr(config)
    assert "kkkk" not in repr(config)


# -- what is not in use --------------------------------------------------------------------------


def test_what_is_not_in_use_is_not_judged(tmp_path: Path, gssapi: pytest.MonkeyPatch) -> None:
    gssapi.setattr(hive_files, "find_spec", lambda _: None)
    broken = AUTH | TLS | CLIENT | IMPALA | KERBEROS | {"warehouse.hive.hosts": HOSTS}
    for path in ("keytab", "password"):
        (tmp_path / path).unlink()
    config = loaded(tmp_path, HIVE | broken | {"warehouse.kind": '"embedded"'})
    assert config.warehouse.hive is None
    assert config.warehouse.impala is None
    assert config.inactive == ("warehouse.hive", "warehouse.impala", "kerberos")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "keytab").unlink()
    changes: Changes = {
        "warehouse.hive.hosts": HOSTS,
        "warehouse.hive.tls_ca_file": '"TMP/none.pem"',
        "warehouse.impala.kerberos_host": '"x"',
        "warehouse.impala.tls_cert_file": '"TMP/none.pem"',
    }
    found = {each.key for each in mistakes(tmp_path, HIVE | AUTH | KERBEROS | IMPALA | changes)}
    assert found == {
        "kerberos.keytab",
        "warehouse.hive.hosts",
        "warehouse.hive.tls_ca_file",
        "warehouse.impala.kerberos_host",
        "warehouse.impala.tls_cert_file",
        "warehouse.impala.tls_key_file",
    }
