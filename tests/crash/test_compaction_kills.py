"""SIGKILL at any moment of a compaction: no row lost or doubled, and all sums stay true."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet as pq

from backupd.ledger import LedgerReader, places
from support.compacting import DATE, begun
from support.killed_victims import killed_after, run_to_its_end

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 0.4  # seconds from its beginning to its end by a kill: some compactions
PROGRAM = "support.compacting"


@pytest.mark.parametrize(
    "kills", [6, pytest.param(60, marks=pytest.mark.slow)], ids="{} kills".format
)
def test_killed_at_any_moment(tmp_path: Path, kills: int) -> None:
    moments = random.Random(kills)
    switched = 0
    for _ in range(kills):
        killed_after(PROGRAM, tmp_path, moments.uniform(0, LONGEST))
        before_last = [file_id for _, ids in begun(tmp_path)[:-1] for file_id in ids]
        rows = rows_of(tmp_path)
        assert max(rows.values(), default=1) == 1, "a row is there twice"
        assert rows.keys() >= set(before_last), "a row is lost"
        switched += any(name.startswith("compacted-") for name in files_of(tmp_path))
    assert switched, "nothing was compacted"

    run_to_its_end(PROGRAM, tmp_path, "1")

    assert rows_of(tmp_path) == Counter(id_ for _, ids in begun(tmp_path) for id_ in ids)
    assert list((tmp_path / "warehouse" / "staging").iterdir()) == []
    assert known_sums(tmp_path) == files_of(tmp_path)


def partition(directory: Path) -> Path:
    return directory / "warehouse" / "production" / f"file_date={DATE}"


def rows_of(directory: Path) -> Counter[str]:
    if not partition(directory).exists():
        return Counter()
    return Counter(pq.read_table(partition(directory))["file_id"].to_pylist())


def files_of(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of each file by its name."""
    if not partition(directory).exists():
        return {}
    paths = partition(directory).iterdir()
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def known_sums(directory: Path) -> dict[str, str]:
    """Return what the ledger knows of the files that are there."""
    above = f"file_date={DATE}/"
    reader = LedgerReader(directory / "ledger.db")
    try:
        known = reader.ask(places.warehouse_sums, [above + name for name in files_of(directory)])
    finally:
        reader.close()
    return {name.removeprefix(above): sha256 for name, sha256 in known.items()}
