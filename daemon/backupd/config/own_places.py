"""Finds feeds that could take what is backupd's own: its ledger, its keys, its archive."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from backupd.config.feeds import fill
from backupd.config.mistakes import Mistake
from backupd.config.readers import BadValueError
from backupd.config.secrets import locate

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
_SECRETS = (
    ("archive", "identity_file"),
    ("archive", "known_hosts_file"),
    ("archive", "password_file"),
    ("alerts", "smtp_password_file"),
)


@dataclass(frozen=True, slots=True)
class OwnPlace:
    """What no feed may take files of."""

    key: str
    path: str
    spot: Spot  # of the directory; of a file, the one that it is in
    is_tree: bool  # all below it is backupd's

    def trouble(self, feed: Spot, *, recursive: bool) -> str | None:
        """Tell how a feed's directory reaches it, to be read on from the directory's name."""
        if self.is_tree and feed.is_same(self.spot):
            return "is"
        if self.is_tree and feed.lies_in(self.spot):
            return "lies in"
        if recursive and self.spot.lies_in(feed):
            return "contains"
        if not self.is_tree and feed.is_same(self.spot):
            return "holds"
        return None


def own_places(
    config: Path, values: Mapping[str, Any], environ: Mapping[str, str], mounts: Mounts
) -> list[OwnPlace]:
    """Return what this config makes backupd's own. Only what could be read is looked at."""
    files = [(str(config), config), *_files(values), *_secrets(values, environ)]
    return [
        *(_file(key, path, mounts) for key, path in files),
        *(OwnPlace(key, root, mounts.spot(root), is_tree=True) for key, root in _trees(values)),
    ]


def check_own_places(
    file_type: str, values: Mapping[str, Any], places: Sequence[OwnPlace], mounts: Mounts
) -> Iterator[Mistake]:
    """Yield one mistake for each place that feeds of this section reach."""
    if not values.keys() >= {"customers", "directory", "recursive"}:
        return
    directories = [fill(values["directory"], customer) for customer in values["customers"]]
    spots = [(each, mounts.spot(each)) for each in dict.fromkeys(directories)]
    for place in places:
        problems = [
            f"names {directory}, which {trouble} {_named(place, directory)}"
            for directory, spot in spots
            if (trouble := place.trouble(spot, recursive=values["recursive"]))
        ]
        if problems:
            more = f", and {len(problems) - 1} more such directories" if problems[1:] else ""
            yield Mistake(f"feeds.{file_type}.directory", problems[0] + more, _APART)


def _named(place: OwnPlace, directory: str) -> str:
    """Name a place; say so where the paths do not show how it is reached."""
    one, other = Path(directory), Path(place.path)
    is_shown = one.is_relative_to(other) or other.is_relative_to(one)
    by = "" if is_shown else ", by a link or a bind mount"
    of = "" if place.key == place.path else f" ({place.key})"
    return f"{place.path}{of}{by}"


def _file(key: str, path: Path, mounts: Mounts) -> OwnPlace:
    real = os.path.realpath(path)
    above = os.path.dirname(real)  # noqa: PTH120 -- a text, as realpath gives it
    return OwnPlace(key, str(path), mounts.spot(above), is_tree=False)


def _files(values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    for section, name in _FILES:
        path = (values.get(section) or {}).get(name)
        if path is not None:
            yield f"{section}.{name}", path


def _secrets(values: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    given = {
        f"{section}.{name}": (values.get(section) or {}).get(name) for section, name in _SECRETS
    }
    hive = (values.get("warehouse") or {}).get("hive") or {}
    given["warehouse.hive.password_file"] = hive.get("password_file")
    for key, name in given.items():
        if name is not None:
            try:
                yield key, locate(name, environ)
            except BadValueError:  # told by who reads it
                continue


def _trees(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    url = (values.get("archive") or {}).get("url")
    if url is not None and url.scheme == "file":
        yield "archive.url", url.root
    warehouse = values.get("warehouse") or {}
    if warehouse.get("kind") == "embedded" and "root" in warehouse.get("embedded", {}):
        yield "warehouse.embedded.root", str(warehouse["embedded"]["root"])
    staging = (warehouse.get("hive") or {}).get("staging_url", "")
    if warehouse.get("kind") == "hive" and staging.startswith("file:"):
        yield "warehouse.hive.staging_url", urlsplit(staging).path
