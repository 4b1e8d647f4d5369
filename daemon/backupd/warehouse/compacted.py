"""What both warehouses share of compaction: names of files, and what is left as it is."""

from __future__ import annotations

import re

from backupd.core.records import ID_FORM

_COMPACTED = "compacted-"
FILE_FORM = re.compile(rf"(?P<compacted>{_COMPACTED})?(?P<id>{ID_FORM.pattern})\.parquet")
"""The name of a batch's file in the production table, or of a compacted one."""


class LeftAloneError(Exception):
    """The partition stays as it is; the message says why."""


def compacted_name(id_: str) -> str:
    """Return the name of a file that has the rows of others."""
    return f"{_COMPACTED}{id_}.parquet"


def is_compacted(name: str) -> bool:
    """Return whether a file of this name has the rows of others."""
    return name.startswith(_COMPACTED)


def id_in(name: str) -> str:
    """Return the id in the name of a file of ours."""
    return name.removeprefix(_COMPACTED).removesuffix(".parquet")
