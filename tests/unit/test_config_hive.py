"""`[warehouse.hive]`: needed by its kind alone, its password by LDAP alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.config import write_paths
from support.configs import Changes, loaded, mistakes

if TYPE_CHECKING:
    from pathlib import Path

HIVE: Changes = {
    "warehouse.kind": '"hive"',
    "warehouse.hive.host": '"hive.example"',
    "warehouse.hive.staging_url": '"webhdfs://namenode:9870/user/backupd/staging"',
}
LDAP: Changes = {"warehouse.hive.auth": '"LDAP"'}
PASSWORD: Changes = {"warehouse.hive.password_file": '"TMP/password"'}


def test_a_hive_warehouse_has_defaults(tmp_path: Path) -> None:
    config = loaded(tmp_path, HIVE)
    hive = config.warehouse.hive
    assert hive is not None
    assert hive.hosts == (("hive.example", 10000),)
    assert (hive.login.auth, hive.login.username) == ("NONE", "backupd")
    assert hive.statement_timeout == 1800
    assert hive.login.password is None
    assert config.inactive == ()


def test_batches_wait_longer_for_hive_unless_the_config_says_how_long(tmp_path: Path) -> None:
    assert loaded(tmp_path, HIVE).batch.max_wait == 600
    assert loaded(tmp_path, HIVE | {"batch.max_files": "7"}).batch.max_wait == 600
    assert loaded(tmp_path, HIVE | {"batch.max_wait": '"30s"'}).batch.max_wait == 30
    assert loaded(tmp_path, HIVE | {"warehouse.kind": None}).batch.max_wait == 30


def test_a_kind_that_there_is_not_is_one_mistake(tmp_path: Path) -> None:
    (only,) = mistakes(tmp_path, {"warehouse.kind": '"hvie"'})
    assert only.key == "warehouse.kind"


def test_a_hive_section_without_its_kind_is_told(tmp_path: Path) -> None:
    config = loaded(tmp_path, HIVE | {"warehouse.kind": None})
    assert config.warehouse.hive is None
    assert config.inactive == ("warehouse.hive",)


def test_the_kind_without_its_section_is_a_mistake(tmp_path: Path) -> None:
    (only,) = mistakes(tmp_path, {"warehouse.kind": '"hive"'})
    assert str(only).startswith('warehouse.hive is missing, and kind = "hive" needs it')


def test_ldap_reads_its_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    (tmp_path / "password").chmod(0o600)
    config = loaded(tmp_path, HIVE | LDAP | PASSWORD)
    assert config.warehouse.hive is not None
    assert config.warehouse.hive.login.password == "hunter2"
    assert "hunter2" not in repr(config)


def test_ldap_without_a_password_is_a_mistake(tmp_path: Path) -> None:
    (only,) = mistakes(tmp_path, HIVE | LDAP)
    assert str(only).startswith("warehouse.hive.password_file is missing")


def test_a_password_that_others_can_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    (tmp_path / "password").chmod(0o644)
    (only,) = mistakes(tmp_path, HIVE | LDAP | PASSWORD)
    assert "which others can read" in str(only)
    assert "hunter2" not in str(only)


def test_impala_has_the_login_of_hive(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    (tmp_path / "password").chmod(0o600)
    impala: Changes = {
        "warehouse.impala.host": '"impala.example"',
        "warehouse.impala.auth": '"LDAP"',
    }
    config = loaded(tmp_path, HIVE | impala | PASSWORD)
    assert config.warehouse.impala is not None
    assert config.warehouse.impala.login.password == "hunter2"
    assert config.warehouse.hive is not None
    assert config.warehouse.hive.login.password is None
    (only,) = mistakes(tmp_path, HIVE | impala)
    assert str(only).startswith("warehouse.hive.password_file is missing")


def test_a_local_staging_folder_must_be_writable_and_the_embedded_root_need_not(
    tmp_path: Path,
) -> None:
    config = loaded(tmp_path, HIVE | {"warehouse.hive.staging_url": '"file:///mnt/staging"'})
    paths = [str(path) for path in write_paths(config)]
    assert "/mnt/staging" in paths
    assert "/var/lib/backupd/warehouse" not in paths


def test_insert_needs_no_more_than_its_name(tmp_path: Path) -> None:
    config = loaded(tmp_path, HIVE | {"warehouse.hive.merge": '"insert"'})
    assert config.warehouse.hive is not None
    assert config.warehouse.hive.merge == "insert"
    assert config.warehouse.hive.staging_table == "customers_files_inter_record_count"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("staging_table", "production_table"),
        ("history_table", "production_table"),
        ("history_table", "staging_table"),
    ],
)
def test_no_table_is_meant_for_two_things(tmp_path: Path, name: str, other: str) -> None:
    names: Changes = {f"warehouse.hive.{name}": '"Rows"', f"warehouse.hive.{other}": '"rows"'}
    (only,) = mistakes(tmp_path, HIVE | names)
    assert str(only).startswith(f"warehouse.hive.{name} is the {other.replace('_', ' ')}")


def test_the_historys_table_has_a_name_of_its_own(tmp_path: Path) -> None:
    config = loaded(tmp_path, HIVE | {"warehouse.hive.history_table": '"past"'})
    assert config.warehouse.hive is not None
    assert config.warehouse.hive.history_table == "past"
    (only,) = mistakes(tmp_path, HIVE | {"warehouse.hive.history_table": '"past;"'})
    assert "which is not a name of letters, digits and _" in str(only)
