"""What WebHDFS does, on a directory of the local disk, with the real one's answers."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from support.http_serving import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Query = Mapping[str, str]

# Each exception's package, and its status where that is not 403.
_PACKAGES = {
    "FileNotFoundException": "java.io",
    "IOException": "java.io",
    "FileAlreadyExistsException": "org.apache.hadoop.fs",
    "ParentNotDirectoryException": "org.apache.hadoop.fs",
    "PathIsNotEmptyDirectoryException": "org.apache.hadoop.fs",
    "AccessControlException": "org.apache.hadoop.security",
    "StandbyException": "org.apache.hadoop.ipc",
    "RetriableException": "org.apache.hadoop.ipc",
    "SafeModeException": "org.apache.hadoop.hdfs.server.namenode",
    "SecurityException": "java.lang",
    "IllegalArgumentException": "java.lang",
}
_STATUSES = {"FileNotFoundException": 404, "IllegalArgumentException": 400}


class RemoteError(Exception):
    """What the client gets as a RemoteException; `kind` is the Java class's last name."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind

    def answer(self, status: int | None = None) -> Answer:
        """Return it as HTTP carries it."""
        words = {
            "exception": self.kind,
            "javaClassName": f"{_PACKAGES[self.kind]}.{self.kind}",
            "message": str(self),
        }
        return _told({"RemoteException": words}, status or _STATUSES.get(self.kind, 403))


class HdfsFiles:
    """The operations by name, each of a path and the query's other parameters."""

    def __init__(self, directory: Path) -> None:
        """`directory` stands for the root of HDFS."""
        self._root = directory
        self.operations: dict[str, Callable[[str, Query], Answer]] = {
            "GETFILESTATUS": self._status,
            "LISTSTATUS": self._list,
            "GETHOMEDIRECTORY": self._home,
            "MKDIRS": self._make,
            "SETPERMISSION": self._permit,
            "RENAME": self._rename,
            "DELETE": self._delete,
            "OPEN": self._open,
        }

    def create(self, path: str, query: Query, content: bytes) -> Answer:
        """Write a file, with the directories above it."""
        place = self._place(path)
        if place.exists() and query.get("overwrite") != "true":
            words = f"{path} for client 127.0.0.1 already exists"
            raise RemoteError("FileAlreadyExistsException", words)
        self._make_all(place.parent)
        place.write_bytes(content)
        return Answer(201, headers={"Location": f"hdfs://backupd{path}"})

    def find_file(self, path: str) -> Path:
        """Return where a file is that can be read."""
        place = self._find(path)
        if place.is_dir():
            raise RemoteError("FileNotFoundException", f"Path is not a file: {path}")
        return place

    def _open(self, path: str, query: Query) -> Answer:
        offset = int(query.get("offset", 0))
        content = self.find_file(path).read_bytes()[offset:]
        length = int(query.get("length", len(content)))
        return Answer(200, content[:length], {"Content-Type": "application/octet-stream"})

    def _status(self, path: str, _: Query) -> Answer:
        return _told({"FileStatus": _facts(self._find(path), "")})

    def _list(self, path: str, _: Query) -> Answer:
        place = self._find(path)
        if place.is_dir():
            found = [_facts(each, each.name) for each in sorted(place.iterdir())]
        else:
            found = [_facts(place, "")]
        return _told({"FileStatuses": {"FileStatus": found}})

    def _home(self, _: str, query: Query) -> Answer:
        return _told({"Path": f"/user/{query.get('user.name', 'dr.who')}"})

    def _make(self, path: str, _: Query) -> Answer:
        place = self._place(path)
        if place.is_file():
            words = f"Path is not a directory: {path}"
            raise RemoteError("FileAlreadyExistsException", words)
        self._make_all(place)
        return _whether(done=True)

    def _permit(self, path: str, query: Query) -> Answer:
        self._find(path).chmod(int(query["permission"], 8))
        return Answer(200)

    def _rename(self, path: str, query: Query) -> Answer:
        source, target = self._place(path), self._place(query["destination"])
        if target.is_dir():
            target = target / source.name
        possible = source.exists() and target.parent.is_dir() and not target.exists()
        if not possible or target.is_relative_to(source):
            return _whether(done=False)
        source.rename(target)
        return _whether(done=True)

    def _delete(self, path: str, query: Query) -> Answer:
        place = self._place(path)
        if not place.exists():
            return _whether(done=False)
        if not place.is_dir():
            place.unlink()
        elif query.get("recursive") == "true":
            shutil.rmtree(place)
        elif any(place.iterdir()):
            words = f"`{path} is non empty': Directory is not empty"
            raise RemoteError("PathIsNotEmptyDirectoryException", words)
        else:
            place.rmdir()
        return _whether(done=True)

    def _place(self, path: str) -> Path:
        return self._root / path.strip("/")

    def _find(self, path: str) -> Path:
        place = self._place(path)
        if not place.exists():
            raise RemoteError("FileNotFoundException", f"File does not exist: {path}")
        return place

    def _make_all(self, place: Path) -> None:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            words = f"{place} (is not a directory)"
            raise RemoteError("ParentNotDirectoryException", words) from error


def _facts(place: Path, suffix: str) -> dict[str, object]:
    found = place.stat()
    return {
        "pathSuffix": suffix,
        "type": "DIRECTORY" if place.is_dir() else "FILE",
        "length": 0 if place.is_dir() else found.st_size,
        "permission": f"{found.st_mode & 0o1777:o}",
        "owner": "backupd",
        "group": "supergroup",
        "modificationTime": int(found.st_mtime * 1000),
        "accessTime": 0,
        "blockSize": 0 if place.is_dir() else 128 * 1024 * 1024,
        "replication": 0 if place.is_dir() else 1,
        "childrenNum": len(list(place.iterdir())) if place.is_dir() else 0,
        "fileId": found.st_ino,
        "storagePolicy": 0,
    }


def _told(facts: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(facts).encode(), {"Content-Type": "application/json"})


def _whether(*, done: bool) -> Answer:
    return _told({"boolean": done})
