"""Finds feeds of which two files can want one name in the archive."""

from __future__ import annotations

import os
from itertools import combinations
from typing import TYPE_CHECKING

from backupd.config.globs import common_name, without_ending
from backupd.config.mistakes import Mistake
from backupd.config.overlap import all_of, plainly_apart, shared_name
from backupd.core.archive_names import GZIP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backupd.config.overlap import Claim
    from backupd.config.urls import ArchiveUrl
    from backupd.localfs.nesting import Mounts

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
    if url is None or url.scheme != "file":
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
