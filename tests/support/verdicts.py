"""An independent reader: what became of what was delivered, from the bytes that lie there.

It asks no module and no command of the product: the archive by gzip and hashlib, the rows by
pyarrow, the feeds by what lies in them. The ledger is read (by sqlite3) for false alarms alone.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import sqlite3
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow import parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.deliveries import Deliveries

COLUMNS = ("lost", "doubled", "wrong", "left_over", "false_alarms")
# The mark, the ledger's snapshots; and files of a trial: a server may still make them for a killed
# process after the next one has looked (as the part of a mark). They go when a later one looks.
OURS_IN_THE_ARCHIVE = re.compile(
    r"\.backupd-id|\.backupd/.*|\.backupd-[0-9a-f]{8}-\d+-[0-9a-f]{16}\.part"
    r"|\.\.backupd-id\.mark\.[0-9a-f]{32}\.part"
)
KEPT = ".kept-by-backupd"  # what could not be put back, for its place was taken by then
_VERSION = re.compile(r"\.[0-9a-f]{8}(\.[gG][zZ])?$")
Row = tuple[str, str, str, int, int]  # directory, name, sha256, bytes, records
Rows = Counter[Row]
Key = tuple[str, str]  # a path below the feeds, and the SHA-256 of what stood there


@dataclass
class Verdict:
    """What was found amiss, a line each."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in COLUMNS}

    def findings(self) -> int:
        return sum(self.counts().values())

    def lines(self, most: int | None = None) -> list[str]:
        """Return all findings, or the first few of each column."""
        named = ((name.replace("_", " "), getattr(self, name)) for name in COLUMNS)
        return [f"{name}: {text}" for name, found in named for text in found[:most]]

    def add(self, other: Verdict) -> None:
        for each in fields(self):
            mine: list[str] = getattr(self, each.name)
            mine += [text for text in getattr(other, each.name) if text not in mine]


@dataclass(frozen=True)
class Content:
    """What a file held: its size in bytes, and its records without header lines."""

    size: int
    records: int


class Book:
    """What the senders did. Paths are `<customer>/<file type>/<name>`, below the feeds' directory.

    `seen` has every content that stood whole under a path, `owed` those of them that the sender
    did not take back: each must be shipped and registered. `refused` are to be parked, each for a
    reason that its expression finds; `excused` are those that may be; `untouched` are to stay where
    they are, unknown to anyone.
    """

    def __init__(self, header_lines: int = 0) -> None:
        self.contents: dict[str, Content] = {}
        self.seen: defaultdict[str, set[str]] = defaultdict(set)
        self.owed: set[Key] = set()
        self.refused: dict[str, str] = {}
        self.excused: dict[str, str] = {}
        self.untouched: set[str] = set()
        self.foreign: dict[str, bytes] = {}  # by name in the archive
        self.precious: dict[Path, dict[str, str]] = {}  # directories outside, and what they hold
        self._header_lines = header_lines

    def put(self, path: str, data: bytes, text: bytes | None = None) -> str:
        """Note that a path holds this now, which its sender wants kept. Return its SHA-256.

        `text` is what is in it, where it is compressed.
        """
        digest = hashlib.sha256(data).hexdigest()
        lines = len((data if text is None else text).splitlines())
        self.contents[digest] = Content(len(data), max(lines - self._header_lines, 0))
        self.seen[path].add(digest)
        self.owed.add((path, digest))
        return digest

    def take_back(self, path: str, data: bytes) -> None:
        """Note that its sender destroyed it: shipped or not, both are right."""
        self.owed.discard((path, hashlib.sha256(data).hexdigest()))

    def add(self, deliveries: Deliveries) -> None:
        """Note all that was delivered there so far."""
        for each in deliveries.contents:
            self.contents[each.sha256] = Content(len(each.data), each.records)
            self.seen[each.path].add(each.sha256)
            self.owed.add((each.path, each.sha256))
        self.refused |= {path: _why_refused(path) for path in deliveries.refused}
        self.foreign |= deliveries.foreign

    def guard(self, directory: Path) -> None:
        """Note what a directory outside holds: nobody may read, ship, change or remove it."""
        self.precious[directory] = hashes_below(directory)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where to look. `archive` and `feeds` are directories of this host, whoever serves them."""

    feeds: Path
    archive: Path
    warehouse: Path
    ledger: Path
    socket: Path


class Reader:
    """Looks at all places while no daemon runs; what was hashed once is not read again."""

    def __init__(self, places: Places, book: Book) -> None:
        self._places = places
        self._book = book
        self._hashes: dict[tuple[str, int, int, int], str] = {}
        self._rows_of: dict[Path, list[tuple[str, Row]]] = {}

    def now(self) -> Verdict:
        """Return what is amiss at any moment, with work still to be done."""
        verdict = Verdict()
        shipped = self._shipped(verdict)
        rows = self._rows(verdict)
        self._nothing_outside_changed(verdict)
        self._owed(verdict, shipped, rows)
        return verdict

    def in_the_end(self, alarms: str = "") -> Verdict:
        """Return what is amiss when all work is done.

        Incidents whose kind or cause the expression `alarms` finds are to be expected.
        """
        verdict = self.now()
        self._left_in_feeds(verdict)
        self._left_elsewhere(verdict)
        self._alarms(verdict, alarms)
        return verdict

    # -- lost, doubled, wrong --------------------------------------------------------------------

    def _owed(self, verdict: Verdict, shipped: set[Key], rows: Rows) -> None:
        registered = {(row[0], row[1], row[2]) for row in rows}
        unregistered = {key for key in self._book.owed if _as_in_rows(key) not in registered}
        missing = (self._book.owed - shipped) | unregistered
        local = self._local() if missing else set()
        for key in sorted(missing):
            if key[1] not in local:
                found = f"shipped: {key in shipped}, registered: {key not in unregistered}"
                verdict.lost.append(f"{key[0]!r} ({key[1][:8]}), {found}")

    def _shipped(self, verdict: Verdict) -> set[Key]:
        """Return what is in the archive under its own name."""
        shipped: Counter[Key] = Counter()
        for name in files_below(self._places.archive):
            if not _is_final(name):
                continue
            if name in self._book.foreign:
                self._stays(verdict, name)
            elif key := self._known(name):
                shipped[key] += 1
            else:
                verdict.wrong.append(f"archive: {name!r} holds what was never delivered so")
        verdict.doubled += [f"archive: {key!r} {n} times" for key, n in shipped.items() if n > 1]
        gone = [each for each in self._book.foreign if not (self._places.archive / each).exists()]
        verdict.wrong += [f"archive: {name!r} of somebody else is gone" for name in gone]
        return set(shipped)

    def _stays(self, verdict: Verdict, name: str) -> None:
        if (self._places.archive / name).read_bytes() != self._book.foreign[name]:
            verdict.wrong.append(f"archive: {name!r} of somebody else was written over")

    def _known(self, name: str) -> Key | None:
        """Return whose content a name in the archive holds."""
        for path, gzipped in _paths_of(name):
            if seen := self._book.seen.get(path):
                digest = self._digest(self._places.archive / name, gzipped=gzipped)
                if digest in seen:
                    return path, digest
        return None

    def _rows(self, verdict: Verdict) -> Rows:
        found = [row for path in self._parquet_files() for row in self._read(path)]
        ids = Counter(file_id for file_id, _ in found)
        rows = Counter(row for _, row in found)
        verdict.doubled += [f"rows: id {each} {n} times" for each, n in ids.items() if n > 1]
        verdict.doubled += [f"rows: {each!r} {n} times" for each, n in rows.items() if n > 1]
        seen = ((path, digest) for path, all_of in self._book.seen.items() for digest in all_of)
        self._seen = {_as_in_rows(key) for key in seen}
        wrong = [each for each in rows if not self._is_true(each)]
        verdict.wrong += [f"rows: {each!r} was never delivered so" for each in wrong]
        return rows

    def _is_true(self, row: Row) -> bool:
        directory, name, digest, size, records = row
        known = self._book.contents.get(digest)
        return known == Content(size, records) and (directory, name, digest) in self._seen

    def _parquet_files(self) -> Iterator[Path]:
        yield from (self._places.warehouse / "production").rglob("*.parquet")

    def _read(self, path: Path) -> list[tuple[str, Row]]:
        if path not in self._rows_of:
            with pq.ParquetFile(path) as file:
                rows = file.read().to_pylist()
            self._rows_of[path] = [(row["file_id"], _row(row)) for row in rows]
        return self._rows_of[path]

    def _nothing_outside_changed(self, verdict: Verdict) -> None:
        for directory, before in self._book.precious.items():
            now = hashes_below(directory)
            changed = {name for name in before | now if before.get(name) != now.get(name)}
            verdict.wrong += [f"outside: {directory / name} was touched" for name in changed]

    def _local(self) -> set[str]:
        """Return the SHA-256 of all that lies in the feeds, hidden files too."""
        return {
            self._digest(self._places.feeds / name, gzipped=False)
            for name in files_below(self._places.feeds)
        }

    def _digest(self, path: Path, *, gzipped: bool) -> str:
        """Hash a file's content; what does not decompress whole has the hash of nothing known."""
        stat = path.lstat()
        key = (f"{path} {gzipped}", stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = _sha256(path.read_bytes(), gzipped=gzipped)
        return self._hashes[key]

    # -- left over -------------------------------------------------------------------------------

    def _left_in_feeds(self, verdict: Verdict) -> None:
        here = files_below(self._places.feeds)
        stay = self._book.untouched | set(self._book.refused)
        left = [name for name in sorted(here - stay) if not name.endswith(KEPT)]
        verdict.left_over += [f"feeds: {name!r}" for name in left]
        verdict.lost += [f"feeds: {name!r}, which was to stay, is gone" for name in stay - here]

    def _left_elsewhere(self, verdict: Verdict) -> None:
        places = self._places
        parts = [name for name in files_below(places.archive) if not _is_final(name)]
        left = [name for name in parts if not OURS_IN_THE_ARCHIVE.fullmatch(name)]
        verdict.left_over += [f"archive: {name}" for name in left]
        staged = files_below(places.warehouse / "staging")
        verdict.left_over += [f"warehouse: staging/{name}" for name in staged]
        if places.socket.exists():
            verdict.left_over.append("the control socket")
        beside = {path.name for path in places.ledger.parent.iterdir()}
        wanted = {places.ledger.name, f"{places.ledger.name}.lock"}
        verdict.left_over += [f"ledger: {name}" for name in sorted(beside - wanted)]

    # -- false alarms ----------------------------------------------------------------------------

    def _alarms(self, verdict: Verdict, expected: str) -> None:
        self._parked(verdict)
        reasons = {*self._book.refused.values(), *self._book.excused.values()}
        for kind, cause, reason, closed in self._ask(
            "SELECT kind, cause, reason, closed_at FROM incidents"
        ):
            told = f"incident: {kind} {cause}: {reason}"
            if kind == "parked":
                is_true = any(re.search(each, reason) for each in reasons)
            else:
                is_true = bool(expected and re.search(expected, f"{kind} {cause}") and closed)
            verdict.false_alarms += [] if is_true else [told]

    def _parked(self, verdict: Verdict) -> None:
        query = "SELECT path, stage, status, reason FROM files WHERE status != 'done'"
        for path, stage, status, reason in self._ask(query):
            name = os.path.relpath(os.fsdecode(path), self._places.feeds)
            if status != "parked":
                verdict.left_over.append(f"ledger: {name!r} is {status} in {stage}: {reason}")
            elif not self._is_refused(name, reason):
                verdict.false_alarms.append(f"parked: {name!r}: {reason}")

    def _is_refused(self, name: str, reason: str) -> bool:
        wanted = self._book.refused.get(name, self._book.excused.get(name))
        return wanted is not None and re.search(wanted, reason) is not None

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self._places.ledger)) as ledger:
            return ledger.execute(query).fetchall()


def _why_refused(path: str) -> str:
    """Return what the reason must say of a file that `Deliveries` made unfit."""
    return "decompress" if path.lower().endswith(".gz") else "companion|checksum|cksum"


def files_below(directory: Path) -> set[str]:
    """Return the paths of all that is no directory, relative to it; links are not followed."""
    found = set()
    for above, directories, files in os.walk(directory):
        here = Path(above)
        links = [name for name in directories if (here / name).is_symlink()]
        found |= {str((here / name).relative_to(directory)) for name in files + links}
    return found


def hashes_below(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a directory."""
    return {
        name: _sha256((directory / name).read_bytes(), gzipped=False)
        for name in files_below(directory)
    }


def _as_in_rows(key: Key) -> tuple[str, str, str]:
    """Return directory, name and hash as rows have them: of the name, its last part."""
    customer, file_type, name = key[0].split("/", 2)
    return f"{customer}/{file_type}", name.rpartition("/")[2], key[1]


def _row(row: dict[str, Any]) -> Row:
    directory = f"{row['customer']}/{row['file_type']}"
    return directory, row["file_name"], row["sha256"], row["size_bytes"], row["record_count"]


def _sha256(data: bytes, *, gzipped: bool) -> str:
    try:
        return hashlib.sha256(gzip.decompress(data) if gzipped else data).hexdigest()
    except (OSError, EOFError, zlib.error):
        return "not whole"


def _is_final(name: str) -> bool:
    """Return whether a file of the archive is one that was shipped, and no temporary one."""
    return not any(part.startswith(".") for part in name.split("/"))


def _paths_of(name: str) -> Iterator[tuple[str, bool]]:
    """Yield the paths that can have this name in the archive; each with whether it was compressed.

    Content under a taken name has the first digits of its SHA-256 before `.gz`.
    """
    for plain in (name, _VERSION.sub(r"\1", name)):
        yield plain, False
        if plain.endswith(".gz"):
            yield plain.removesuffix(".gz"), True
