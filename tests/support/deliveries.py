"""Backup files as a mediation platform delivers them, and what has to become of each."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

FEEDS = """
[feeds.traffic]
customers = ["eLUX", "SKYROAM"]
directory = "{directory}/{{customer}}/traffic"
pattern = "{{customer}}_*.csv"
timestamp_regex = '_(\\d{{14}})'
timestamp_format = "%Y%m%d%H%M%S"
header_lines = 1
archive_directory = "{{customer}}/traffic"

[feeds.tolling]
customers = ["eLUX"]
directory = "{directory}/{{customer}}/tolling"
pattern = "{{customer}}_*.csv.gz"
timestamp_regex = '_(\\d{{14}})'
timestamp_format = "%Y%m%d%H%M%S"
header_lines = 1
archive_directory = "{{customer}}/tolling"

[feeds.actives]
customers = ["eLUX"]
directory = "{directory}/{{customer}}/actives"
pattern = "{{customer}}_*.csv"
timestamp_regex = '_(\\d{{14}})'
timestamp_format = "%Y%m%d%H%M%S"
header_lines = 1
archive_directory = "{{customer}}/actives"
companion_suffix = ".cksum"
companion_algorithm = "cksum"
companion_required = true
"""
DIRECTORIES = ("eLUX/traffic", "SKYROAM/traffic", "eLUX/tolling", "eLUX/actives")
FIRST_DAY = datetime(2026, 11, 23, 8)  # noqa: DTZ001 - names and rows hold UTC without saying so
HEADER = b"CALL_ID;CALLER;CALLEE;SECONDS\n"


@dataclass(frozen=True, kw_only=True)
class Content:
    """What was delivered under a name. Registered once and shipped once, however often it came."""

    directory: str  # `<customer>/<file type>`: below the feeds, and below the archive's root
    name: str
    data: bytes
    records: int
    timestamp: datetime
    archive_name: str  # relative to the archive's root
    companion: bool = False

    @property
    def path(self) -> str:
        return f"{self.directory}/{self.name}"

    @property
    def companion_path(self) -> str:
        return self.path.removesuffix(".csv") + ".cksum"

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def row(self) -> tuple[object, ...]:
        """Return its row in production, as `support.proofs` reads rows."""
        customer, file_type = self.directory.split("/")
        companion_name = self.companion_path.rpartition("/")[2] if self.companion else None
        return (
            file_type,
            customer,
            self.name,
            self.timestamp,
            self.records,
            len(self.data),
            self.sha256,
            companion_name,
            f"{self.timestamp:%Y-%m-%d}",
        )


class Deliveries:
    """Delivers into feed directories, and remembers what it delivered.

    `contents` are to be registered and shipped, `refused` to be parked, each a path below the
    feeds' directory, and `foreign` are names of the archive that hold what is not ours.
    """

    def __init__(self, feeds: Path, archive: Path, rng: random.Random) -> None:
        self.contents: list[Content] = []
        self.refused: list[str] = []
        self.foreign: dict[str, bytes] = {}
        self.kinds: Counter[str] = Counter()
        self._feeds = feeds
        self._archive = archive
        self._rng = rng
        self._number = 0
        self._latest: dict[str, Content] = {}  # by path
        self._companions_owed: list[Content] = []
        for directory in DIRECTORIES:
            (feeds / directory).mkdir(parents=True)

    def some(self, number: int) -> None:
        """Deliver a mix: mostly small files, and now and then each of the other kinds."""
        self.owed_companions()
        weights = {
            self.small: 10,
            self.several_mib: 3,
            self.empty: 1,
            self.gzipped: 2,
            self.with_companion: 3,
            self.again: 3,
            self.with_other_content: 2,
            self.under_a_taken_name: 1,
        }
        for kind in self._rng.choices(list(weights), list(weights.values()), k=number):
            self.kinds[kind.__name__] += 1
            kind()

    def one_of_each(self) -> None:
        """Deliver what comes once: files that must be parked among it."""
        first_ones: tuple[Callable[[], None], ...] = (
            self.small, self.several_mib, self.empty, self.gzipped, self.with_companion,
            self.under_a_taken_name, self.cut_short, self.disagreeing,
        )  # fmt: skip
        for kind in first_ones:
            kind()

    # -- kinds -----------------------------------------------------------------------------------

    def small(self) -> None:
        directory = self._rng.choice(DIRECTORIES[:2])
        self._deliver(self._new(directory, self._text(self._rng.randint(1, 8_000))))

    def several_mib(self) -> None:
        directory = self._rng.choice(DIRECTORIES[:2])
        self._deliver(self._new(directory, self._text(self._rng.randint(1, 4) << 20)))

    def empty(self) -> None:
        self._deliver(self._new("eLUX/traffic", b""))

    def gzipped(self) -> None:
        text = self._text(self._rng.randint(1, 300_000))
        self._deliver(self._new("eLUX/tolling", text, data=gzip.compress(text, 1, mtime=0)))

    def with_companion(self) -> None:
        """The companion comes at once, or with the next files."""
        content = self._new("eLUX/actives", self._text(self._rng.randint(1, 100_000)))
        self._deliver(content)
        self._companions_owed.append(content)
        if self._rng.random() < 0.5:
            self.owed_companions()

    def again(self) -> None:
        """Deliver a file once more whose local copy is gone."""
        if gone := [each for each in self.contents if self._is_cleared(each)]:
            content = self._rng.choice(gone)
            self._put(content)
            self._companions_owed += [content] * content.companion

    def with_other_content(self) -> None:
        """Deliver other content under the name of a file whose local copy is gone."""
        gone = [each for each in self._latest.values() if self._is_cleared(each)]
        if not gone:
            return
        old = self._rng.choice(gone)
        text = self._text(self._rng.randint(1, 8_000))
        gzipped = old.name.endswith(".gz")
        new = replace(
            old, data=gzip.compress(text, 1, mtime=0) if gzipped else text, records=_records(text)
        )
        new = replace(new, archive_name=_other_name(new))
        self._deliver(new)
        self._companions_owed += [new] * new.companion

    def under_a_taken_name(self) -> None:
        """Someone else's file stands in the archive under the name that ours would get."""
        content = self._new("eLUX/traffic", self._text(self._rng.randint(1, 2 << 20)))
        theirs = gzip.compress(b"not ours")
        taken = self._archive / content.archive_name
        taken.parent.mkdir(parents=True, exist_ok=True)
        taken.write_bytes(theirs)
        self.foreign[content.archive_name] = theirs
        self._deliver(replace(content, archive_name=_other_name(content)))

    def cut_short(self) -> None:
        data = gzip.compress(self._text(20_000), mtime=0)
        content = self._new("eLUX/tolling", b"", data=data[:-100])
        self.refused.append(content.path)
        self._put(content)

    def disagreeing(self) -> None:
        content = self._new("eLUX/actives", self._text(500))
        self.refused += [content.path, content.companion_path]
        self._put(content)
        _write(self._feeds / content.companion_path, _cksum(content.data + b"more"))

    # -- what is where ---------------------------------------------------------------------------

    def is_local(self, content: Content) -> bool:
        """Return whether this content is still where it was delivered."""
        return self._latest[content.path] is content and (self._feeds / content.path).exists()

    def _is_cleared(self, content: Content) -> bool:
        """Return whether nothing is left of its name.

        A companion goes after its file: what came in between would be complete with that one, and
        the companion that is sent with it would be late. What a killed cleanup has moved aside gets
        its name back, or is kept beside what came in between.
        """
        names = [content.path, content.companion_path] if content.companion else [content.path]
        return not any(_stands(self._feeds / name) for name in names)

    def owed_companions(self) -> None:
        for content in self._companions_owed:
            _write(self._feeds / content.companion_path, _cksum(content.data))
        self._companions_owed.clear()

    def _new(self, directory: str, text: bytes, *, data: bytes | None = None) -> Content:
        self._number += 1
        timestamp = FIRST_DAY + timedelta(hours=11 * self._rng.randrange(6))
        customer = directory.partition("/")[0]
        ending = ".csv" if data is None else ".csv.gz"
        name = f"{customer}_HOL_01_{timestamp:%Y%m%d%H%M%S}_{self._number:06}{ending}"
        return Content(
            directory=directory,
            name=name,
            data=text if data is None else data,
            records=_records(text),
            timestamp=timestamp,
            archive_name=f"{directory}/{name}" + (".gz" if data is None else ""),
            companion=directory == "eLUX/actives",
        )

    def _deliver(self, content: Content) -> None:
        self.contents.append(content)
        self._put(content)

    def _put(self, content: Content) -> None:
        self._latest[content.path] = content
        _write(self._feeds / content.path, content.data)

    def _text(self, size: int) -> bytes:
        """Return records of random digits; now and then the last one lacks its newline."""
        body = b"".join(_lines(self._rng.randbytes(size // 2 + 1).hex().encode()))
        return HEADER + (body if self._rng.random() < 0.7 else body.removesuffix(b"\n"))


def _stands(path: Path) -> bool:
    """Return whether a file has this name, or had it until a cleanup moved it aside."""
    names = [each.name for each in path.parent.iterdir()]  # looked at once: it may be moved now
    asides = [each for each in names if each.endswith(".removing")]
    return path.name in names or any(each.startswith(f".{path.name}.") for each in asides)


def _lines(digits: bytes) -> Iterator[bytes]:
    for start in range(0, len(digits), 100):
        yield digits[start : start + 100] + b"\n"


def _records(text: bytes) -> int:
    return max(len(text.splitlines()) - 1, 0)


def _other_name(content: Content) -> str:
    name = content.path.removesuffix(".gz")
    return f"{name}.{content.sha256[:8]}.gz"


def _cksum(data: bytes) -> bytes:
    return subprocess.run(["cksum"], input=data, stdout=subprocess.PIPE, check=True).stdout


def _write(path: Path, data: bytes) -> None:
    """Deliver as platforms do: under a hidden name, then renamed."""
    hidden = path.with_name(f".{path.name}")
    hidden.write_bytes(data)
    hidden.rename(path)
