"""The reader of the fault campaigns finds what is planted, and in the right column."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from support.fault_site import Site

if TYPE_CHECKING:
    from pathlib import Path

    from support.verdicts import Verdict

TEXT = b"one\ntwo\n"
NAME = "eLUX/cdr/a.csv"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site on which one file was delivered, registered and shipped, and all is over."""
    site = Site(tmp_path)
    digest = site.book.put(NAME, TEXT)
    archived(site, f"{NAME}.gz", gzip.compress(TEXT, mtime=0))
    rows(site, "one.parquet", ("f1", "a.csv", digest, 2))
    with sqlite3.connect(site.places.ledger) as ledger:
        ledger.execute("CREATE TABLE files (path BLOB, stage, status, reason)")
        ledger.execute("CREATE TABLE incidents (kind, cause, reason, closed_at)")
    ledger.close()
    return site


def archived(site: Site, name: str, content: bytes) -> None:
    path = site.places.archive / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def rows(site: Site, name: str, *those: tuple[str, str, str, int]) -> None:
    """Write rows, each an id, a file's name, its SHA-256 and records."""
    directory = site.places.warehouse / "production" / "file_date=2026-11-23"
    directory.mkdir(parents=True, exist_ok=True)
    table = [
        {"file_id": file_id, "customer": "eLUX", "file_type": "cdr", "file_name": file_name,
         "sha256": digest, "size_bytes": len(TEXT), "record_count": records}
        for file_id, file_name, digest, records in those
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(table), directory / name)


def in_ledger(site: Site, statement: str, *values: object) -> None:
    with sqlite3.connect(site.places.ledger) as ledger:
        ledger.execute(statement, values)
    ledger.close()


def found(verdict: Verdict) -> dict[str, int]:
    return {name: number for name, number in verdict.counts().items() if number}


def the_digest(site: Site) -> str:
    ((_, digest),) = site.book.owed
    return digest


def test_where_all_is_well_it_finds_nothing(site: Site) -> None:
    assert found(site.reader.in_the_end()) == {}


def test_what_is_nowhere_is_lost(site: Site) -> None:
    shutil.rmtree(site.places.archive)
    assert found(site.reader.now()) == {"lost": 1}


def test_what_has_no_row_is_lost(site: Site) -> None:
    shutil.rmtree(site.places.warehouse)
    assert found(site.reader.now()) == {"lost": 1}


def test_what_is_still_local_is_not_lost_but_left_over_in_the_end(site: Site) -> None:
    shutil.rmtree(site.places.archive)
    (site.feed / ".moved-aside").write_bytes(TEXT)
    assert found(site.reader.now()) == {}
    assert found(site.reader.in_the_end()) == {"left_over": 1}


@pytest.mark.parametrize(
    "content", [gzip.compress(b"one\n", mtime=0), gzip.compress(TEXT, mtime=0)[:-3], b""]
)
def test_half_a_copy_is_wrong_and_its_file_lost(site: Site, content: bytes) -> None:
    archived(site, f"{NAME}.gz", content)
    assert found(site.reader.now()) == {"lost": 1, "wrong": 1}


def test_what_was_never_delivered_so_is_wrong(site: Site) -> None:
    archived(site, "eLUX/cdr/b.csv.gz", gzip.compress(TEXT, mtime=0))
    assert found(site.reader.now()) == {"wrong": 1}


def test_a_copy_under_its_other_name_is_right_and_under_both_doubled(site: Site) -> None:
    other = site.places.archive / f"{NAME}.{the_digest(site)[:8]}.gz"
    (site.places.archive / f"{NAME}.gz").rename(other)
    assert found(site.reader.now()) == {}
    archived(site, f"{NAME}.gz", gzip.compress(TEXT, mtime=0))
    assert found(site.reader.now()) == {"doubled": 1}


def test_two_rows_of_a_file_are_doubled(site: Site) -> None:
    rows(site, "two.parquet", ("f2", "a.csv", the_digest(site), 2))
    assert found(site.reader.now()) == {"doubled": 1}


def test_two_rows_of_an_id_are_doubled_too(site: Site) -> None:
    digest = site.book.put("eLUX/cdr/b.csv", TEXT)
    archived(site, "eLUX/cdr/b.csv.gz", gzip.compress(TEXT, mtime=0))
    rows(site, "two.parquet", ("f1", "b.csv", digest, 2))
    assert found(site.reader.now()) == {"doubled": 1}


def test_a_row_with_a_wrong_count_is_wrong(site: Site) -> None:
    rows(site, "one.parquet", ("f1", "a.csv", the_digest(site), 3))
    assert found(site.reader.now()) == {"wrong": 1}


def test_a_file_of_somebody_else_that_was_written_over_or_removed_is_wrong(site: Site) -> None:
    site.book.foreign["eLUX/cdr/b.csv.gz"] = b"theirs"
    assert found(site.reader.now()) == {"wrong": 1}
    archived(site, "eLUX/cdr/b.csv.gz", b"ours")
    assert found(site.reader.now()) == {"wrong": 1}
    archived(site, "eLUX/cdr/b.csv.gz", b"theirs")
    assert found(site.reader.now()) == {}


def test_what_was_touched_outside_is_wrong(site: Site) -> None:
    outside = site.root / "outside"
    outside.mkdir()
    (outside / "changed").write_bytes(b"precious")
    (outside / "removed").write_bytes(b"precious")
    site.book.guard(outside)
    (outside / "changed").write_bytes(b"touched")
    (outside / "removed").unlink()
    (outside / "new").touch()
    assert found(site.reader.now()) == {"wrong": 3}


def test_what_its_sender_took_back_may_be_anywhere(site: Site) -> None:
    site.book.take_back(NAME, TEXT)
    shutil.rmtree(site.places.archive)
    assert found(site.reader.now()) == {}


def test_what_lies_where_nothing_should_is_left_over(site: Site) -> None:
    archived(site, "eLUX/cdr/.b.csv.gz.1.part", b"half")
    archived(site, ".backupd-id", b"a mark")
    staged = site.places.warehouse / "staging" / "b1" / "b1.parquet"
    staged.parent.mkdir(parents=True)
    staged.touch()
    site.places.socket.touch()
    site.places.ledger.with_name("ledger.db-wal").touch()
    assert found(site.reader.in_the_end()) == {"left_over": 4}


def test_what_is_not_done_is_left_over(site: Site) -> None:
    path = bytes(site.places.feeds / NAME)
    in_ledger(site, "INSERT INTO files VALUES (?, 'ship', 'waiting', '')", path)
    assert found(site.reader.in_the_end()) == {"left_over": 1}


def test_a_parked_file_is_a_false_alarm_unless_it_is_to_be_parked_for_this_reason(
    site: Site,
) -> None:
    path = bytes(site.places.feeds / "eLUX/cdr/b.csv")
    in_ledger(site, "INSERT INTO files VALUES (?, 'ship', 'parked', 'it vanished')", path)
    assert found(site.reader.in_the_end()) == {"false_alarms": 1}
    site.book.excused["eLUX/cdr/b.csv"] = "not UTF-8"
    assert found(site.reader.in_the_end()) == {"false_alarms": 1}
    site.book.excused["eLUX/cdr/b.csv"] = "vanished"
    assert found(site.reader.in_the_end()) == {}


def test_an_incident_is_a_false_alarm_unless_it_was_to_be_expected_and_is_over(
    site: Site,
) -> None:
    in_ledger(site, "INSERT INTO incidents VALUES ('dependency', 'archive', 'refused', 5.0)")
    assert found(site.reader.in_the_end()) == {"false_alarms": 1}
    assert found(site.reader.in_the_end("dependency archive")) == {}
    in_ledger(site, "UPDATE incidents SET closed_at = NULL")
    assert found(site.reader.in_the_end("dependency archive")) == {"false_alarms": 1}
