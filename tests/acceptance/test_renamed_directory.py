"""A directory is renamed while its files are on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.daemon import Host, until

if TYPE_CHECKING:
    from pathlib import Path


def test_its_files_have_one_row_and_one_copy_each(tmp_path: Path) -> None:
    host = Host(tmp_path, {"feeds.traffic.recursive": "true"})
    in_the_way = tmp_path / "warehouse"
    in_the_way.touch()
    (host.inbox / "a" / "deep").mkdir(parents=True)
    names = [f"{number}.csv" for number in range(10)]
    for name in names:
        host.deliver(f"a/deep/{name}", name.encode() + b"\n1;2\n")
    with host.daemon():
        until(
            lambda: set(host.standing().values()) == {"load waiting"}, lambda: str(host.standing())
        )
        (host.inbox / "a").rename(host.inbox / "b")
        until(lambda: all("/b/" in file.path for file in host.files()), lambda: str(host.files()))
        in_the_way.unlink()
        until(
            lambda: set(host.standing().values()) == {"cleanup done"}, lambda: str(host.standing())
        )
    assert len(host.files()) == len(names)
    assert sorted(host.archived()) == [f"a/a/deep/{name}.gz" for name in names]
    assert list(host.inbox.rglob("*.csv")) == []
    assert len(host.rows()) == len(names)
