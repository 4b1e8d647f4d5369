"""Finds feeds that could take what is backupd's own: its ledger, its keys, its archive.

The directory that holds the ledger, the config or a secret is backupd's own, with all below it.
Where the config lies in one directory with the ledger, the archive or the warehouse, as in a demo,
that directory holds everything, the feeds too: there the file alone is backupd's own.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupd.config.archive import FileUrl
from backupd.config.feeds import DIRECTORY_KEYS, directory_of
from backupd.config.mistakes import Mistake
from backupd.config.readers import SECRET_FILE, BadValueError
from backupd.config.schema import CONFIG
from backupd.config.secrets import locate
from backupd.config.tables import read_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backupd.localfs.nesting import Mounts, Spot

_APART = "a directory apart from what is backupd's own"
_FILES = (
    ("ledger", "url"),
    ("control", "socket"),
    ("status_file", "path"),
    ("alerts", "hook"),
)
_CUSTOMERS_FILE = "customers_file"
_AMONG_OTHERS = {"control.socket", "status_file.path", "alerts.hook"}  # often where others' lie


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPlace:
    """What no feed may take files of: a directory, or a file and the directory that it is in."""

    key: str
    path: str
    spot: Spot  # of the directory
    is_file: bool = False
    is_tree: bool = True  # all below the directory is backupd's

    def trouble(self, feed: Spot, *, recursive: bool) -> str | None:
        """Return how a feed's directory reaches it, in words that follow the directory's name."""
        if feed.is_same(self.spot):
            return "holds" if self.is_file else "is"
        if self.is_tree and feed.lies_in(self.spot):
            return "lies in the directory of" if self.is_file else "lies in"
        if recursive and self.spot.lies_in(feed):
            return "contains"
        return None

    def is_shown_by(self, directory: str, trouble: str) -> bool:
        """Return whether the paths alone show that trouble with a feed's directory."""
        if trouble in {"is", "holds", "contains"}:
            return Path(self.path).is_relative_to(directory)
        own = Path(self.path).parent if self.is_file else self.path
        return Path(directory).is_relative_to(own)


def own_places(
    config: Path, values: Mapping[str, Any], environ: Mapping[str, str], mounts: Mounts
) -> list[OwnPlace]:
    """Return what this config makes backupd's own. Only what could be read is looked at."""
    roots = [OwnPlace(key=key, path=root, spot=mounts.spot(root)) for key, root in trees(values)]
    of_config = _file(str(config), config, mounts)
    named = [*_files(values), *_secrets(values, environ), *_customers_files(values)]
    files = [*of_config, *(place for each in named for place in _file(*each, mounts))]
    data = [*roots, *(place for place in files if place.key == "ledger.url")]
    return [
        *(replace(each, is_tree=_is_apart(each, of_config, data)) for each in files),
        *roots,
    ]


def _is_apart(place: OwnPlace, of_config: Sequence[OwnPlace], data: Sequence[OwnPlace]) -> bool:
    """Return whether a file's directory is there for backupd alone."""
    if place.key in _AMONG_OTHERS or place.key.endswith(f".{_CUSTOMERS_FILE}"):
        return False
    holds_both = all(
        any(each.spot.lies_in(place.spot) for each in places) for places in (of_config, data)
    )
    return not holds_both


def check_own_places(
    file_type: str, values: Mapping[str, Any], places: Sequence[OwnPlace], mounts: Mounts
) -> Iterator[Mistake]:
    """Yield one mistake for each place that feeds of this section reach."""
    if not values.keys() >= DIRECTORY_KEYS | {"recursive"}:
        return
    directories = [directory_of(customer, values) for customer in values["customers"]]
    spots = [(each, mounts.spot(each)) for each in dict.fromkeys(directories)]
    for place in places:
        problems = [
            f"names {path}, which {trouble} {_named(place, path, trouble)}"
            for path, spot in spots
            if (trouble := place.trouble(spot, recursive=values["recursive"]))
        ]
        if problems:
            more = f", and {len(problems) - 1} more such directories" if problems[1:] else ""
            yield Mistake(f"feeds.{file_type}.directory", problems[0] + more, _APART)


def _named(place: OwnPlace, directory: str, trouble: str) -> str:
    """Name a place; say so where the paths do not show how it is reached."""
    by = "" if place.is_shown_by(directory, trouble) else ", by a link or a bind mount"
    of = "" if place.key == place.path else f" ({place.key})"
    return f"{place.path}{of}{by}"


def _file(key: str, path: Path, mounts: Mounts) -> list[OwnPlace]:
    """Return where a file is: of a link, where it leads too."""
    paths = (str(path), os.path.realpath(path))
    spots = dict.fromkeys(mounts.spot(str(Path(each).parent)) for each in paths)
    return [OwnPlace(key=key, path=str(path), spot=spot, is_file=True) for spot in spots]


def _files(values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    for section, name in _FILES:
        path = (values.get(section) or {}).get(name)
        if path is not None:
            yield f"{section}.{name}", path


def _secrets(values: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    for key, name in read_by(SECRET_FILE, CONFIG, values):
        with suppress(BadValueError):  # reported by whoever reads it
            yield key, locate(name, environ)


def _customers_files(values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    for file_type, section in values.get("feeds", {}).items():
        if path := section.get(_CUSTOMERS_FILE):
            yield f"feeds.{file_type}.{_CUSTOMERS_FILE}", path


def trees(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the directories that are backupd's own, with all below, each with its key."""
    url = (values.get("archive") or {}).get("url")
    if isinstance(url, FileUrl):
        yield "archive.url", url.root
    warehouse = values.get("warehouse") or {}
    if warehouse.get("kind") == "embedded" and "root" in warehouse.get("embedded", {}):
        yield "warehouse.embedded.root", str(warehouse["embedded"]["root"])
    staging = (warehouse.get("hive") or {}).get("staging_url")
    if warehouse.get("kind") == "hive" and staging and staging.scheme == "file":
        yield "warehouse.hive.staging_url", staging.path
