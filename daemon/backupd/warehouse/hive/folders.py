"""The folders of batches in the staging folder, and nothing else there.

<staging>/<batch id>                        what is staged
<staging>/<batch id>.<8 hex digits>.part    the same, while it is written
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.warehouse.hive.sql import is_id

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from backupd.warehouse.hive.staging import Files, Staging


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
