"""Looks at the directories that a config names, as they are on this host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupd.config.feeds import ARCHIVE_KEYS, DIRECTORY_KEYS, archive_directory_of, directory_of
from backupd.config.mistakes import Mistake
from backupd.config.own_places import trees
from backupd.config.sections import LocalArchiveSection
from backupd.localfs.filesystems import NETWORK_FILESYSTEMS, filesystem_type, is_directory

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from backupd.config.sections import Config
    from backupd.core.records import Feed
    from backupd.localfs.nesting import Mounts


def directories_to_look_at(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield all directories that may lie on a file system of another host."""
    own = dict(trees(values))
    yield from own.values()
    for file_type, feed in values.get("feeds", {}).items():
        if feed.keys() >= DIRECTORY_KEYS:
            yield from (directory_of(customer, feed) for customer in feed["customers"])
        if "archive.url" in own:
            yield from _targets(own["archive.url"], file_type, feed)


def _targets(archive_root: str, file_type: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the directories of a local archive that files of this section go to."""
    if values.keys() >= ARCHIVE_KEYS:
        for customer in values["customers"]:
            yield f"{archive_root}/{archive_directory_of(file_type, customer, values)}"


def check_feed_directories(
    file_type: str, values: Mapping[str, Any], seen: Container[str], mounts: Mounts
) -> Iterator[Mistake]:
    """Yield a mistake for each customer whose directory is not there.

    For feeds in `seen`, and where it does not answer, it is away, and that is none. So it is for
    customers that a file names: one of them must not keep the daemon from starting.
    """
    if not values.keys() >= DIRECTORY_KEYS:
        return
    for customer in values["customers"]:
        path = Path(directory_of(customer, values))
        may_be_away = values.get("customers_file") or f"{file_type}/{customer}" in seen
        if may_be_away or not mounts.answers(str(path)):
            continue
        if not is_directory(path):
            problem = f"names {path}, which {_trouble(path)}"
            yield Mistake(f"feeds.{file_type}.directory", problem, "an existing directory")


def _trouble(directory: Path) -> str:
    try:
        directory.stat()
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be used: {error.strerror}"
    return "is not a directory"


def check_ledger(path: Path) -> Iterator[Mistake]:
    """Yield a mistake if the ledger would lie where SQLite cannot keep it safe."""
    if is_directory(path):
        yield Mistake("ledger.url", f"names {path}, which is a directory", "the path of a file")
    try:
        found = filesystem_type(path)
    except OSError:
        return  # a chroot whose root is no mount point: the type cannot be known
    if found in NETWORK_FILESYSTEMS:
        problem = f"lies on a network file system ({found}), where SQLite can lose what it wrote"
        yield Mistake("ledger.url", problem, "a path on a local disk")


def check_targets(
    archive_root: str, file_type: str, values: Mapping[str, Any], mounts: Mounts
) -> Iterator[Mistake]:
    """Yield where shipped files would leave a local archive's root, as far as it answers."""
    if not mounts.answers(archive_root):
        return
    key = f"feeds.{file_type}.archive_directory"
    root = os.path.realpath(archive_root)
    for named in filter(mounts.answers, _targets(archive_root, file_type, values)):
        target = os.path.realpath(named)
        if not Path(target).is_relative_to(root):
            problem = f"leads to {target} by a symlink, out of the archive's root"
            yield Mistake(key, problem, f"a directory below {root}")


def answering(config: Config) -> list[Feed]:
    """Return the feeds whose directories answered when the config was read."""
    return [feed for feed in config.feeds if feed.directory not in config.silent]


def warehouse_answers(config: Config) -> bool:
    """Return whether the warehouse, where it is a directory, answered when the config was read."""
    return str(config.warehouse.embedded_root) not in config.silent


def write_paths(config: Config) -> list[Path]:
    """Return every directory that the service must be able to write, sorted, each once."""
    paths = {config.ledger.path.parent, config.control.socket.parent}
    if config.warehouse.kind == "embedded":
        paths.add(config.warehouse.embedded_root)
    hive = config.warehouse.hive
    if hive is not None and hive.staging.url.scheme == "file":
        paths.add(Path(hive.staging.url.path))
    if config.status_file is not None:
        paths.add(config.status_file.parent)
    if isinstance(config.archive, LocalArchiveSection):
        paths.add(Path(config.archive.root))
    if config.cleanup.action == "delete":
        paths.update(Path(feed.directory) for feed in config.feeds)
    return sorted(paths)
