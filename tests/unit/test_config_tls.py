"""TLS to Hive, Impala and HDFS: its files are read and judged without a network."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization

from backupd.config.sections import TlsSection
from support.configs import Changes, loaded, mistakes, write
from support.tls import tls_files

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.config.sections import Config, HiveSection
    from support.tls import TlsFiles

HIVE: Changes = {
    "warehouse.kind": '"hive"',
    "warehouse.hive.host": '"hive.example"',
    "warehouse.hive.staging_url": '"swebhdfs://nn1,nn2/user/backupd/staging"',
}
IMPALA: Changes = {"warehouse.impala.host": '"impala.example"'}
TLS: Changes = {"warehouse.hive.tls": "true"}
CLIENT: Changes = {
    "warehouse.hive.tls_cert_file": '"TMP/tls/client.pem"',
    "warehouse.hive.tls_key_file": '"TMP/tls/client.key"',
}


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return tls_files(tmp_path / "tls")


def told(tmp_path: Path, changes: Changes) -> tuple[str, str]:
    """Return the key and the problem of the only mistake."""
    (only,) = mistakes(tmp_path, changes)
    assert only.allowed
    return only.key, only.problem


def hive_of(config: Config) -> HiveSection:
    assert config.warehouse.hive
    return config.warehouse.hive


@pytest.mark.usefixtures("files")
def test_tls_is_read_where_it_is_on(tmp_path: Path) -> None:
    ca: Changes = {"warehouse.hive.tls_ca_file": '"TMP/tls/ca.pem"'}
    config = loaded(tmp_path, HIVE | IMPALA | TLS | ca | CLIENT)
    place = tmp_path / "tls"
    section = TlsSection(
        ca_file=place / "ca.pem", cert_file=place / "client.pem", key_file=place / "client.key"
    )
    assert hive_of(config).login.tls == section
    assert hive_of(config).staging.tls == section
    assert config.warehouse.impala
    assert config.warehouse.impala.login.tls is None


def test_tls_is_off_unless_it_is_on(tmp_path: Path) -> None:
    hive = hive_of(loaded(tmp_path, HIVE))
    assert hive.login.tls is None
    assert hive.staging.tls == TlsSection(ca_file=None, cert_file=None, key_file=None)


def test_impala_has_tls_of_its_own(tmp_path: Path, files: TlsFiles) -> None:
    changes: Changes = {
        "warehouse.impala.tls": "true",
        "warehouse.impala.tls_ca_file": f'"{files.ca}"',
    }
    config = loaded(tmp_path, HIVE | IMPALA | changes)
    assert hive_of(config).login.tls is None
    assert config.warehouse.impala
    assert config.warehouse.impala.login.tls
    assert config.warehouse.impala.login.tls.ca_file == files.ca


@pytest.mark.parametrize("section", ["hive", "impala"])
def test_a_ca_file_must_hold_certificates(tmp_path: Path, files: TlsFiles, section: str) -> None:
    key = f"warehouse.{section}.tls_ca_file"
    base = HIVE | IMPALA | {f"warehouse.{section}.tls": "true"}
    for given, problem in (
        ("TMP/none.pem", "cannot be read: No such file or directory"),
        (str(files.key), "which holds no CA certificate"),
        ("TMP/config.toml", "which holds no CA certificate"),
    ):
        found_key, found = told(tmp_path, base | {key: f'"{given}"'})
        assert found_key == key
        assert problem in found


@pytest.mark.parametrize(
    ("there", "missing"),
    [("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")],
)
@pytest.mark.usefixtures("files")
def test_a_client_certificate_and_its_key_belong_together(
    tmp_path: Path, there: str, missing: str
) -> None:
    changes = HIVE | TLS | CLIENT | {f"warehouse.hive.{missing}": None}
    assert told(tmp_path, changes) == (f"warehouse.hive.{missing}", f"is missing beside {there}")


def test_a_clients_key_that_others_can_read_is_told(tmp_path: Path, files: TlsFiles) -> None:
    files.client_key.chmod(0o644)
    key, problem = told(tmp_path, HIVE | TLS | CLIENT)
    assert key == "warehouse.hive.tls_key_file"
    assert "which others can read" in problem


@pytest.mark.parametrize("name", ["tls_cert_file", "tls_key_file"])
@pytest.mark.usefixtures("files")
def test_a_clients_file_that_is_missing_is_told(tmp_path: Path, name: str) -> None:
    key, problem = told(tmp_path, HIVE | TLS | CLIENT | {f"warehouse.hive.{name}": '"TMP/none"'})
    assert key == f"warehouse.hive.{name}"
    assert "cannot be read" in problem


def test_a_pair_that_does_not_fit_is_told(tmp_path: Path, files: TlsFiles) -> None:
    other: Changes = {"warehouse.hive.tls_key_file": f'"{files.key}"'}
    key, problem = told(tmp_path, HIVE | TLS | CLIENT | other)
    assert key == "warehouse.hive.tls_cert_file"
    assert f"{files.client_cert}, which does not go with {files.key}" in problem


LOAD = """
import os, sys
from pathlib import Path
os.close(os.open(sys.argv[1], os.O_RDWR))  # from now on this process's terminal
from backupd.config import ConfigMistakes, load
try:
    load(Path(sys.argv[2]), environ={})
except ConfigMistakes as error:
    print(error)
"""


def test_a_key_with_a_password_is_told_and_nobody_is_asked_for_it(
    tmp_path: Path, files: TlsFiles
) -> None:
    key = serialization.load_pem_private_key(files.client_key.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    )
    files.client_key.write_bytes(encrypted)
    path = write(tmp_path, HIVE | TLS | CLIENT)
    ours, theirs = pty.openpty()
    try:
        ended = subprocess.run(
            [sys.executable, "-c", LOAD, os.ttyname(theirs), path],
            start_new_session=True,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 100)
    finally:
        os.close(ours)
        os.close(theirs)
    assert f"warehouse.hive.tls_cert_file names {files.client_cert}, which does" in ended.stdout


@pytest.mark.usefixtures("files")
def test_files_for_tls_without_tls_are_a_mistake(tmp_path: Path) -> None:
    """Whoever names them means to be safe: a password must not go in clear against all looks."""
    plain: Changes = {"warehouse.hive.staging_url": '"webhdfs://nn1/user/backupd/staging"'}
    ca: Changes = {"warehouse.hive.tls_ca_file": '"TMP/tls/ca.pem"'}
    assert told(tmp_path, HIVE | plain | ca) == (
        "warehouse.hive.tls_ca_file",
        "is given, and tls is false",
    )
    loaded(tmp_path, HIVE | ca)  # for swebhdfs
    impala: Changes = {"warehouse.impala.tls_ca_file": '"TMP/tls/ca.pem"'}
    key, _ = told(tmp_path, HIVE | IMPALA | impala)
    assert key == "warehouse.impala.tls_ca_file"
