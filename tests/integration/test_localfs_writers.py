"""Where the kernel tells that a file is still open for writing, on real file systems."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from backupd.cli.check import open_file_warnings
from backupd.localfs import leases
from backupd.localfs.leases import Writers, why_writers_unknown
from backupd.localfs.limits import Capability, has
from support.configs import loaded
from support.mounts import mounting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = 65534


@contextmanager
def without_cap_lease(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(leases, "has", lambda _: False)
        yield


def test_nothing_speaks_against_a_local_disk(tmp_path: Path) -> None:
    assert why_writers_unknown(str(tmp_path)) is None
    (tmp_path / "file").touch()
    assert why_writers_unknown(str(tmp_path)) is None


def test_nor_against_a_tmpfs(tmp_path: Path) -> None:
    with mounting() as mount:
        mount("-t", "tmpfs", "backupd-test", tmp_path)
        (tmp_path / "file").touch()
        assert why_writers_unknown(str(tmp_path)) is None


@pytest.mark.parametrize("capability", Capability)
def test_root_has_a_capability_and_who_gave_it_up_has_not(capability: Capability) -> None:
    assert has(capability)
    child = os.fork()
    if child == 0:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        os._exit(int(has(capability)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("owned", ["file", "directory"])
def test_files_of_another_user_need_the_capability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owned: str
) -> None:
    with without_cap_lease(monkeypatch):
        assert why_writers_unknown(str(tmp_path)) is None
        if owned == "file":
            (tmp_path / "ours").touch()
            (tmp_path / "theirs").touch()
            os.chown(tmp_path / "theirs", NOBODY, -1)
        else:
            os.chown(tmp_path, NOBODY, -1)
        reason = why_writers_unknown(str(tmp_path))
    assert reason is not None
    assert f"user {os.geteuid()}" in reason
    assert "CAP_LEASE" in reason
    assert why_writers_unknown(str(tmp_path)) is None


def test_a_network_file_system_does_not_tell_of_other_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "filesystem_type", lambda _: "nfs4")
    reason = why_writers_unknown(str(tmp_path))
    assert reason == "on a network file system (nfs4) writers on other hosts do not show"


def test_a_file_system_without_leases_is_found_by_trying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(leases, "_asked_for", lambda _: Writers.UNKNOWN)
    assert "gives no leases" in str(why_writers_unknown(str(tmp_path)))


def test_check_names_the_feeds_of_each_reason_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = loaded(tmp_path, {})
    assert list(open_file_warnings(config)) == []
    os.chown(tmp_path / "in" / "a", NOBODY, -1)
    os.chown(tmp_path / "in" / "b", NOBODY, -1)
    with without_cap_lease(monkeypatch):
        (warning,) = open_file_warnings(config)
    assert "files of traffic/a, traffic/b are still being written" in warning
    for advice in ("CAP_LEASE", "companion", ".partial or .filepart", "settle_for"):
        assert advice in warning


def test_check_names_a_few_of_many_feeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "filesystem_type", lambda _: "cifs")
    customers = [f"c{number}" for number in range(8)]
    for customer in customers:
        (tmp_path / "in" / customer).mkdir(parents=True)
    config = loaded(tmp_path, {"feeds.traffic.customers": str(customers).replace("'", '"')})
    (warning,) = open_file_warnings(config)
    assert "traffic/c4 and 3 more feeds are" in warning
    assert "c5" not in warning


@pytest.mark.parametrize(
    "changes",
    [
        {"intake.open_files": '"off"'},
        {"feeds.traffic.companion_suffix": '".sum"'},
    ],
)
def test_check_says_nothing_where_it_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None]
) -> None:
    monkeypatch.setattr(leases, "filesystem_type", lambda _: "cifs")
    assert list(open_file_warnings(loaded(tmp_path, changes))) == []


def test_a_companion_that_is_not_required_says_nothing_of_completeness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "filesystem_type", lambda _: "cifs")
    changes: dict[str, str | None] = {
        "feeds.traffic.companion_suffix": '".sum"',
        "feeds.traffic.companion_required": "false",
    }
    assert list(open_file_warnings(loaded(tmp_path, changes)))
