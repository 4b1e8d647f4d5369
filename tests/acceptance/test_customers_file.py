"""A daemon whose customers are listed in a file that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.daemon import Host, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BY_FILE = {"feeds.traffic.customers": None, "feeds.traffic.customers_file": '"TMP/customers"'}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "customers").write_text("# customer\na\n")
    return Host(tmp_path, BY_FILE)


def _spoilt(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def test_a_new_customers_files_are_taken_without_a_reload(host: Host) -> None:
    with host.daemon() as daemon:
        daemon.tells("ready", feeds=1)

        (host.root / "customers").write_text("a\nb\n")
        host.deliver_to_other("b_1.csv")
        host.deliver("a_1.csv")

        daemon.tells("ready", feeds=2)
        until(
            lambda: host.standing() == {"a_1.csv": "cleanup done", "b_1.csv": "cleanup done"},
            lambda: str(host.standing()),
        )
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    "spoil",
    [_spoilt(""), _spoilt("a\nb"), lambda path: path.unlink()],
    ids=["empty", "half", "gone"],
)
def test_the_last_good_list_stays_and_it_is_told(
    host: Host, spoil: Callable[[Path], object]
) -> None:
    file = host.root / "customers"
    with host.daemon() as daemon:
        spoil(file)

        until(host.shown_incidents, lambda: str(daemon.told()))
        (incident,) = host.shown_incidents()
        assert (incident["kind"], incident["cause"]) == ("customers", "customers:traffic")
        assert str(file) in incident["reason"]
        host.deliver("a_1.csv")
        until(lambda: host.standing() == {"a_1.csv": "cleanup done"}, lambda: str(host.standing()))

        file.write_text("a\nb\n")
        daemon.tells("incident closed", kind="customers")
        daemon.tells("ready", feeds=2)
        assert daemon.stop() == 0


def test_a_restart_without_the_file_goes_on_with_the_last_good_list(host: Host) -> None:
    with host.daemon() as daemon:
        assert daemon.stop() == 0
    (host.root / "customers").unlink()

    check = host.backupd("check")
    host.deliver("a_1.csv")
    once = host.once()

    assert check.returncode == 0
    assert (
        "cannot be read: No such file or directory: the last good list stays, of 1" in check.stderr
    )
    assert once.returncode == 0
    assert host.standing() == {"a_1.csv": "cleanup done"}


def test_a_change_of_customers_takes_nothing_else_of_the_config(host: Host) -> None:
    with host.daemon() as daemon:
        daemon.tells("ready", feeds=1)
        host.configure({**BY_FILE, "feeds.traffic.pattern": '"nothing-like-it"'})

        (host.root / "customers").write_text("a\nb\n")

        daemon.tells("ready", feeds=2)
        host.deliver("a_1.csv")
        until(lambda: host.standing() == {"a_1.csv": "cleanup done"}, lambda: str(host.standing()))
        assert daemon.stop() == 0


def test_a_customer_without_a_directory_holds_up_nobody(host: Host) -> None:
    (host.root / "customers").write_text("a\nnew\n")
    with host.daemon() as daemon:
        daemon.tells("incident opened", kind="feed", feed="traffic/new")
        host.deliver("a_1.csv")
        until(lambda: host.standing() == {"a_1.csv": "cleanup done"}, lambda: str(host.standing()))

        (host.root / "in" / "new").mkdir()
        (host.root / "in" / "new" / "new_1.csv").write_bytes(b"A;B\n1;2\n")

        until(
            lambda: host.standing().get("new_1.csv") == "cleanup done",
            lambda: str(host.standing()),
        )
        assert daemon.stop() == 0
