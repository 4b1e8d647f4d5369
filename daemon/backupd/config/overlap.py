"""Finds feeds that can claim the same file, a companion, or one name in the archive."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

from backupd.config.archive import FileUrl
from backupd.config.feeds import (
    ARCHIVE_KEYS,
    DIRECTORY_KEYS,
    PATTERN_KEYS,
    archive_directory_of,
    directory_of,
    pattern_of,
)
from backupd.config.globs import common_name, companion_pattern, without_ending
from backupd.config.mistakes import Mistake
from backupd.core.archive_names import GZIP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from backupd.config.archive import ArchiveUrl
    from backupd.localfs.nesting import Mounts, Spot

_ALLOWED = {
    "pattern": "patterns or directories that leave each file to one feed",
    "directory": "one path for one directory",
}
_NEEDED = DIRECTORY_KEYS | PATTERN_KEYS | {"recursive", "companion_suffix"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The files that one feed takes: visible, matching, and no companions."""

    key: str  # of the feed's section
    feed: str
    directory: Spot
    pattern: str
    recursive: bool
    suffix: str | None  # of companions
    archive: str | None  # the directory below the archive's root; None: it could not be read

    def meets(self, other: Claim) -> bool:
        """Return whether any directory is looked through by both."""
        if self.recursive and other.recursive:
            return self.directory.shares(other.directory)
        if self.recursive:
            return other.directory.lies_in(self.directory)
        if other.recursive:
            return self.directory.lies_in(other.directory)
        return self.directory.is_same(other.directory)


def claims(file_type: str, values: Mapping[str, Any], mounts: Mounts) -> list[Claim]:
    """Return a claim for each customer of a section; none if its keys could not be read."""
    if not values.keys() >= _NEEDED:
        return []
    return [
        Claim(
            key=f"feeds.{file_type}",
            feed=f"{file_type}/{customer}",
            directory=mounts.spot(directory_of(customer, values)),
            pattern=pattern_of(customer, values),
            recursive=values["recursive"],
            suffix=values["companion_suffix"],
            archive=_archive(file_type, customer, values),
        )
        for customer in values["customers"]
    ]


def _archive(file_type: str, customer: str, values: Mapping[str, Any]) -> str | None:
    if not values.keys() >= ARCHIVE_KEYS:
        return None
    return archive_directory_of(file_type, customer, values)


def check_overlaps(all_claims: Iterable[Claim]) -> Iterator[Mistake]:
    """Yield one mistake for each two sections (or one with itself) whose feeds get in the way."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one, other in combinations(all_claims, 2):
        if one.meets(other):
            if problem := _conflict(one, other):
                found.setdefault((one.key, other.key, "pattern"), []).append(problem)
            elif problem := _mounted_twice(one, other):
                found.setdefault((one.key, other.key, "directory"), []).append(problem)
    for (_, section, key), problems in found.items():
        yield Mistake(f"{section}.{key}", all_of(problems), _ALLOWED[key])


def _mounted_twice(one: Claim, other: Claim) -> str | None:
    """Return the problem if a directory has two paths: a daemon could not know which to believe.

    A link is not a second path: it leads to the first one.
    """
    here, there = one.directory, other.directory
    if here.path == there.path or not here.is_same(there):
        return None
    return f"of {other.feed}: {there.path} is the same directory as {here.path} of {one.feed}"


def all_of(problems: Sequence[str]) -> str:
    """Return the first problem of pairs of feeds, and how many are like it."""
    more = len(problems) - 1
    return f"{problems[0]}, and {more} more pairs of feeds like these" if more else problems[0]


def _conflict(one: Claim, other: Claim) -> str | None:
    shared = shared_name(one, other)
    if shared is not None:
        return f"lets {other.feed} claim the same file as {one.feed}, such as {shared!r}"
    for owner, taker in ((one, other), (other, one)):
        taken = _taken_companion(owner, taker)
        if taken is not None:
            return f"lets {taker.feed} take companions of {owner.feed}, such as {taken!r}"
    return None


def shared_name(one: Claim, other: Claim) -> str | None:
    """Return a name that both would take."""
    if plainly_apart(one.pattern, other.pattern):
        return None
    return common_name((one.pattern, other.pattern), _suffixes(one, other))


def _taken_companion(owner: Claim, taker: Claim) -> str | None:
    if owner.suffix is None:
        return None
    companions = companion_pattern(owner.pattern, owner.suffix)
    if plainly_apart(companions, taker.pattern):
        return None
    return common_name((companions, taker.pattern), _suffixes(taker))


def _suffixes(*owners: Claim) -> set[str]:
    return {owner.suffix for owner in owners if owner.suffix is not None}


def plainly_apart(one: str, other: str) -> bool:
    """Return whether the literal begin or end of two patterns differ.

    Nearly all pairs do: without this, hundreds of feeds in one directory would take minutes.
    """
    (head, tail), (other_head, other_tail) = _literal_ends(one), _literal_ends(other)
    heads_fit = head.startswith(other_head) or other_head.startswith(head)
    return not (heads_fit and (tail.endswith(other_tail) or other_tail.endswith(tail)))


@cache
def _literal_ends(pattern: str) -> tuple[str, str]:
    head, *_ = re.split(r"[*?\[]", pattern, maxsplit=1)
    *_, tail = re.split(r"[*?\]]", pattern)
    return head, tail


_GZIP_ENDINGS = {".gz", ".gZ", ".Gz", ".GZ"}  # a name with one of them is kept as it is
_APART = "an archive directory of its own for each, or patterns that cannot meet there"


def check_archive_names(
    claims: Iterable[Claim], url: ArchiveUrl | None, mounts: Mounts, *, compress: bool
) -> Iterator[Mistake]:
    """Yield one mistake per pair of sections (or a section with itself) whose files can meet.

    Within one feed, names that meet are distinguished by their content when they are shipped.
    """
    found: dict[tuple[str, str], list[str]] = {}
    placed = [
        (claim, _directory(claim, url, mounts)) for claim in claims if claim.archive is not None
    ]
    for (one, here), (other, there) in combinations(placed, 2):
        if _meet(one, here, there) or _meet(other, there, here):
            names = _names(one, other, compress=compress)
            if names is not None:
                where = max(here, there, key=len)
                problem = _problem(one, other, where, names)
                found.setdefault((one.key, other.key), []).append(problem)
    for (_, key), problems in found.items():
        yield Mistake(f"{key}.archive_directory", all_of(problems), _APART)


def _directory(claim: Claim, url: ArchiveUrl | None, mounts: Mounts) -> str:
    """Return where a feed's files go; links in a local archive that answers are followed."""
    if not isinstance(url, FileUrl):
        return f"/{claim.archive}".rstrip("/")
    target = f"{url.root}/{claim.archive}"
    if not (mounts.answers(url.root) and mounts.answers(target)):
        return f"/{claim.archive}".rstrip("/")
    return os.path.realpath(target).removeprefix(os.path.realpath(url.root)).rstrip("/")


def _meet(one: Claim, here: str, there: str) -> bool:
    """Return whether files of `one`, which go to `here`, may go `there`."""
    return here == there or (one.recursive and there.startswith(f"{here}/"))


def _names(one: Claim, other: Claim, *, compress: bool) -> tuple[str, str] | None:
    """Return a file name of each, which have one name in the archive."""
    shared = shared_name(one, other)
    if shared is not None:
        # Where both take the same file, that mistake is reported instead.
        return None if one.meets(other) else (shared, shared)
    if not compress:
        return None
    if plain := _plain_name(one, other):
        return plain, plain + GZIP
    if plain := _plain_name(other, one):
        return plain + GZIP, plain
    return None


def _plain_name(plain: Claim, packed: Claim) -> str | None:
    """Return a name that one feed takes, and the other one with .gz after it."""
    endings = {*_GZIP_ENDINGS, plain.suffix or GZIP}
    if packed.suffix == GZIP:
        return None  # it takes no such name
    if packed.suffix is not None and packed.suffix.endswith(GZIP):
        endings.add(packed.suffix.removesuffix(GZIP))
    for pattern in sorted(without_ending(packed.pattern, GZIP)):
        if not plainly_apart(plain.pattern, pattern):
            name = common_name((plain.pattern, pattern), endings)
            if name is not None:
                return name
    return None


def _problem(one: Claim, other: Claim, where: str, names: tuple[str, str]) -> str:
    return (
        f"lets {names[1]!r} of {other.feed} and {names[0]!r} of {one.feed} have one name in the"
        f" archive, in {where or 'its root'!r}"
    )
