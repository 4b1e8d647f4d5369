"""What must be true of feeds, warehouse, archive and ledger at any moment, and what in the end."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyarrow import parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

    from support.deliveries import Content, Deliveries

ROW = (
    "file_type",
    "customer",
    "file_name",
    "file_timestamp",
    "record_count",
    "size_bytes",
    "sha256",
    "companion_name",
)


@dataclass(kw_only=True)
class Proofs:
    """Looks at everything from outside, while no daemon runs."""

    feeds: Path
    archive: Path
    warehouse: Path
    ledger: Path
    deliveries: Deliveries
    _rows_of: dict[Path, list[tuple[str, tuple[object, ...]]]] = field(default_factory=dict)
    _hashes: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def hold_at_any_moment(self) -> None:
        """Nothing is doubled, partial or elsewhere; nothing was deleted before its proof."""
        rows, shipped = self._rows(), self._shipped()
        expected = {content.row() for content in self.deliveries.contents}
        assert not [row for row in rows if row not in expected], "rows of no delivered file"
        for content in self.deliveries.contents:
            if not self.deliveries.is_local(content):
                assert content.archive_name in shipped, f"{content.path} is gone unshipped"
                assert rows[content.row()] == 1, f"{content.path} is gone unregistered"

    def hold_in_the_end(self) -> None:
        """Every file has its row and its archive copy, and nothing else is left anywhere."""
        self.hold_at_any_moment()
        contents = self.deliveries.contents
        assert self._rows() == Counter(content.row() for content in contents)
        names = {content.archive_name for content in contents} | set(self.deliveries.foreign)
        assert self._in_the_archive() == names
        assert files_below(self.feeds) == set(self.deliveries.refused)
        assert not list((self.warehouse / "staging").iterdir())
        self._ledger_is_at_rest()

    def _in_the_archive(self) -> set[str]:
        """Return the names of all files in the archive, but for its mark and what is passing.

        A server may still do what a killed process had asked for, after the next one has looked.
        """
        passing = (".backupd-", "..backupd-id.")
        return {name for name in files_below(self.archive) if not name.startswith(passing)}

    def _rows(self) -> Counter[tuple[object, ...]]:
        """Return the production rows, each once."""
        production = self.warehouse / "production"
        found = [row for name in files_below(production) for row in self._read(production / name)]
        ids = Counter(file_id for file_id, _ in found)
        assert max(ids.values(), default=1) == 1, "a file id has two rows"
        rows = Counter(row for _, row in found)
        assert max(rows.values(), default=1) == 1, "a file has two rows"
        return rows

    def _read(self, path: Path) -> list[tuple[str, tuple[object, ...]]]:
        """Read a Parquet file, once: what is in production is never changed."""
        if path not in self._rows_of:
            date = path.parent.name.removeprefix("file_date=")
            with pq.ParquetFile(path) as file:
                rows = file.read().to_pylist()
            self._rows_of[path] = [
                (row["file_id"], (*(row[name] for name in ROW), date)) for row in rows
            ]
        return self._rows_of[path]

    def _shipped(self) -> set[str]:
        """Return the final names in the archive, having seen that each holds what it must."""
        expected = {content.archive_name: content for content in self.deliveries.contents}
        names = {name for name in self._in_the_archive() if "/." not in f"/{name}"}
        for name in names - set(self.deliveries.foreign):
            assert name in expected, f"{name} in the archive is no file's name"
            self._is_whole(self.archive / name, expected[name])
        for name, theirs in self.deliveries.foreign.items():
            assert (self.archive / name).read_bytes() == theirs, f"{name} was written over"
        return names

    def _is_whole(self, path: Path, content: Content) -> None:
        stat = path.stat()
        key = (str(path), stat.st_ino, stat.st_mtime_ns)
        if key not in self._hashes:
            data = path.read_bytes()
            if not content.name.endswith(".gz"):
                data = gzip.decompress(data)
            self._hashes[key] = hashlib.sha256(data).hexdigest()
        assert self._hashes[key] == content.sha256, f"{path} holds other content"

    def _ledger_is_at_rest(self) -> None:
        beside = {path.name for path in self.ledger.parent.iterdir()}
        assert beside == {self.ledger.name, f"{self.ledger.name}.lock"}
        with contextlib.closing(sqlite3.connect(self.ledger)) as ledger:
            assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            parked = ledger.execute("SELECT path FROM files WHERE status = 'parked'").fetchall()
            open_files = ledger.execute(
                "SELECT path, stage, status FROM files WHERE status NOT IN ('done', 'parked')"
            ).fetchall()
            open_batches = ledger.execute("SELECT id FROM batches WHERE done_at IS NULL").fetchall()
        assert not open_files
        assert not open_batches
        companions = {name for name in self.deliveries.refused if name.endswith(".cksum")}
        refused = set(self.deliveries.refused) - companions
        assert {path.decode() for (path,) in parked} == {str(self.feeds / name) for name in refused}


def files_below(directory: Path) -> set[str]:
    """Return the paths of all files below a directory, relative to it."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}
