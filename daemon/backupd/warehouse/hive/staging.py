"""Where files are staged for Hive: HDFS by WebHDFS, or any other URL of fsspec.

Every call ends within a bound, also against a server that is frozen. Whatever goes wrong is
raised as DependencyDownError, with the folder and the user in it.

<staging>/<batch id>                        what is staged
<staging>/<batch id>.<8 hex digits>.part    the same, while it is written
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError
from backupd.warehouse.hive.errors import ServerLostError, cut, hint
from backupd.warehouse.hive.sql import is_id
from backupd.warehouse.hive.webhdfs import NameNodeLostError, WebHdfs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from fsspec import AbstractFileSystem

    from backupd.config.sections import StagingSection
    from backupd.warehouse.hive.kerberos import Kerberos

_HDFS = {"hdfs", "viewfs", "webhdfs", "swebhdfs"}  # what a table's location may say for it
_CHANGED = ("modificationTime", "mtime", "LastModified", "updated")
_SAME_AS = {"webhdfs": _HDFS, "swebhdfs": _HDFS}


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands under a name. A file that is the same as before is one with equal facts."""

    is_file: bool
    size: int  # bytes
    changed: str  # when, as its file system says it


class Files(Protocol):
    """The little that is needed of a file system. Paths are absolute, parts separated by `/`."""

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Make a new file."""
        ...

    def make_directory(self, path: str) -> None:
        """Make a directory, with those above it, that everyone may write into."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Rename; a directory onto a directory that exists goes into that one.

        Raises FileNotFoundError where there is no source.
        """
        ...

    def remove(self, path: str) -> bool:
        """Remove a file, or a directory with all in it; return whether there was one."""
        ...

    def exists(self, path: str) -> bool:
        """Return whether there is a file or directory."""
        ...

    def names(self, path: str) -> list[str]:
        """Return the names in a directory; no directory: none."""
        ...

    def entries(self, path: str) -> dict[str, Entry]:
        """Return what lies in a directory, by its name there; no directory: nothing."""
        ...


class Staging:
    """The staging folder that the config names, and the files of the tables beside it.

    `hdfs` is how it is reached, None for another file system.
    """

    def __init__(self, section: StagingSection, kerberos: Kerberos | None = None) -> None:
        url = section.url
        self.root = url.path
        self.user = kerberos.user if kerberos and url.is_webhdfs else section.username
        self._who = f"{self.user} ({kerberos.principal})" if kerberos else self.user
        self._url = url
        # Hive resolves a bare path on its own file system: its NameNode has another scheme and
        # port than WebHDFS.
        self._prefix = "" if url.is_webhdfs else url.text.removesuffix("/").removesuffix(url.path)
        self.hdfs = WebHdfs(section, kerberos) if url.is_webhdfs else None
        self._opened: Files | None = None

    def place(self, name: str) -> str:
        """Return the path of `name` in the staging folder."""
        return f"{self.root}/{name}"

    def for_hive(self, path: str) -> str:
        """Return the location of a staged file, as it is passed to Hive."""
        return f"{self._prefix}{path}"

    def shares_files_with(self, location: str) -> bool:
        """Return whether Hive can rename from here to there; it would copy, which is not atomic."""
        theirs = urlsplit(location).scheme or "hdfs"
        scheme = self._url.scheme
        return theirs in _SAME_AS.get(scheme, {scheme})

    @contextmanager
    def files(self) -> Iterator[Files]:
        """Give access; what goes wrong inside is raised as the warehouse's fault."""
        try:
            if self._opened is None:
                self._opened = self._open()
            yield self._opened
        except NameNodeLostError as error:
            down = self._down(error)
            raise ServerLostError(str(down), hint=down.hint) from error
        except PermissionError as error:
            raise self._down(error, _permission_hint(self)) from error
        except (OSError, ValueError, RuntimeError) as error:  # requests' derive from OSError
            raise self._down(error) from error

    def _open(self) -> Files:
        if self.hdfs:
            return _HdfsFiles(self.hdfs)
        filesystem, _ = fsspec.url_to_fs(self._url.text)
        return _OtherFiles(filesystem)

    def _down(self, error: Exception, *otherwise: str) -> DependencyDownError:
        words = cut(str(error)) if str(error) else type(error).__name__
        message = f"the staging folder {self._url.text}, as user {self._who}: {words}"
        return DependencyDownError(Dependency.WAREHOUSE, message, hint=hint(words, *otherwise))


def _permission_hint(staging: Staging) -> str:
    return (
        f"let user {staging.user} write {staging.root} and read the folders of the table, "
        f"and the user that Hive runs as move files out of {staging.root}: docs/hive.md"
    )


class _HdfsFiles:
    """`Files` on HDFS."""

    def __init__(self, hdfs: WebHdfs) -> None:
        self._hdfs = hdfs

    def read(self, path: str) -> bytes:
        return self._hdfs.contents(path)

    def write(self, path: str, content: bytes) -> None:
        self._hdfs.create(path, content)

    def make_directory(self, path: str) -> None:
        self._hdfs.make_directory(path)

    def rename(self, source: str, target: str) -> None:
        if not self._hdfs.asked("RENAME", "put", source, destination=target):
            raise FileNotFoundError(f"{source} could not be renamed to {target}")

    def remove(self, path: str) -> bool:
        return self._hdfs.asked("DELETE", "delete", path, recursive="true")

    def exists(self, path: str) -> bool:
        try:
            self._hdfs.info(path)
        except FileNotFoundError:
            return False
        return True

    def names(self, path: str) -> list[str]:
        try:
            return self._hdfs.names(path)
        except FileNotFoundError:
            return []

    def entries(self, path: str) -> dict[str, Entry]:
        try:
            return {name: _entry(about) for name, about in self._hdfs.infos(path).items()}
        except FileNotFoundError:
            return {}


class _OtherFiles:
    """`Files` on any other file system of fsspec."""

    def __init__(self, filesystem: AbstractFileSystem) -> None:
        self._fs = filesystem

    def read(self, path: str) -> bytes:
        return bytes(self._fs.cat_file(path))

    def write(self, path: str, content: bytes) -> None:
        self._fs.pipe_file(path, content)

    def make_directory(self, path: str) -> None:
        self._fs.makedirs(path, exist_ok=True)
        if isinstance(self._fs, LocalFileSystem):
            self._fs.chmod(path, 0o777)

    def rename(self, source: str, target: str) -> None:
        self._fs.mv(source, target, recursive=True)

    def remove(self, path: str) -> bool:
        try:
            self._fs.rm(path, recursive=True)
        except FileNotFoundError:
            return False
        return True

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(path))

    def names(self, path: str) -> list[str]:
        if not self._fs.isdir(path):
            return []
        return [found.rstrip("/").rpartition("/")[2] for found in self._fs.ls(path, detail=False)]

    def entries(self, path: str) -> dict[str, Entry]:
        if not self._fs.isdir(path):
            return {}
        found = self._fs.ls(path, detail=True)
        return {about["name"].rstrip("/").rpartition("/")[2]: _entry(about) for about in found}


def _entry(about: Mapping[str, object]) -> Entry:
    """Read what fsspec says of a file; when it was changed has another name on each system."""
    changed = next((about[key] for key in _CHANGED if key in about), "")
    return Entry(about["type"] == "file", int(str(about["size"])), str(changed))


@dataclass(frozen=True, slots=True)
class BatchFolders:
    """Blocks, and raises DependencyDownError for whatever goes wrong in the staging folder."""

    staging: Staging

    def of(self, batch_id: str) -> str:
        """Return the folder of a batch."""
        # This folder is removed with all in it: it must never be another one than a batch's.
        if not is_id(batch_id):
            raise ValueError(f"{batch_id!r} is no batch id")
        return self.staging.place(batch_id)

    def discard(self, batch_id: str) -> None:
        """Remove what is staged for a batch."""
        with self.staging.files() as files:
            files.remove(self.of(batch_id))

    def sweep(self, live: Collection[str]) -> list[str]:
        """Remove what batches that are not `live` left; return what was removed."""
        with self.staging.files() as files:
            stale = [
                self.staging.place(name)
                for name in files.names(self.staging.root)
                if is_id(name.partition(".")[0]) and name not in live
            ]
            return [path for path in stale if files.remove(path)]

    def part(self, files: Files, batch_id: str, contents: Mapping[str, bytes]) -> str:
        """Write files, by their path in the batch's folder, under a new temporary name."""
        part = self.staging.place(f"{batch_id}.{secrets.token_hex(4)}.part")
        files.make_directory(part)
        for name, content in contents.items():
            if "/" in name:
                files.make_directory(f"{part}/{name.rpartition('/')[0]}")
            files.write(f"{part}/{name}", content)
        return part
